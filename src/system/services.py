"""Services that may be away: asked again for a while, and why one does not answer, in a few words."""

import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from src.system.errors import first_line, printable

PAUSE = 0.5  # seconds between two attempts
CONNECT = 10  # seconds for a database to take a connection
STARTING = re.compile(
    r"(?i)refused|starting up|shutting down|terminating|closed|reset by peer|recovery|database is locked"
)
REASONS = {  # of the errors below which libraries hide what has happened, the first that fits
    socket.gaierror: "its host is not known",
    ConnectionRefusedError: "nothing answers there",
    ssl.SSLError: "it does not speak TLS, or its certificate is refused",
    ConnectionError: "it closes the connection",
    EOFError: "it closes the connection",
    TimeoutError: "no answer",
}

T = TypeVar("T")


def until_it_answers(ask: Callable[[], T], away: Callable[[Exception], str], what: str, seconds: float) -> T:
    """Return the answer to `ask`, which is repeated while a service is away, and say in one line that it is waited for.

    Args:
        ask: asks the service, and raises where it does not answer.
        away: says of an error in a few words why it may pass; "" where waiting cures nothing.
        what: is waited for, as a person calls it.
        seconds: for which an attempt is followed by another.

    Raises what `ask` raised at last.
    """
    end, said = time.monotonic() + seconds, False
    while True:
        try:
            return ask()
        except Exception as error:
            reason = away(error)
            if not reason or time.monotonic() > end:
                raise
        if not said:
            print(f"waiting for {what}: {printable(reason)}", flush=True)
            said = True
        time.sleep(PAUSE)


def connection_error(error: BaseException) -> str:
    """Say in a few words what keeps a connection from being made or from lasting, whatever a library has made of it."""
    causes = _causes(error)
    reasons = (text for kind, text in REASONS.items() for cause in causes if isinstance(cause, kind))
    if isinstance(error, OSError) and error.strerror and error.filename:
        return next(reasons, f"{error.filename}: {error.strerror}")
    return next(reasons, first_line(error))


def connect_options(url: str) -> dict[str, Any]:
    """Return the options of SQLAlchemy's `create_engine` by which a server at `url` that says nothing is not waited for."""
    takes_timeout = url.startswith(("postgresql", "mysql"))
    return {"connect_args": {"connect_timeout": CONNECT}} if takes_timeout else {}


def _causes(error: BaseException) -> list[BaseException]:
    """List an error and all that it was raised from, while handling or around."""
    causes = [error]
    for cause in causes:
        near = (cause.__cause__, cause.__context__, *cause.args)
        causes += [other for other in near if isinstance(other, BaseException) and other not in causes]
    return causes
