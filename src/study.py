"""The study: every trial, its parameters, its values per epoch and its state, in order. It alone is the truth of a sweep.

It is an Optuna study in durable storage, written by one process. What Optuna has a place for stands there, for its
dashboard and samplers; each start and each report is one system attribute `event:<order>` of its trial besides, which no
dashboard shows. The event is the record that counts: values without one were never acknowledged.
"""

import ast
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.study import StudyDirection
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from src.errors import UserError, masked
from src.history import Direction, Goals, History, Proposal, Trial, TrialState
from src.journal import Journal

CODE = (
    *("components.py", "config.py", "data.py", "diagnosis.py", "history.py", "loop.py", "objectives.py"),
    *("schema.py", "space.py", "timetable.py"),
    *("models", "optim", "population", "search"),
)
PACKAGES = ("torch", "numpy", "optuna")
NO_GOALS = Goals()
STATES = {"complete": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "fail": OptunaState.FAIL}


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        raise UserError(
            f"storage: {_first_line(error.__cause__ or error)}; the study is whole, so the same command goes on"
        ) from error


@dataclass(frozen=True)
class Identity:
    """What makes a study this study: a name for people, what it searches, and the code that can change its numbers."""

    label: str
    inputs: str  # digest of data, trial configs, space, search and seed
    code: Mapping[str, str]  # digest of each module

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs, *self.code.values())[:16]

    @property
    def stem(self) -> str:
        """What the names of all studies of these inputs begin with, whatever the code."""
        return f"{self.label}-{self.inputs[:8]}-"

    @property
    def name(self) -> str:
        return self.stem + self.fingerprint[:8]


