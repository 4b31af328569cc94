"""The one kind of error that a person can cause."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input: one sentence that names the key, column or row and what would be right."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about a name that does not exist: the one of `names` that was probably meant, if any.

    A dotted name is compared by its last part and as a whole, since in a section all begin alike; if none is near, its
    section's are listed.
    """
    names, (section, _, last) = list(names), name.rpartition(".")

    def likeness(other: str) -> float:
        return _ratio(last, other.rpartition(".")[2]) + _ratio(name, other)

    best = max(names, key=likeness, default="")
    if best and likeness(best) > 1.2:
        return f"; did you mean {best}?"
    there = [other.removeprefix(f"{section}.") for other in names if section and other.rpartition(".")[0] == section]
    return f"; {section} has {', '.join(there)}" if there else ""


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A tail for an error message: the nearest name, or the first of them when none is near."""
    near = difflib.get_close_matches(name, options := [str(each) for each in names], n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(options[:20])}"


def known(key: str, name: object, names: Iterable[str]) -> None:
    """Refuse a name that is none of `names`.

    Raises:
        UserError: it names the key, all names and the nearest.
    """
    names = list(names)
    if name not in names:
        raise UserError(f"{key}: {name!r} is none of {', '.join(names)}{nearest(str(name), names)}")


def masked(uri: str) -> str:
    """Without user and password."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def first_line(error: BaseException) -> str:
    """Shorten an error's message to its first line, without the full stop; its type where it has none."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


@contextmanager
def os_errors_as_user_errors(advice: str) -> Iterator[None]:
    """A full disk, a lost file or a server that is gone becomes one sentence, with what to do then."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error}; {advice}") from error
