"""The one kind of error that a person can cause."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input: one sentence that names the key, column or row and what would be right."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about a name that does not exist: the one of `names` that was probably meant, if any."""
    close = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"; did you mean {close[0]}?" if close else ""


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


@contextmanager
def of_the_machine(advice: str) -> Iterator[None]:
    """A full disk, a lost file or a server that is gone becomes one sentence, with what to do then."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error}; {advice}") from error
