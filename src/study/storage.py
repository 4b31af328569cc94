"""The places where studies stand: a journal file each, or one database for all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend

from src.study.journal import Journal, JournalReader
from src.study.records import Damaged, folder_below
from src.system.errors import UserError, masked, refuse_unescaped_password, require_one_of
from src.system.services import STARTING, until_it_answers

OPENING = 20.0  # seconds for a server that restarts when its database is opened
DAMAGE = (  # what reading records raises that are none of ours
    Damaged,
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError),
)

T = TypeVar("T")


@contextmanager
def storage_errors_as_user_errors() -> Iterator[None]:
    """Turn an error of the database into one sentence.

    Raises:
        UserError: the database does not work.
    """
    try:
        yield
    except StorageInternalError as error:
        raise UserError(
            f"storage: {_first_line(_cause(error))}; the study is whole, so the same command goes on"
        ) from error


def open_database(url: str, connect: Callable[[], T]) -> T:
    """Return what `connect` does; a server that restarts is waited for, which is said in a line.

    Raises:
        UserError: the database cannot be opened, or the server has been away for long.
    """
    from sqlalchemy.exc import SQLAlchemyError  # not at the top: a journal does not need it

    def away(error: Exception) -> str:
        return _first_line(_cause(error)) if STARTING.search(str(_cause(error))) else ""

    try:
        return until_it_answers(connect, away, f"the database {masked(url)}", OPENING)
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
        raise UserError(f"storage: {masked(url)} cannot be opened ({_first_line(_cause(error))})") from error


def _cause(error: Exception) -> BaseException:
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


class Shelf:
    """All studies of a root folder, or of a database."""

    def __init__(self, root: Path, url: str | None) -> None:
        """Raises:
        UserError: the database cannot be reached.
        """
        self.root, self.database = root, None
        if url is not None:
            refuse_unescaped_password("storage", url)
            from src.study.database import Database  # not at the top: a journal does not need it

            self.database = open_database(url, lambda: Database(url))

    def names(self) -> list[str]:
        """The studies that are there."""
        if self.database:
            return optuna.get_all_study_names(self.database)
        return sorted(path.parent.name for path in (self.root / "studies").glob("*/journal.log"))

    def require(self, key: str, name: str) -> None:
        """Refuse a name that no study has.

        Raises:
            UserError: it names the config key and the nearest study.
        """
        require_one_of(key, name, self.names())

    def folder(self, name: str) -> Path:
        """The folder of a study.

        Raises:
            UserError: the name leads out of the root.
        """
        return folder_below(self.root / "studies", name)

    def writable(self, name: str) -> BaseStorage:
        """The storage of a study for the one process that holds its lock; it need not be there yet.

        Raises:
            UserError: a journal is damaged elsewhere than at its end.
        """
        if self.database:
            return self.database
        path = self.folder(name) / "journal.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with damage_as_user_error(path):
            backend = Journal(path)
            storage = JournalStorage(backend)
            if next(iter(backend.read_logs(0)), None) and not storage.get_all_studies():
                raise KeyError("its first record is missing")
        return storage

    def readable(self, name: str) -> BaseStorage:
        """The storage of a study of which nothing is written, whoever writes it.

        Raises:
            UserError: a journal is damaged elsewhere than at its end.
        """
        if self.database:
            return self.database
        path = self.folder(name) / "journal.log"
        with damage_as_user_error(path):
            backend: BaseJournalBackend = JournalReader(path)
            return JournalStorage(backend)

    def attributes(self, name: str) -> dict[str, Any]:
        """The attributes of a study; none if a crash came before they were written."""
        storage = self.readable(name)
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
        return study_attributes(storage, studies[name]) if name in studies else {}


@contextmanager
def damage_as_user_error(path: Path | str) -> Iterator[None]:
    """Turn any error that damaged records cause into one sentence.

    Raises:
        UserError: the records cannot be read.
    """
    try:
        yield
    except DAMAGE as error:
        what = f" ({error})" if isinstance(error, Damaged) else ""
        raise UserError(f"study.root: {path} is damaged{what}; restore it, or study.fresh=true starts anew") from error


def study_attributes(storage: BaseStorage, study: int) -> dict[str, Any]:
    """The attributes of a study, those of Lockstep and those of people."""
    return {**storage.get_study_system_attrs(study), **storage.get_study_user_attrs(study)}


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
