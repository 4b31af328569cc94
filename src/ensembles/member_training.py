"""Training of the members that one method asks for, one generation after another."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.engine.engine import Engine
from src.engine.net_growth import sizes
from src.engine.task import DIVERGED, Outcome, Task
from src.ensembles.final_member import FinalMember
from src.ensembles.member_checks import complaint, row_errors
from src.ensembles.members.top import top
from src.ensembles.protocol import Generation, Generations, Segment, TrainingContext
from src.population.checkpoint import Checkpoint
from src.population.early_stopping import without_early_stopping
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.arrays import read_npz
from src.system.errors import UserError
from src.system.mirror import Mirror
from src.system.read_back import intact, read_json
from src.system.trial_config import TrialConfig

Parts = Sequence[tuple[int, TrialConfig]]  # until which epoch by which config


@dataclass
class MemberTraining:
    """The training of all members of one `method` on `engine`.

    Checkpoints stand in `mirror`, so that the same call goes on after a kill. `best` is the config of the best trial;
    `earlier` are those that it was trained by before, where it has a lineage. `replaced` are predictions for the validation
    rows of the members, by name, that refits shall replace. Where these members stopped early, their refits, which learn
    from the validation rows, cannot know when to stop: they train for the `epochs` that their members had at their best.

    Every trained member is compared with its like (`_reference`). One that diverged, collapsed or is much worse is trained
    again, with another seed and at half the rate, and left out if that is no better; `notes` says so.
    """

    method: str
    engine: Engine
    context: TrainingContext
    mirror: Mirror
    best: TrialConfig
    earlier: Parts = ()
    replaced: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)  # of refits, by name, where their members stopped early
    configs: dict[str, TrialConfig] = field(default_factory=dict)  # of every member that was to be trained, by name
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # of its training
    notes: list[str] = field(default_factory=list)
    _count: int = 0  # members that were to be trained, not counting those that were trained again

    def final_members(self, requested: Sequence[Member | FinalMember] | Generations) -> list[FinalMember]:
        """Train what the method asks for and return all its members.

        Raises:
            UserError: all members of the first generation failed.
        """
        members = self._driven(requested) if isinstance(requested, Generator) else self._at_once(requested)
        if not members and not self.replaced:
            members = top(self.best, 0, self.context, n=1)
            self.note(f"{self.method}: no member is fit for use, so the best trial itself takes their place")
        return [replace(one, model=self.best.model["name"], method=self.method) for one in members]

    def _at_once(self, requested: Sequence[Member | FinalMember]) -> list[FinalMember]:
        ready = [one for one in requested if isinstance(one, FinalMember)]
        untrained = [one for one in requested if isinstance(one, Member)]
        return [*ready, *(self.train(untrained) if untrained else ())]

    def _driven(self, generations: Generations) -> list[FinalMember]:
        trained = self.train(next(generations))
        while True:
            try:
                trained = self.train(generations.send(trained), later=True)
            except StopIteration as end:
                return list(end.value)

    def train(self, generation: Generation, later: bool = False) -> list[FinalMember]:
        """Train a `generation` and return its members that are fit for use, in its order.

        Args:
            generation: members, or segments of their training.
            later: whether others were trained before; then it is no error that all fail.

        Raises:
            UserError: all members of the first generation failed.
        """
        segments = {
            (name := f"{self.method}-{self._count + k}"): self._segment(name, one) for k, one in enumerate(generation)
        }
        self._count += len(segments)
        trained = self._run(segments)
        if not trained and not later and not self.replaced:
            raise UserError(_all_failed(self.method, [self.outcomes[name] for name in segments]))
        faults = self._faults(segments, trained)
        members = {name: one for name, one in trained.items() if name not in faults}
        members |= self._again({name: segments[name] for name in faults}, members)
        for name, fault in faults.items():
            self._note_fault(name, fault, name in members)
        return [members[name] for name in segments if name in members]

    def _segment(self, name: str, one: Member | Segment) -> Segment:
        """The training that a method asks for, with as many `epochs` as are given and without early stopping."""
        if isinstance(one, Segment):
            return one
        if not self.epochs:
            return Segment(one, one.config.epochs)
        typical = int(np.median(list(self.epochs.values())))
        stop = min(one.config.epochs, self.epochs.get(name, typical))
        return Segment(replace(one, config=without_early_stopping(one.config)), stop)

    def _again(self, segments: Mapping[str, Segment], sound: Mapping[str, FinalMember]) -> dict[str, FinalMember]:
        """Train milder what diverged, collapsed or is much worse beside members that are `sound`; return what is now sound.

        What failed for another reason, such as memory, would do so again.
        """
        milder = {
            f"{name}-again": _milder(segment)
            for name, segment in segments.items()
            if self.outcomes[name].error.kind in ("", DIVERGED)
        }
        again = {name.removesuffix("-again"): one for name, one in self._run(milder).items()} if milder else {}
        again = {name: replace(one, name=name) for name, one in again.items()}
        faults = self._faults({name: segments[name] for name in again}, {**sound, **again})
        return {name: one for name, one in again.items() if name not in faults}

    def _run(self, segments: Mapping[str, Segment]) -> dict[str, FinalMember]:
        """Train segments, by the names of their members, and return those that did not fail."""
        self.mirror.fetch()
        lines = [self._tasks(name, segment) for name, segment in segments.items()]
        outcomes: dict[str, Outcome] = {}
        for depth in range(max(map(len, lines))):
            tasks = [line[depth] for line in lines if depth < len(line)]
            self.engine.submit(tasks)
            for task in tasks:
                outcome = self.engine.result(task.key)
                assert outcome is not None
                outcomes[task.key] = outcome
                self.mirror.save([task.checkpoint])
        ends = [line[-1] for line in lines]
        self.configs |= {task.key: task.member.config for task in ends}
        self.outcomes |= {task.key: outcomes[task.key] for task in ends}
        return {
            task.key: FinalMember.trained(task.key, task.member, Checkpoint.load(task.checkpoint), self.context.rows)
            for task in ends
            if not outcomes[task.key].error
        }

    def _faults(self, segments: Mapping[str, Segment], trained: Mapping[str, FinalMember]) -> dict[str, str]:
        """Find what is wrong with the members of these segments, by the name of each that has a fault."""
        y_val, faults = self.context.y_val, {}
        for name, segment in segments.items():
            if name not in trained:
                faults[name] = self.outcomes[name].error.text
                continue
            replaces = name in self.replaced and segment.member.weights is None  # boosting is compared as a whole
            reference = self.replaced[name] if replaces else self._reference(segment, trained)
            faults[name] = complaint(trained[name].val_predictions, reference, y_val, replaces)
        return {name: fault for name, fault in faults.items() if fault}

    def _reference(self, segment: Segment, trained: Mapping[str, FinalMember]) -> NDArray[np.float32] | None:
        """Predictions for the validation rows that a member should not be much worse than.

        They are those of the checkpoint that it went on from; or of the best trial, where it trains by the same config; or
        of the median of its generation, where that has at least three members.
        """
        if segment.start is not None:
            predictions = np.asarray(segment.start.predictions.numpy())
            return predictions if len(predictions) else None
        alike = (
            segment.member.config == self.best and segment.member.weights is None
        )  # else it is a weak one of boosting
        if alike and self.best_predictions is not None:
            return self.best_predictions
        if len(trained) < 3:
            return None
        y_val = self.context.y_val
        ranked = sorted(trained.values(), key=lambda one: float(row_errors(one.val_predictions, y_val).mean()))
        return ranked[len(ranked) // 2].val_predictions

    @cached_property
    def best_predictions(self) -> NDArray[np.float32] | None:
        """Predictions of the best trial for the validation rows, where the sweep has left them."""
        ranking, predictions = self.context.sweep / "ranking.json", self.context.sweep / "predictions.npz"
        if not ranking.exists() or not predictions.exists():
            return None
        again = "run python -m src.sweep again"
        with intact(ranking, again):
            return read_npz(predictions, str(read_json(ranking, again, list)[0]["number"]), again)

    def note(self, text: str) -> None:
        """Say `text` on the console, and keep it for members.json and the report."""
        self.notes.append(text)
        print(text)

    def _note_fault(self, name: str, fault: str, mended: bool) -> None:
        if mended:
            end = "was trained again, with another seed and at half the rate"
        else:
            end = "is left out; the member that was judged stays" if name in self.replaced else "is left out"
        self.note(f"{name} {end}: {fault}")

    def _tasks(self, key: str, segment: Segment) -> list[Task]:
        """The segment, after those of the best trial's lineage where it begins from initial weights."""
        line: list[Task] = []
        if segment.start is not None:
            source = self.mirror.folder / f"{key}-start.safetensors"
            segment.start.save(source)
            return [Task(key, segment.member, segment.stop, source, self.mirror.folder / f"{key}.safetensors")]
        changed = _difference(segment.member.config, self.best)
        end = sizes(segment.member.config.model)
        for until, before in self.earlier:
            config = replace(before, **changed)
            if until < segment.stop or sizes(config.model) != end:  # a smaller net counts its own epochs
                name = f"{key}-part-{len(line)}"
                member = replace(segment.member, config=config)
                line.append(Task(name, member, until, None, self.mirror.folder / f"{name}.safetensors", tuple(line)))
        checkpoint = self.mirror.folder / f"{key}.safetensors"
        return [*line, Task(key, segment.member, segment.stop, None, checkpoint, tuple(line))]


def _difference(config: TrialConfig, other: TrialConfig) -> dict[str, Any]:
    """The fields of `config` that `other` has otherwise."""
    pairs = ((each.name, getattr(config, each.name)) for each in fields(config) if each.compare)
    return {name: value for name, value in pairs if value != getattr(other, name)}


def _milder(segment: Segment) -> Segment:
    """Repeat a training with another seed and at half the rate."""
    member = segment.member
    config = member.config.with_optimizer(lr=member.config.lr / 2)
    return replace(segment, member=replace(member, config=config, seed=derived_seed(member.seed, "trained again")))


def _all_failed(method: str, failed: Sequence[Outcome]) -> str:
    (reason, count), *_ = Counter(outcome.error for outcome in failed).most_common()
    which = "the member" if len(failed) == 1 else f"all {len(failed)} members"
    detail = next(outcome.detail for outcome in failed if outcome.error == reason)
    often = f" ({count} times)" if 1 < count < len(failed) else ""
    return f"members: {which} of {method} failed: {reason}{often}\n{detail}".strip()