class Study:
    """An open study; `history` is what has been acknowledged."""

    def __init__(self, storage: BaseStorage, name: str, folder: Path, direction: Direction) -> None:
        self.storage, self.name, self.folder = storage, name, folder
        self.id = storage.get_study_id_from_name(name)
        self.attributes = _attributes(storage, self.id)
        goals = self.attributes.get("goals", {"minimized": [], "bounds": {}})
        self.history = History(direction, goals=Goals(tuple(goals["minimized"]), goals["bounds"]))
        self.curves: list[dict[str, list[float]]] = []
        self.seconds: list[float] = []
        self.segments: list[float] = []  # seconds of each report, in order
        self._ids: list[int] = []
        self._load()

    @classmethod
    @_in_one_sentence()
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
        """Open the study of this identity or make it; `choices` (slots, kernel, metric, ...) are recorded when it is made.

        Raises:
            UserError: an unfinished study of the same inputs was begun by other code, or the storage does not work.
        """
        shelf = Shelf(root, url)
        names = shelf.names()
        runs = [name for name in names if name.startswith(identity.name)]
        if fresh:
            name = f"{identity.name}-{len(runs)}" if runs else identity.name
        elif runs:
            name = max(runs, key=lambda run: (len(run), run))
        else:
            name = _begun_by_other_code(shelf, names, identity, accept_code) or identity.name
        storage = shelf.storage(name)
        if name not in [study.study_name for study in storage.get_all_studies()]:
            further = [StudyDirection.MINIMIZE for _ in goals.minimized]
            storage.create_new_study([StudyDirection[direction.upper()], *further], name)
        study_id = storage.get_study_id_from_name(name)
        if goals != NO_GOALS:
            choices = {**choices, "goals": {"minimized": list(goals.minimized), "bounds": dict(goals.bounds)}}
        attributes = {**choices, "fingerprint": identity.fingerprint, "code": dict(identity.code)}
        attributes[_SYSTEM_ATTR_METRIC_NAMES] = [choices["metric"], *goals.minimized]
        if shelf.database:  # others may have a study of this name, for which the same folder is not the place
            attributes["folder"] = f"{name}-{uuid.uuid4().hex[:8]}"
        for key in attributes.keys() - _attributes(storage, study_id):  # all, or what a crash let through
            hidden = key in ("code", _SYSTEM_ATTR_METRIC_NAMES)
            note = storage.set_study_system_attr if hidden else storage.set_study_user_attr
            note(study_id, key, attributes[key])
        folder = root / "studies" / _attributes(storage, study_id).get("folder", name)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(storage, name, folder, direction)

    def start(
        self,
        proposal: Proposal,
        distributions: Mapping[str, BaseDistribution],
        full: int,
        cost: float,
        measures: Mapping[str, float] | None = None,
    ) -> Trial:
        """Acknowledge a proposal: its trial begins, with the measures known beforehand, or goes on."""
        order = len(self.history.events)
        event = {"start": proposal.epochs, "from": proposal.start_from, **({"anew": True} if proposal.anew else {})}
        if proposal.trial is None:
            parent, epoch = (0, 0) if proposal.anew else proposal.start_from or (0, 0)
            values = self.history.trials[parent].values[:epoch] if epoch else []
            template = create_trial(
                state=OptunaState.RUNNING,
                params=dict(proposal.params),
                distributions=dict(distributions),
                system_attrs={"full": full, "cost": cost, "measures": dict(measures or {}), f"event:{order}": event},
                intermediate_values=dict(enumerate(values, start=1)),
            )
            self._ids.append(self.storage.create_new_trial(self.id, template))
        else:
            self.storage.set_trial_system_attr(self._ids[proposal.trial], f"event:{order}", event)
        return self._begin(proposal, full, cost, measures)

    def report(
        self,
        number: int,
        values: Sequence[float],
        curves: Mapping[str, Sequence[float]],
        state: TrialState,
        reason: str = "",
        seconds: float = 0.0,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Acknowledge the next epochs of a trial. When this returns they survive any crash."""
        trial_id, first = self._ids[number], self.history.trials[number].epochs
        event: dict[str, Any] = {
            "report": list(values),
            "curves": {n: list(c) for n, c in curves.items()},
            "state": state,
            "reason": reason,
            "seconds": seconds,
            "measures": dict(measures or {}),
        }
        for epoch, value in enumerate(values, start=first + 1):
            self.storage.set_trial_intermediate_value(trial_id, epoch, value)
        if reason:
            self.storage.set_trial_user_attr(trial_id, "diagnosis", reason)
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
        with _in_one_sentence(), backend.together() if isinstance(backend, Journal) else nullcontext():
            yield

    def finish(self, finished: bool) -> None:
        """The sweep has reached its total of trials, or goes on to a larger one."""
        if finished != bool(self.attributes.get("finished")):
            with self.together():
                self.storage.set_study_user_attr(self.id, "finished", finished)
            self.attributes["finished"] = finished

    def checkpoints(self, number: int, epoch: int) -> list[Path]:
        """Where the states of a trial after an epoch stand: one, or under cross-validation one a fold."""
        count = self.attributes.get("folds", 1)
        suffixes = [f"-{fold}" for fold in range(count)] if count > 1 else [""]
        return [self.folder / "checkpoints" / f"{number}-{epoch}{suffix}.safetensors" for suffix in suffixes]

    def _load(self) -> None:
        events: list[tuple[int, int, dict[str, Any]]] = []
        trials = self.storage.get_all_trials(self.id, deepcopy=False)
        for trial in trials:
            self._ids.append(trial._trial_id)
            notes = trial.user_attrs | trial.system_attrs  # at first all stood with the user's
            for key, event in notes.items():
                if key.startswith("event:"):
                    events.append((int(key.removeprefix("event:")), trial.number, event))
        for _, number, event in sorted(events, key=lambda e: e[0]):
            if "start" in event:
                trial, known = trials[number], number < len(self.history.trials)
                notes = trial.user_attrs | trial.system_attrs
                source = tuple(event["from"]) if event["from"] else None
                anew = event.get("anew", False)
                proposal = Proposal(trial.params, event["start"], number if known else None, source, anew=anew)
                self._begin(proposal, notes["full"], notes["cost"], notes.get("measures"))
            else:
                self._take(number, event)
                if event["state"] in STATES and not trials[number].state.is_finished():  # killed between the two
                    self._end(number)

    def _end(self, number: int) -> None:
        """What Optuna has a place for at the end of a trial."""
        trial, goals = self.history.trials[number], self.history.goals
        for name, excess in goals.excess(trial.measures).items():
            self.storage.set_trial_system_attr(self._ids[number], f"{_CONSTRAINTS_KEY}:{name}", excess)
        complete = trial.state == "complete"
        values = [trial.values[-1], *(trial.measures[name] for name in goals.minimized)] if complete else None
        self.storage.set_trial_state_values(self._ids[number], STATES[trial.state], values)

    def _begin(self, proposal: Proposal, full: int, cost: float, measures: Mapping[str, float] | None) -> Trial:
        trial = self.history.start(proposal, full, cost, measures)
        if proposal.trial is None:
            before = self.curves[trial.start_from[0]] if trial.start_from else {}
            self.curves.append({n: c[: trial.inherited] for n, c in before.items()} if trial.inherited else {})
            trial.curves = self.curves[-1]
            self.seconds.append(0.0)
        return trial

    def _take(self, number: int, event: Mapping[str, Any]) -> None:
        self.history.report(number, event["report"], event["state"], event["reason"], event.get("measures"))
        self.seconds[number] += event["seconds"]
        self.segments.append(event["seconds"])
        for name, curve in event["curves"].items():
            self.curves[number].setdefault(name, []).extend(curve)


class Shelf:
    """Where studies stand: each in a journal file of its own under `root`, or all in one database."""

    def __init__(self, root: Path, url: str | None) -> None:
        """Raises:
        UserError: the database cannot be reached.
        """
        self.root, self.database = root, None
        if url is not None:
            from sqlalchemy.exc import SQLAlchemyError  # not at the top: a journal does not need it

            from src.rdb import Database

            try:
                self.database = Database(url)
            except (SQLAlchemyError, ImportError, ValueError) as error:
                raise UserError(f"storage: {masked(url)} cannot be opened ({_first_line(error)})") from error

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
        return _attributes(storage, studies[name]) if name in studies else {}


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
        raise UserError(
            f"study {name} is unfinished and {', '.join(changed)} has changed since; "
            "study.accept_code=true goes on with it, study.fresh=true starts anew"
        )
    storage = shelf.storage(name)
    accepted = [*attributes.get("accepted", []), dict(identity.code)]
    storage.set_study_system_attr(storage.get_study_id_from_name(name), "accepted", accepted)
    return name


def _attributes(storage: BaseStorage, study: int) -> dict[str, Any]:
    return {**storage.get_study_system_attrs(study), **storage.get_study_user_attrs(study)}


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def digest(*parts: str) -> str:
    """SHA-256 over texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def code_digests(source: Path, names: Iterable[str] = CODE, more: Mapping[str, Path] | None = None) -> dict[str, str]:
    """A digest for each module that can change a trial's numbers, blind to comments and docstrings; `more` by name."""
    files = [f for name in names for f in (sorted((source / name).rglob("*.py")) or [source / name])]
    found = {str(f.relative_to(source.parent)): _code_digest(f) for f in files}
    found |= {name: _code_digest(path) for name, path in (more or {}).items()}
    return found | {package: version(package) for package in PACKAGES}


def target_modules(config: Any) -> dict[str, Path]:
    """The files of the modules that a `_target_` names anywhere in a config."""
    if isinstance(config, Mapping):
        module = str(config.get("_target_", "")).rpartition(".")[0]
        spec = find_spec(module) if module else None
        own = {module: Path(spec.origin)} if spec and spec.origin else {}
        return own | target_modules(list(config.values()))
    if isinstance(config, list | tuple):
        return {name: path for part in config for name, path in target_modules(part).items()}
    return {}


def _code_digest(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return digest(ast.dump(tree))[:16]
