"""The study: every trial, its parameters, its values per epoch and its state, in order. It alone is the truth of a sweep.

It is an Optuna study in durable storage, written by one process. What Optuna has a place for stands there, for its
dashboard and samplers; each start and each report is one user attribute `event:<order>` of its trial besides. The event
is the record that counts: values without one were never acknowledged.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from src.errors import UserError
from src.history import Direction, History, Proposal, Trial, TrialState
from src.journal import Journal

CODE = ("config.py", "space.py", "history.py", "timetable.py", "optim.py", "models", "population", "search")
PACKAGES = ("torch", "numpy", "optuna")
STATES = {"complete": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "fail": OptunaState.FAIL}


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
    def name(self) -> str:
        return f"{self.label}-{self.inputs[:8]}-{self.fingerprint[:8]}"


class Study:
    """An open study; `history` is what has been acknowledged."""

    def __init__(self, storage: BaseStorage, name: str, folder: Path, direction: Direction) -> None:
        self.storage, self.name, self.folder = storage, name, folder
        self.id = storage.get_study_id_from_name(name)
        self.attributes = storage.get_study_user_attrs(self.id)
        self.history = History(direction)
        self.curves: list[dict[str, list[float]]] = []
        self.seconds: list[float] = []
        self._ids: list[int] = []
        self._load()

    @classmethod
    def open(
        cls,
        root: Path,
        url: str | None,
        identity: Identity,
        direction: Direction,
        choices: Mapping[str, Any],
        fresh: bool = False,
        accept_code: bool = False,
    ) -> "Study":
        """Open the study of this identity or make it; `choices` (slots, kernel, ...) are recorded when it is made.

        Raises:
            UserError: an unfinished study of the same inputs was begun by other code.
        """
        if url and not url.startswith("journal:"):
            storage: BaseStorage | None = get_storage(url)
            names = optuna.get_all_study_names(storage)
        else:
            storage = None
            names = sorted(path.parent.name for path in (root / "studies").glob("*/journal.log"))
        stem = f"{identity.label}-{identity.inputs[:8]}-"
        runs = [n for n in names if n.startswith(identity.name)]
        others = [n for n in names if n.startswith(stem) and not n.startswith(identity.name)]
        name = identity.name
        if fresh:
            name = f"{identity.name}-{len(runs)}" if runs else identity.name
        elif runs:
            name = max(runs, key=lambda run: (len(run), run))
        else:
            for other in others:
                study = cls(storage or _journal(root, other), other, root / "studies" / other, direction)
                if not study.unfinished:
                    continue
                accepted = study.attributes.get("accepted", [])
                if identity.code not in accepted:
                    if not accept_code:
                        changed = sorted(k for k, v in identity.code.items() if study.attributes["code"].get(k) != v)
                        raise UserError(
                            f"study {other} is unfinished and {', '.join(changed)} has changed since; "
                            "study.accept_code=true goes on with it, study.fresh=true starts anew"
                        )
                    study.storage.set_study_user_attr(study.id, "accepted", [*accepted, dict(identity.code)])
                return study
        (root / "studies" / name).mkdir(parents=True, exist_ok=True)
        storage = storage or _journal(root, name)
        if name not in [s.study_name for s in storage.get_all_studies()]:
            study_id = storage.create_new_study([StudyDirection[direction.upper()]], name)
            attributes = {**choices, "fingerprint": identity.fingerprint, "code": dict(identity.code)}
            for key, value in attributes.items():
                storage.set_study_user_attr(study_id, key, value)
        return cls(storage, name, root / "studies" / name, direction)

    @property
    def unfinished(self) -> bool:
        """Whether trials are under way or the last sweep did not reach its total."""
        return not self.storage.get_study_user_attrs(self.id).get("finished", False)

    def start(self, proposal: Proposal, distributions: Mapping[str, BaseDistribution], full: int, cost: float) -> Trial:
        """Acknowledge a proposal: its trial begins, or goes on."""
        order = len(self.history.events)
        event = {"start": proposal.epochs, "from": proposal.start_from}
        if proposal.trial is None:
            attributes = {"full": full, "cost": cost, f"event:{order}": event}
            template = create_trial(
                state=OptunaState.RUNNING,
                params=dict(proposal.params),
                distributions=dict(distributions),
                user_attrs=attributes,
            )
            self._ids.append(self.storage.create_new_trial(self.id, template))
            self.curves.append({})
            self.seconds.append(0.0)
        else:
            self.storage.set_trial_user_attr(self._ids[proposal.trial], f"event:{order}", event)
        return self.history.start(proposal, full, cost)

    def report(
        self,
        number: int,
        values: Sequence[float],
        curves: Mapping[str, Sequence[float]],
        state: TrialState,
        reason: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Acknowledge the next epochs of a trial. When this returns they survive any crash."""
        trial_id, first = self._ids[number], self.history.trials[number].epochs
        event = {
            "report": list(values),
            "curves": {n: list(c) for n, c in curves.items()},
            "state": state,
            "reason": reason,
            "seconds": seconds,
        }
        for epoch, value in enumerate(values, start=first + 1):
            self.storage.set_trial_intermediate_value(trial_id, epoch, value)
        self.storage.set_trial_user_attr(trial_id, f"event:{len(self.history.events)}", event)
        if state in STATES:
            final = (
                [values[-1] if len(values) else self.history.trials[number].values[-1]] if state == "complete" else None
            )
            self.storage.set_trial_state_values(trial_id, STATES[state], final)
        self._take(number, event)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Starts and reports inside are one record in a journal file."""
        backend = getattr(self.storage, "_backend", None)
        if isinstance(backend, Journal):
            with backend.together():
                yield
        else:
            yield

    def finish(self, total: int) -> None:
        """The sweep reached its total of trials."""
        self.storage.set_study_user_attr(self.id, "finished", total)

    def resume(self) -> None:
        """The sweep goes on to a larger total."""
        if not self.unfinished:
            self.storage.set_study_user_attr(self.id, "finished", False)

    def checkpoint(self, number: int, epoch: int) -> Path:
        """Where the state of a trial after an epoch stands."""
        return self.folder / "checkpoints" / f"{number}-{epoch}.safetensors"

    def _load(self) -> None:
        events: list[tuple[int, int, dict[str, Any]]] = []
        for trial in self.storage.get_all_trials(self.id, deepcopy=False):
            self._ids.append(trial._trial_id)
            self.curves.append({})
            self.seconds.append(0.0)
            for key, event in trial.user_attrs.items():
                if key.startswith("event:"):
                    events.append((int(key.removeprefix("event:")), trial.number, event))
        trials = self.storage.get_all_trials(self.id, deepcopy=False)
        for _, number, event in sorted(events, key=lambda e: e[0]):
            if "start" in event:
                trial, known = trials[number], number < len(self.history.trials)
                source = tuple(event["from"]) if event["from"] else None
                proposal = Proposal(trial.params, event["start"], number if known else None, source)
                self.history.start(proposal, trial.user_attrs["full"], trial.user_attrs["cost"])
            else:
                self._take(number, event)
                if event["state"] in STATES and not trials[number].state.is_finished():  # killed between the two
                    final = [self.history.trials[number].values[-1]] if event["state"] == "complete" else None
                    self.storage.set_trial_state_values(self._ids[number], STATES[event["state"]], final)

    def _take(self, number: int, event: Mapping[str, Any]) -> None:
        self.history.report(number, event["report"], event["state"], event["reason"])
        self.seconds[number] += event["seconds"]
        for name, curve in event["curves"].items():
            self.curves[number].setdefault(name, []).extend(curve)


def _journal(root: Path, name: str) -> BaseStorage:
    return JournalStorage(Journal(root / "studies" / name / "journal.log"))


def digest(*parts: str) -> str:
    """SHA-256 over texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def code_digests(source: Path, more: Iterable[Path] = ()) -> dict[str, str]:
    """A digest for each module that can change a trial's numbers, blind to comments and docstrings."""
    files = [f for name in CODE for f in (sorted((source / name).rglob("*.py")) or [source / name])]
    found = {str(f.relative_to(source.parent)): _code_digest(f) for f in files}
    found |= {str(f.name): _code_digest(f) for f in more}
    return found | {package: version(package) for package in PACKAGES}


def _code_digest(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return digest(ast.dump(tree))[:16]
