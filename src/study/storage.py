"""NEEDS A DOCSTRING."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage

from src.study.journal import Journal
from src.system.errors import UserError, first_line, masked


@contextmanager
def in_one_sentence() -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        raise UserError(
            f"storage: {first_line(error.__cause__ or error)}; the study is whole, so the same command goes on"
        ) from error


class Shelf:
    """Where studies stand: each in a journal file of its own under `root`, or all in one database."""

    def __init__(self, root: Path, url: str | None) -> None:
        """Raises:
        UserError: the database cannot be reached.
        """
        self.root, self.database = root, None
        if url is not None:
            from sqlalchemy.exc import SQLAlchemyError  # not at the top: a journal does not need it

            from src.study.database import Database

            try:
                self.database = Database(url)
            except (SQLAlchemyError, ImportError, ValueError) as error:
                raise UserError(f"storage: {masked(url)} cannot be opened ({first_line(error)})") from error

    def names(self) -> list[str]:
        """The studies that are there."""
        if self.database:
            return optuna.get_all_study_names(self.database)
        return sorted(path.parent.name for path in (self.root / "studies").glob("*/journal.log"))

    def storage(self, name: str) -> BaseStorage:
        """The storage of a study, with it or without.

        Raises:
            UserError: a journal is damaged elsewhere than at its end.
        """
        if self.database:
            return self.database
        path = self.root / "studies" / name / "journal.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return JournalStorage(Journal(path))
        except (ValueError, KeyError) as error:
            raise UserError(f"study.root: {path} is damaged; restore it, or study.fresh=true starts anew") from error

    def attributes(self, name: str) -> dict[str, Any]:
        """What was recorded of a study when it was made, and since; nothing if a crash came before."""
        storage = self.storage(name)
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
        return study_attributes(storage, studies[name]) if name in studies else {}


def study_attributes(storage: BaseStorage, study: int) -> dict[str, Any]:
    return {**storage.get_study_system_attrs(study), **storage.get_study_user_attrs(study)}
