"""Reasons for which a record does not reach MLflow, read from an error: whether waiting helps, and our own words for it."""

import re

from mlflow.exceptions import MlflowException

from src.system.errors import masked
from src.system.services import connection_error

LOGIN = "it lets nobody in without MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
WORDS = {  # of a database or a server, by what its error says
    r"database is locked": "another program has locked the database",
    r"readonly database": "the database is read-only",
    r"(database or )?disk is full": "the disk of the database is full",
    r"not in a valid JSON format": "what answers there is no server of MLflow's",
    r"error code 40[17]|^UNAUTHENTICATED": LOGIN,
    r"error code 403|^PERMISSION_DENIED": "it does not allow that to this user",
    r"error code 404": "what answers there is no server of MLflow's",
    r"(?:error code|too many) (\d{3})": r"it answers with HTTP \1",
}
PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED")
LONGEST = 120  # characters of words that are not ours


def curable(error: Exception) -> bool:
    """Tell whether waiting may help: a locked database, a server that is away, a full disk."""
    if isinstance(error, MlflowException):
        bug = isinstance(error.__cause__, TypeError | ValueError | LookupError | AttributeError)
        lasting = bug or "not in a valid JSON format" in str(error)
        return error.error_code in PASSING and not lasting
    absent = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    return type(error).__name__ == "OperationalError" or (isinstance(error, OSError) and not absent)


def obstacle(error: Exception) -> str:
    """Say in a few words what is in the way."""
    for pattern, words in WORDS.items():
        if match := re.search(pattern, str(error)):
            return match.expand(words)
    words = masked(
        re.sub(r"^\([\w.]+\) ", "", connection_error(error))
    )  # SQLAlchemy puts the name of a class before them
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
