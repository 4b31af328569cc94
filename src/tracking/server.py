"""A first question to a server, which tells one of MLflow's from another; mlflow's client takes seconds to import."""

import json
import ssl
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

from src.system.errors import UserError, first_line, masked

QUESTION = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
MOST_BYTES = 1_000_000  # of an answer
BUSY = (408, 429)  # and all from 500 on: statuses of a server that answers later
GUARDED = (401, 403, 407, *range(300, 400))  # it wants a password, which is not sent, or leads to a log-in


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def ask(uri: str, seconds: float) -> None:
    """Ask the server at `uri` for an experiment, for so many seconds.

    Raises:
        UserError: what answers is no server of MLflow's.

    Raises OSError where it is away.
    """
    status, content = _answer(uri, seconds)
    if status in BUSY or status >= 500:
        raise OSError(f"it answers with HTTP {status}")
    if status not in GUARDED and not _is_mlflow(content):
        raise _no_server(uri, f"HTTP {status}")


def _answer(uri: str, seconds: float) -> tuple[int, bytes]:
    parts, context = urlsplit(uri), ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as no secret is sent; MLflow's client verifies
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}{QUESTION}"
    try:
        with build_opener(_NoRedirects, HTTPSHandler(context=context)).open(url, timeout=seconds) as answer:
            return answer.status, answer.read(MOST_BYTES)
    except HTTPError as error:
        with error:
            return error.code, error.read(MOST_BYTES)
    except URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from error
    except HTTPException as error:
        if isinstance(error, OSError):  # it closed the connection
            raise
        raise _no_server(uri, f"no HTTP: {first_line(error)}") from error


def _is_mlflow(content: bytes) -> bool:
    try:
        answer = json.loads(content)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool({"experiment", "error_code"} & answer.keys())


def _no_server(uri: str, what: str) -> UserError:
    return UserError(
        f"tracking.uri={masked(uri)}: what answers there is no server of MLflow's ({what}), so correct the URI."
    )
