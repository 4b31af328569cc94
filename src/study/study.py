"""The study: every trial, its parameters, its values per epoch and its state, in order. It alone is the truth of a sweep.

It is an Optuna study in durable storage, written by one process. What Optuna has a place for stands there, for its
dashboard and samplers; each start and each report is one system attribute `event:<order>` of its trial besides, which no
dashboard shows. The event is the record that counts: values without one were never acknowledged.
"""

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.study import StudyDirection
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from src.config.renamed import name_of_today
from src.study.history import NO_REASON, Direction, Goals, History, Proposal, Trial, TrialState
from src.study.identity import Identity
from src.study.journal import Journal
from src.study.records import (
    SECOND,
    Damaged,
    check_attributes,
    check_trial,
    missing_value,
    notes,
    ordered_events,
    second_values,
)
from src.study.storage import Shelf, damage_as_user_error, storage_errors_as_user_errors, study_attributes
from src.study.writer import Writer
from src.system.errors import UserError
from src.system.mirror import Mirror
from src.system.reason import Reason

NO_GOALS = Goals()
MOST_NAMED = 3  # changed modules in a sentence; a new version changes most of them
STATES = {"complete": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "fail": OptunaState.FAIL}


class Study:
    """An open study in durable storage, whose `history` is all that has been acknowledged."""

    def __init__(self, storage: BaseStorage, name: str, folder: Path, direction: Direction) -> None:
        """Read a study, and write nothing.

        Args:
            storage: where it stands.
            name: of the study.
            folder: of its checkpoints and models.
            direction: of the objective.

        Raises:
            UserError: its records are damaged.
        """
        self.storage, self.name, self.folder = storage, name, folder
        self.id = storage.get_study_id_from_name(name)
        self.attributes = study_attributes(storage, self.id)
        self.history = History(direction)
        self.curves: list[dict[str, list[float]]] = []
        self.seconds: list[float] = []
        self.segments: list[float] = []  # seconds of each report, in order
        self.times: list[tuple[float, float] | None] = []  # Unix seconds at which a trial began to train and ended
        self.mirror = Mirror(folder / "checkpoints")
        self.writer: Writer | None = None  # on a server, where another machine's driver must not write
        self.waiting: Callable[[str], AbstractContextManager[None]] = lambda what: nullcontext()  # tells a person
        self._ids: list[int] = []
        with damage_as_user_error(folder / "journal.log"):
            self._load()

    @classmethod
    @storage_errors_as_user_errors()
    def open(
        cls,
        root: Path,
        url: str | None,
        identity: Identity,
        direction: Direction,
        choices: Mapping[str, Any],
        fresh: bool = False,
        accept_code: bool = False,
        goals: Goals = NO_GOALS,
    ) -> "Study":
        """Open the study of this identity for writing, or make it.

        Args:
            root: the folder of studies.
            url: the database of studies; None for journals below `root`.
            identity: of the study.
            direction: of the objective.
            choices: slots, kernel, metric, ..., which are recorded when the study is made.
            fresh: whether to make another, though there is one.
            accept_code: whether to go on with an unfinished study that other code began.
            goals: the further objectives and the constraints.

        Raises:
            UserError: an unfinished study of the same inputs was begun by other code, or the storage does not work.
        """
        shelf = Shelf(root, url)
        name = _name_to_open(shelf, identity, fresh, accept_code)
        storage = shelf.writable(name)
        if name not in [study.study_name for study in storage.get_all_studies()]:
            further = [StudyDirection.MINIMIZE for _ in goals.minimized]
            storage.create_new_study([StudyDirection[direction.upper()], *further], name)
        study_id = storage.get_study_id_from_name(name)
        if goals != NO_GOALS:
            choices = {**choices, "goals": {"minimized": list(goals.minimized), "bounds": dict(goals.bounds)}}
        attributes = {**choices, "fingerprint": identity.fingerprint, "code": dict(identity.code)}
        attributes["parts"] = dict(identity.parts)
        attributes[_SYSTEM_ATTR_METRIC_NAMES] = [choices["metric"], *goals.minimized]
        if shelf.database:  # others may have a study of this name, for which the same folder is not the place
            attributes["folder"] = f"{name}-{uuid.uuid4().hex[:8]}"
        for key in attributes.keys() - study_attributes(storage, study_id):  # all, or what a crash let through
            hidden = key in ("code", "parts", _SYSTEM_ATTR_METRIC_NAMES)
            write = storage.set_study_system_attr if hidden else storage.set_study_user_attr
            write(study_id, key, attributes[key])
        folder = shelf.folder(str(study_attributes(storage, study_id).get("folder", name)))
        folder.mkdir(parents=True, exist_ok=True)
        study = cls(storage, name, folder, direction)
        study._end_what_has_ended()
        return study

    @classmethod
    @storage_errors_as_user_errors()
    def read(cls, shelf: Shelf, name: str) -> "Study":
        """Read a study of which nothing is written, whoever writes it.

        Raises:
            UserError: its records are damaged, or it has no name of a folder.
        """
        storage = shelf.readable(name)
        with damage_as_user_error(shelf.folder(name) / "journal.log"):
            first, *_ = storage.get_study_directions(storage.get_study_id_from_name(name))
        return cls(storage, name, shelf.folder(name), "minimize" if first is StudyDirection.MINIMIZE else "maximize")

    def start(
        self,
        proposal: Proposal,
        distributions: Mapping[str, BaseDistribution],
        max_epochs: int,
        cost: float,
        measures: Mapping[str, float] | None = None,
    ) -> Trial:
        """Acknowledge a proposal: its trial begins or goes on.

        Args:
            proposal: the new trial or the promotion.
            distributions: of the trial's parameters, by name.
            max_epochs: of a complete run.
            cost: virtual seconds an epoch.
            measures: figures of the trial that are known before it trains.
        """
        order = len(self.history.events)
        event = {
            "start": proposal.epochs,
            "from": proposal.start_from,
            **({"anew": True} if proposal.weights_only else {}),
        }
        if proposal.trial is None:
            parent, epoch = (0, 0) if proposal.weights_only else proposal.start_from or (0, 0)
            values = self.history.trials[parent].values[:epoch] if epoch else []
            template = create_trial(
                state=OptunaState.RUNNING,
                params=dict(proposal.params),
                distributions=dict(distributions),
                system_attrs={
                    "full": max_epochs,
                    "cost": cost,
                    "measures": dict(measures or {}),
                    f"event:{order}": event,
                },
                intermediate_values=dict(enumerate(values, start=1)),
            )
            self._ids.append(self.storage.create_new_trial(self.id, template))
        else:
            self.storage.set_trial_system_attr(self._ids[proposal.trial], f"event:{order}", event)
        return self._begin(proposal, max_epochs, cost, measures)

    def report(
        self,
        number: int,
        values: Sequence[float],
        curves: Mapping[str, Sequence[float]],
        state: TrialState,
        reason: Reason = NO_REASON,
        seconds: float = 0.0,
        measures: Mapping[str, float] | None = None,
        metrics: Mapping[str, float] | None = None,
        times: tuple[float, float] | None = None,
    ) -> None:
        """Acknowledge the next epochs of a trial. When this returns they survive any crash.

        Args:
            number: of the trial.
            values: the objective after each of these epochs.
            curves: all that was recorded of them, by name.
            state: of the trial from now on.
            reason: for its end.
            seconds: that the epochs took.
            measures: figures beside the objective.
            metrics: figures that nothing compares.
            times: Unix seconds at which its training began and ended.
        """
        trial_id, first = self._ids[number], self.history.trials[number].epochs
        event: dict[str, Any] = {
            "report": list(values),
            "curves": {n: list(c) for n, c in curves.items()},
            "state": state,
            "reason": reason.text,
            **({"kind": reason.kind} if reason else {}),
            "seconds": seconds,
            "measures": dict(measures or {}),
            "metrics": dict(metrics or {}),
            **({"times": list(times)} if times else {}),
        }
        for epoch, value in enumerate(values, start=first + 1):
            self.storage.set_trial_intermediate_value(trial_id, epoch, value)
        if reason:
            self.storage.set_trial_user_attr(trial_id, "diagnosis", reason.text)
        self.storage.set_trial_system_attr(trial_id, f"event:{len(self.history.events)}", event)
        self._take(number, event)
        if state in STATES:
            self._end(number)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Starts and reports inside are one append to a journal file.

        Raises:
            UserError: they cannot be written.
        """
        backend = getattr(self.storage, "_backend", None)
        journal = backend if isinstance(backend, Journal) else None
        what = f"the disk of {self.folder}" if journal else "the database of studies"
        with self.waiting(what), storage_errors_as_user_errors(), journal.together() if journal else nullcontext():
            if self.writer:
                self.writer.renew()
            yield

    def finish(self, finished: bool) -> None:
        """Record whether the sweep has reached its total of trials; it may go on to a larger one."""
        if finished != bool(self.attributes.get("finished")):
            with self.together():
                self.storage.set_study_user_attr(self.id, "finished", finished)
            self.attributes["finished"] = finished

    def choose_between(self, candidates: int) -> None:
        """Record between how many of the best trials a second seed decides."""
        if candidates != self.attributes.get("candidates", 1):
            with self.together():
                self.storage.set_study_user_attr(self.id, "candidates", candidates)
        self.attributes["candidates"] = self.history.candidates = candidates

    def report_second(self, number: int, value: float | None) -> None:
        """Acknowledge the objective of a trial that was trained again with a second seed; None: that failed."""
        with self.together():
            self.storage.set_study_user_attr(self.id, f"{SECOND}{number}", value)
        self.history.second_values[number] = value

    def mirror_in(self, url: str | None) -> None:
        """Let the checkpoints also be in the store of a `url`, where a driver on another machine can read the study."""
        if not isinstance(self.storage, JournalStorage):  # a journal is of this disk, as its checkpoints are
            self.mirror = Mirror.of(self.mirror.folder, url, f"studies/{self.folder.name}")

    def checkpoints(self, number: int, epoch: int) -> list[Path]:
        """The files of a trial's states after an epoch: one, or under cross-validation one a fold."""
        count = self.attributes.get("folds", 1)
        suffixes = [f"-{fold}" for fold in range(count)] if count > 1 else [""]
        return [self.mirror.folder / f"{number}-{epoch}{suffix}.safetensors" for suffix in suffixes]

    def _load(self) -> None:
        trials = self.storage.get_all_trials(self.id, deepcopy=False)
        self._ids = [trial._trial_id for trial in trials]
        check_attributes(self.attributes, trials)
        goals = self.attributes.get("goals", {"minimized": [], "bounds": {}})
        self.history.goals = Goals(tuple(goals["minimized"]), goals["bounds"])
        self.history.candidates = self.attributes.get("candidates", 1)
        self.history.second_values = second_values(self.attributes, len(trials))
        for number, event in ordered_events(trials):
            if "start" in event:
                trial, begun = trials[number], number < len(self.history.trials)
                source = tuple(event["from"]) if event["from"] else None
                weights_only = event.get("anew", False)
                params = {name_of_today(name): value for name, value in trial.params.items()}
                proposal = Proposal(
                    params, event["start"], number if begun else None, source, weights_only=weights_only
                )
                record = notes(trial)
                self._begin(proposal, record["full"], record["cost"], record.get("measures"))
            else:
                self._take(number, event)
        for loaded, stored in zip(self.history.trials, trials, strict=False):
            if epoch := missing_value(stored, loaded.epochs):
                raise Damaged(f"the value of trial {loaded.number} after epoch {epoch} is missing")
            check_trial(loaded, self.history.goals)
        for stored in trials[: len(self.times)]:
            self._complete_times(stored)

    def _end_what_has_ended(self) -> None:
        """Give Optuna the ends of trials that a crash kept from it."""
        for trial, stored in zip(
            self.history.trials, self.storage.get_all_trials(self.id, deepcopy=False), strict=False
        ):
            if trial.state in STATES and not stored.state.is_finished():
                self._end(trial.number)

    def _end(self, number: int) -> None:
        """Write what Optuna has a place for at the end of a trial."""
        trial, goals = self.history.trials[number], self.history.goals
        for name, excess in goals.excess(trial.measures).items():
            self.storage.set_trial_system_attr(self._ids[number], f"{_CONSTRAINTS_KEY}:{name}", excess)
        complete = trial.state == "complete"
        values = [trial.values[-1], *(trial.measures[name] for name in goals.minimized)] if complete else None
        self.storage.set_trial_state_values(self._ids[number], STATES[trial.state], values)
        if not self.times[number]:
            self._complete_times(self.storage.get_trial(self._ids[number]))

    def _complete_times(self, trial: FrozenTrial) -> None:
        """Take Optuna's times of a trial that is over and has none: it trained before they were recorded, or not at all."""
        if not self.times[trial.number] and trial.datetime_start and trial.datetime_complete:
            self.times[trial.number] = trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()

    def _begin(self, proposal: Proposal, max_epochs: int, cost: float, measures: Mapping[str, float] | None) -> Trial:
        trial = self.history.start(proposal, max_epochs, cost, measures)
        if proposal.trial is None:
            before = self.curves[trial.start_from[0]] if trial.start_from else {}
            self.curves.append({n: c[: trial.inherited] for n, c in before.items()} if trial.inherited else {})
            trial.curves = self.curves[-1]
            self.seconds.append(0.0)
            self.times.append(None)
        return trial

    def _take(self, number: int, event: Mapping[str, Any]) -> None:
        trial, reason = self.history.trials[number], Reason.read(event["reason"], event.get("kind"))
        before = trial.epochs
        self.history.report(number, event["report"], event["state"], reason, event.get("measures"))
        self.seconds[number] += event["seconds"]
        self.segments.append(event["seconds"])
        if times := event.get("times"):
            began, ended = self.times[number] or times
            self.times[number] = min(began, times[0]), max(ended, times[1])
        for name, curve in event["curves"].items():
            self.curves[number].setdefault(name, [math.nan] * before).extend(curve)
        trial.metrics |= event.get("metrics", {})


