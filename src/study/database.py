"""Optuna's tables in a database that may be away for a while: what is asked is asked again, and a write is done once."""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session

from src.system.services import connect_options

PATIENCE = 90.0  # seconds that a database may be locked, restarted or out of reach while a study goes on
READS = (
    "get_study_id_from_name",
    "get_study_directions",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_all_studies",
    "get_trial",
    "get_all_trials",
)
OPENINGS = 8  # processes that open a fresh database together are in each other's way

T = TypeVar("T")


class Database(RDBStorage):
    """The storage of studies each of which one process writes.

    A commit whose answer was lost may have come through, so what is tried again must be fit to be found done.
    """

    def __init__(self, url: str) -> None:
        """Raises SQLAlchemyError, ImportError or ValueError where the database cannot be opened."""
        for attempt in range(OPENINGS):
            try:
                super().__init__(url, {"pool_pre_ping": True, **connect_options(url)})
                break
            except SQLAlchemyError as error:
                made_by_another = isinstance(error, IntegrityError | ProgrammingError) or "already exists" in str(error)
                if attempt == OPENINGS - 1 or not made_by_another:
                    raise
            time.sleep(0.25)

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Make a study of these `directions` and name; to make it twice is no error."""
        try:
            return self._insist(lambda: RDBStorage.create_new_study(self, directions, study_name))
        except DuplicatedStudyError:
            return self.get_study_id_from_name(str(study_name))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial."""
        return self._insist(lambda: RDBStorage.create_new_trial(self, study_id, template_trial))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set the attribute `key` of the trial `trial_id` to `value`, one of ours."""
        self._insist(lambda: RDBStorage.set_trial_system_attr(self, trial_id, key, value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set the attribute `key` of the trial `trial_id` to `value`, one for people."""
        self._insist(lambda: RDBStorage.set_trial_user_attr(self, trial_id, key, value))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set the objective of the trial `trial_id` after epoch `step` to `intermediate_value`."""
        self._insist(lambda: RDBStorage.set_trial_intermediate_value(self, trial_id, step, intermediate_value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set the attribute `key` of the study `study_id` to `value`, one of ours."""
        self._insist(lambda: RDBStorage.set_study_system_attr(self, study_id, key, value))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set the attribute `key` of the study `study_id` to `value`."""
        self._insist(lambda: RDBStorage.set_study_user_attr(self, study_id, key, value))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """End the trial `trial_id` in `state` with the `values` of its objectives; to end it twice alike is no error."""
        try:
            return self._insist(lambda: RDBStorage.set_trial_state_values(self, trial_id, state, values))
        except UpdateFinishedTrialError:
            if self.get_trial(trial_id).state is not state:
                raise
            return True

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> TrialModel:
        """The study's last trial if it has the attributes of the new one: then that is there already."""
        last = session.query(TrialModel).filter_by(study_id=study_id).order_by(TrialModel.number.desc()).first()
        if last and template_trial and template_trial.system_attrs.keys() <= {a.key for a in last.system_attributes}:
            return last
        return super()._get_prepared_new_trial(study_id, template_trial, session)

    def _insist(self, query: Callable[[], T]) -> T:
        end, pause = time.monotonic() + PATIENCE, 0.1
        while True:
            try:
                return query()
            except StorageInternalError as error:
                if not isinstance(error.__cause__, OperationalError | InterfaceError) or time.monotonic() > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)


def _insisting(name: str) -> Callable[..., Any]:
    read = getattr(RDBStorage, name)

    @wraps(read)
    def insisting(self: Database, *args: Any, **options: Any) -> Any:
        return self._insist(lambda: read(self, *args, **options))

    return insisting


for _name in READS:
    setattr(Database, _name, _insisting(_name))
