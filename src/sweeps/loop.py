"""The loop of a sweep: the search proposes, the timetable orders, workers train, the study acknowledges.

With the engine, the search and the timetable, this is all that decides a trial's numbers.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from src.config.space import Space
from src.engine.cost import measures, seconds_per_epoch
from src.engine.cross_validation import Fold, mean_outcome
from src.engine.engine import Engine
from src.engine.net_growth import growth_obstacle
from src.engine.task import MACHINE, Outcome, Task
from src.population.checkpoint import Checkpoint
from src.population.early_stopping import earliest
from src.population.member import Member
from src.population.seeds import derived_seed
from src.search.protocol import Search
from src.study.history import Reported, Trial, TrialState
from src.study.study import Study
from src.study.timetable import Segment, Timetable
from src.sweeps.derivation import ending
from src.sweeps.objectives import LATENCY, Objectives
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.files import entries, write_bytes
from src.system.reason import Reason
from src.system.trial_config import TrialConfig

ALIKE = 3  # first trials that fail with one traceback: a bug, not a bad point
FEW_SLOTS = 4  # with n_trials / 6 in flight TPE ranked 4th of 5 at 25 full trainings, with 4 second (3 seeds)
MOST_SLOTS = 1024
PATIENCE = 0.5  # seconds between two looks at the progress


def slots(wanted: Any, n_trials: int, search: Search) -> int:
    """The number of trials in flight: few for a search that depends on results, else as many as fit.

    Args:
        wanted: the config's number, or `auto`.
        n_trials: of the sweep.
        search: its strategy.
    """
    if wanted != "auto":
        return int(wanted)
    return FEW_SLOTS if search.depends_on_results else min(n_trials, MOST_SLOTS)


class Loop:
    """The loop that takes a study, wherever it stands, to the end of its search."""

    def __init__(
        self,
        study: Study,
        search: Search,
        space: Space,
        meta: DataMeta,
        seed: int,
        objectives: Objectives,
        folds: Sequence[Fold] = (Fold(),),
    ) -> None:
        """Join what a sweep is made of.

        Args:
            study: wherever it stands.
            search: proposes trials.
            space: makes the config of a point.
            meta: of the prepared data.
            seed: of the sweep.
            objectives: name the curves and measures that count.
            folds: a trial has a member for each, which train at the same time.
        """
        self.study, self.search, self.space, self.meta = study, search, space, meta
        self.seed, self.objectives, self.folds = seed, objectives, folds
        self.history = study.history
        self.timetable = Timetable(study.history, study.attributes["slots"], self._may_stop)
        self.notes: set[str] = set()
        self.awaited: int | None = None  # the trial whose report comes next
        self.traceback = ""  # of the first trial that failed by a bug
        self._origins: list[str] = []  # of the trials that failed in this process
        self._arrived: dict[str, Outcome] = {}  # of members whose trial waits for another
        self._tidied = 0
        self._droppable: set[tuple[int, int]] = set()  # checkpoints after (trial, epoch)

    def mend(self, engine: Engine) -> None:
        """Train complete trials again whose checkpoint was torn or lost since: whoever comes after needs their weights.

        Raises:
            UserError: one did not come out as it was, so that the study and its weights would not belong together.
        """
        self.study.mirror.fetch()
        lost = [t for t in self.history.of("complete") if not all(map(_is_whole, self._checkpoints(t, t.epochs)))]
        engine.submit(
            self._from_its_origin(trial, trial.epochs, fold) for trial in lost for fold in range(len(self.folds))
        )
        for trial in lost:
            while (outcome := self._outcome(engine, trial, trial.epochs)) is None:
                pass
            _refuse_broken_machine(outcome)
            if outcome.error or outcome.prediction_curves[self.objectives.metric] != trial.values:
                raise UserError(
                    f"trial {trial.number}: its checkpoint is lost, and trained again it comes out otherwise "
                    f"({outcome.error or 'other values'}); restore it, or study.fresh=true starts anew"
                )

    def run(self, engine: Engine) -> Iterator[Trial | None]:
        """Yield each trial that has reported, or None now and then while waiting.

        Raises:
            UserError: the trials fail for a reason that is none of theirs.
        """
        study = self.study
        if not self.search.done(self.history):
            study.finish(False)
            with study.together():
                self._fill()
        self._sweep_folder()
        engine.submit([task for segment in self.timetable.running.values() for task in self._tasks(segment)])
        while segment := self.timetable.next:
            self.awaited = segment.trial
            outcome = self._outcome(engine, self.history.trials[segment.trial], segment.stop)
            if outcome is None:
                yield None
                continue
            _refuse_broken_machine(outcome)
            self._save(self._checkpoints(self.history.trials[segment.trial], segment.stop))
            before = set(self.timetable.running.values())
            with study.together():
                self._report(segment, outcome)
                self._fill()
            self._drop_checkpoints()
            begun = [s for s in self.timetable.running.values() if s not in before]
            engine.submit([task for s in begun for task in self._tasks(s)])
            yield self.history.trials[segment.trial]
            self._stop_on_a_bug(outcome)
        if not self.search.done(self.history):
            raise UserError("search: it proposes nothing while nothing trains, and is not done")
        yield from self._train_contenders_again(engine)
        study.finish(True)

    def _fill(self) -> None:
        """Give the free slots what the search proposes."""
        while self.timetable.free and (proposals := self.search.propose(self.history, self.timetable.free)):
            for proposal in proposals:
                if proposal.trial is not None and proposal.epochs <= self.history.trials[proposal.trial].epochs:
                    self.study.report(proposal.trial, [], {}, "pruned", proposal.reason)
                    continue
                config, distributions = self.space.trial(proposal.params), self.space.distributions(proposal.params)
                beforehand = known_measures(config, self.meta, self.objectives)
                max_epochs = proposal.max_epochs or config.epochs
                self.study.start(proposal, distributions, max_epochs, self._cost(config), beforehand)
            self.timetable.sync()

    def _cost(self, config: TrialConfig) -> float:
        """Virtual seconds an epoch, of all folds."""
        try:
            return seconds_per_epoch(config, self.meta) * len(self.folds)
        except Exception:  # a model that cannot be made: its worker says why, and the trial fails
            return 1.0

    def _may_stop(self, trial: Trial, epochs: int) -> float:
        return earliest(self.space.trial(trial.params), trial.curves.get("val/loss", ())[:epochs])

    def _outcome(self, engine: Engine, trial: Trial, stop: int) -> Outcome | None:
        """The outcome of a trial, once the last of its members is there; None if that takes longer than a moment."""
        keys = [path.stem for path in self._checkpoints(trial, stop)]
        for key in keys:
            if key not in self._arrived:
                if (outcome := engine.result(key, PATIENCE)) is None:
                    return None
                self._arrived[key] = outcome
        return mean_outcome([self._arrived.pop(key) for key in keys])

    def _report(self, segment: Segment, outcome: Outcome) -> None:
        trial = self.history.trials[segment.trial]
        new = {name: curve[segment.start :] for name, curve in outcome.curves.items()}
        values = outcome.prediction_curves.get(self.objectives.metric, [])[segment.start :]
        measured = {} if outcome.error else self.objectives.measured(outcome.prediction_curves, outcome.latency_ms)
        missing = self.objectives.undefined(values) or self.objectives.lacks({**trial.measures, **measured})
        error = outcome.error or Reason.read(missing)
        metrics = {} if outcome.error else outcome.metrics | _last_of_validation(outcome.prediction_curves)
        state: TrialState = "paused" if segment.stop == trial.target else "running"
        over = segment.stop == trial.max_epochs or bool(outcome.stopped)
        cell = ending(self.space.trial(trial.params), outcome.curves) if over and not error else ""
        if error:
            state = "fail"
            self._droppable.add((trial.number, segment.stop))  # what folds that did not fail have left
        elif cell:  # a supernet is never ranked
            state = "pruned"
        elif over:
            state = "complete"
            self._name_checkpoints(trial, segment.stop, outcome.epochs)
        text = cell or outcome.stopped or (self._growth_refusal(trial) if state == "complete" else "")
        report = (values, new, state, error or Reason.read(text), outcome.seconds, measured, metrics, _times(outcome))
        self.study.report(trial.number, *report)
        self.timetable.sync()
        self.notes |= {outcome.note} - {""}

    def _tasks(self, segment: Segment) -> list[Task]:
        """One a fold."""
        trial = self.history.trials[segment.trial]
        begun = segment.start > trial.inherited
        sources = self._checkpoints(trial, segment.start) if begun else [None for _ in self.folds]
        timed = LATENCY in self.objectives.goals.measures and LATENCY not in trial.measures
        return [
            replace(self._from_its_origin(trial, segment.stop, fold), source=source, timed=timed and fold == 0)
            for fold, source in enumerate(sources)
        ]

    def _from_its_origin(self, trial: Trial, stop: int, fold: int) -> Task:
        *ancestors, _ = self.history.lineage(trial)
        lineage = tuple(self._training(ancestor, until, fold) for ancestor, until in ancestors)
        return replace(self._training(trial, stop, fold), lineage=lineage)

    def _training(self, trial: Trial, stop: int, fold: int) -> Task:
        rows, holdout_rows = self.folds[fold]
        cut = holdout_rows is not None
        place = ("fold of a trial", trial.number, fold) if cut else ("trial", trial.number)
        seed = derived_seed(self.seed, *place)
        checkpoint = self._checkpoints(trial, stop)[fold]
        config = replace(self.space.trial(trial.params), epochs=trial.max_epochs)
        member = Member(config, seed, rows, holdout_rows=holdout_rows)
        return Task(checkpoint.stem, member, stop, None, checkpoint)

    def _train_contenders_again(self, engine: Engine) -> Iterator[None]:
        """Train the best trials with a second seed, so that none is chosen for its luck; None now and then while waiting."""
        history = self.history
        tasks = {
            t: self._second_task(t) for t in (c.number for c in history.contenders) if t not in history.second_values
        }
        engine.submit(tasks.values())
        for number, task in tasks.items():
            while (outcome := engine.result(task.key, PATIENCE)) is None:
                yield None
            _refuse_broken_machine(outcome)
            curve = outcome.prediction_curves.get(self.objectives.metric, [])
            value = curve[-1] if curve and not outcome.error else None
            self.study.report_second(number, value if value is not None and isfinite(value) else None)
            for trained in (*task.lineage, task):
                trained.checkpoint.unlink(missing_ok=True)

    def _second_task(self, number: int) -> Task:
        """The whole training of a trial, and of those whose weights it began with, under other seeds."""
        trial = self.history.trials[number]
        *ancestors, _ = self.history.lineage(trial)
        *lineage, task = (
            self._with_second_seed(part, self._training(part, until, 0), number)
            for part, until in [*ancestors, (trial, trial.max_epochs)]
        )
        return replace(task, lineage=tuple(lineage))

    def _with_second_seed(self, trial: Trial, task: Task, number: int) -> Task:
        key = f"second-{number}-{task.key}"
        member = replace(task.member, seed=derived_seed(self.seed, "second seed of a trial", trial.number))
        return replace(task, key=key, member=member, checkpoint=task.checkpoint.with_stem(key))

    def _checkpoints(self, trial: Trial, epoch: int) -> list[Path]:
        return self.study.checkpoints(trial.number, epoch)

    def _stop_on_a_bug(self, outcome: Outcome) -> None:
        """Raise if every trial so far has failed by one bug: by its type and place, since its text may name the point."""
        if not outcome.error:
            return
        self._origins.append(outcome.origin)
        self.traceback = self.traceback or outcome.detail
        over = {trial.state for trial in self.history.of("complete", "pruned", "fail")}
        if over == {"fail"} and len(self._origins) >= ALIKE and set(self._origins) == {outcome.origin} - {""}:
            raise UserError(f"the first {len(self._origins)} trials failed alike: {outcome.error}\n{outcome.detail}")

    # --- checkpoints -----------------------------------------------------------------------------------------------------

    def _save(self, checkpoints: Sequence[Path]) -> None:
        """Put checkpoints into the store before the study hears of them."""
        with self.study.waiting("the store"):
            self.study.mirror.save(checkpoints)

    def _growth_refusal(self, trial: Trial) -> str:
        """The reason for which a trial that should have grown from another did not begin with its weights, or ""."""
        if not (trial.start_from and trial.weights_only):
            return ""
        parent = self.history.trials[trial.start_from[0]]
        why = growth_obstacle(self.space.trial(parent.params).model, self.space.trial(trial.params).model)
        return f"began anew, not with the weights of trial {parent.number}: {why}" if why else ""

    def _name_checkpoints(self, trial: Trial, stop: int, epochs: int) -> None:
        """Name the checkpoints of a trial that stopped before `stop` by its epochs; the old ones go later."""
        if epochs < stop:
            for path, old in zip(self._checkpoints(trial, epochs), self._checkpoints(trial, stop), strict=True):
                write_bytes(path, old.read_bytes())
                self._save([path])
            self._droppable.add((trial.number, stop))

    def _needed(self) -> set[tuple[int, int]]:
        """The checkpoints that trials in training go on from: their own, or their parent's while they have none."""
        begun = [trial for trial in self.history.of("running", "paused") if trial.epochs]
        return {(t.number, t.epochs) if t.epochs > t.inherited else t.start_from or (0, 0) for t in begun}

    def _drop_checkpoints(self) -> None:
        """Once the study has acknowledged them, those from which no trial goes on any more."""
        new = [event for event in self.history.events[self._tidied :] if isinstance(event, Reported)]
        self._droppable |= {(event.trial, event.epochs) for event in new if event.state != "complete"}
        needed = self._needed()
        for place in self._droppable - needed:
            for path in self.study.checkpoints(*place):
                self.study.mirror.remove(path)
        self._droppable &= needed
        self._tidied = len(self.history.events)

    def _sweep_folder(self) -> None:
        """Delete files half written and checkpoints that no trial goes on from, as a crash leaves them, not those ahead."""
        self._droppable, self._tidied = self._needed(), len(self.history.events)
        epochs = {trial.number: trial.epochs for trial in self.history.of("running", "paused")}
        results = {(trial.number, trial.epochs) for trial in self.history.of("complete")}
        for path in entries(self.study.mirror.folder):
            match = re.fullmatch(r"(\d+)-(\d+)(?:-\d+)?", path.stem)
            number, epoch = map(int, match.groups()) if match else (-1, 0)
            if (number, epoch) not in self._droppable | results and epoch <= epochs.get(number, epoch):
                self.study.mirror.remove(path)