def _name_to_open(shelf: Shelf, identity: Identity, fresh: bool, accept_code: bool) -> str:
    """Name the study of this identity: a further one, the latest, one that other code began, or the first."""
    names = shelf.names()
    runs = [name for name in names if name.startswith(identity.name)]
    if fresh:
        return f"{identity.name}-{len(runs)}" if runs else identity.name
    if runs:
        return max(runs, key=lambda run: (len(run), run))
    return _begun_by_other_code(shelf, names, identity, accept_code) or identity.name


def _begun_by_other_code(shelf: Shelf, names: Iterable[str], identity: Identity, accept_code: bool) -> str | None:
    """An unfinished study of the same inputs that this code may go on with.

    Raises:
        UserError: it may not.
    """
    begun = {}
    for name in names:
        if name.startswith(identity.stem):
            attributes = shelf.attributes(name)
            if "code" in attributes and not attributes.get("finished"):
                begun[name] = attributes
    for name, attributes in begun.items():
        if identity.code in attributes.get("accepted", []):
            return name
    if not begun:
        return None
    name, attributes = begun.popitem()
    if not accept_code:
        before = attributes["code"]
        changed = sorted(m for m in before.keys() | identity.code.keys() if before.get(m) != identity.code.get(m))
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        raise UserError(
            f"study {name} is unfinished and {', '.join(changed[:MOST_NAMED])}{more} "
            f"{'have' if more else 'has'} changed since; "
            "study.accept_code=true goes on with it, study.fresh=true starts anew"
        )
    storage = shelf.writable(name)
    accepted = [*attributes.get("accepted", []), dict(identity.code)]
    storage.set_study_system_attr(storage.get_study_id_from_name(name), "accepted", accepted)
    return name
