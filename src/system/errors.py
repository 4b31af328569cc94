"""The one kind of error that a person can cause."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

MOST_NAMES = 20  # in a sentence


class UserError(Exception):
    """Bad input: one sentence that names the key, column or row and what would be right.

    Its words may come from files and from servers: what a terminal would obey is escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Escape all of a text that a terminal would act on; line feeds stay."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Find the one of `names` that was probably meant by `name`, a name that does not exist; None where none is near.

    Dotted names are compared by their last part and as a whole, since in a section all begin alike.
    """
    last = name.rpartition(".")[2]

    def likeness(other: str) -> float:
        return _ratio(last, other.rpartition(".")[2]) + _ratio(name, other)

    best = max(names, key=likeness, default="")
    return best if best and likeness(best) > 1.2 else None


def suggestion(name: str, names: Iterable[object]) -> str:
    """End a sentence about a name that does not exist with the nearest of `names`; "" where none is near."""
    best = nearest(name, map(str, names))
    return f"; did you mean {best}?" if best else ""


def there_are(names: Iterable[object]) -> str:
    """End a sentence about a name that does not exist with the first `MOST_NAMES` of those that do."""
    return f"; there are {', '.join(islice(map(str, names), MOST_NAMES))}"


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def require_one_of(key: str, name: object, names: Iterable[str]) -> None:
    """Refuse a `name` that a person has given for `key` and that is none of `names`.

    Raises:
        UserError: it names the key, all names and the nearest.
    """
    names = list(names)
    if name not in names:
        raise UserError(f"{key}: {name!r} is none of {', '.join(names)}{suggestion(str(name), names)}")


def shortened(value: object, most: int = 120) -> str:
    """Write a value that a person has given for a sentence: on one line, of `most` characters at most."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"


def masked(text: str) -> str:
    """Hide the user and the password of the address in a text, whatever characters they have."""
    text = re.sub(r"(\w://)(?!/)\S*@", r"\1***@", text)  # up to the last @: a password may hold one, or a slash
    return re.sub(r"(?i)(password|passwd|pwd|token)=[^&\s'\"]+", r"\1=***", text)


def refuse_unescaped_password(key: str, url: str) -> None:
    """Refuse a URL whose password has a character that ends it: a library reads a part of it as a host, and says it.

    Args:
        key: that names the URL.
        url: of a server.

    Raises:
        UserError: it says how to write the character.
    """
    login = re.match(r"[\w+]+://(?!/)(\S*)@", url)
    if login and re.search(r":.*[/@?#]", login[1]):
        raise UserError(
            f"{key}: {masked(url)} has a password with one of / @ ? #, which a URL writes as %2F, %40, %3F and %23"
        )


def first_line(error: BaseException) -> str:
    """Shorten an error's message to its first line, without the full stop; its type where it has none."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


@contextmanager
def os_errors_as_user_errors(advice: str) -> Iterator[None]:
    """Turn the error of a full disk, a lost file or a server that is gone into one sentence that ends with `advice`.

    Raises:
        UserError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{error}; {advice}") from error