def known_measures(config: TrialConfig, meta: DataMeta, objectives: Objectives) -> dict[str, float]:
    """The measures that count and follow from a trial's config before it trains.

    Args:
        config: of the trial.
        meta: of the prepared data.
        objectives: name the measures.
    """
    if not objectives.before_training:
        return {}
    try:
        figures = measures(config, meta)
    except Exception:  # a model that cannot be made: its worker says why, and the trial fails
        return {}
    return {name: figures[name] for name in objectives.before_training}


def _last_of_validation(curves: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The last points of the curves of validation rows."""
    return {name: curve[-1] for name, curve in curves.items() if name.startswith("val/") and curve}


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(Checkpoint.load(checkpoint).weights)
    except OSError:
        return False


def _times(outcome: Outcome) -> tuple[float, float] | None:
    """Convert the begin and the end of a segment to Unix seconds; None where it had trained before a crash."""
    shift = time.time() - time.monotonic()
    trained = outcome.ended and (outcome.seconds or outcome.error)
    return (outcome.began + shift, outcome.ended + shift) if trained else None


def _refuse_broken_machine(outcome: Outcome) -> None:
    """A full disk or a lost file is no fault of the trial: stop before it is one in the study."""
    if outcome.error.kind == MACHINE:
        number = outcome.key.partition("-")[0]
        raise UserError(f"trial {number}: {outcome.error}; the study is whole, so the same command goes on from here")
