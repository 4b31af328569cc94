"""Training of the members that one method asks for, one generation after another."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.engine.engine import Engine
from src.engine.net_growth import sizes
from src.engine.task import Outcome, Task
from src.ensembles.final_member import FinalMember
from src.ensembles.protocol import Generation, Generations, Segment, TrainingContext
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.errors import UserError

Parts = Sequence[tuple[int, Mapping[str, Any]]]  # until which epoch by which config


@dataclass
class MemberTraining:
    """The training of all members of one `method` on `engine`.

    Checkpoints stand in `folder`, so that the same call goes on after a kill. `best` is the config of the best trial;
    `earlier` are those that it was trained by before, where it has a lineage.
    """

    method: str
    engine: Engine
    context: TrainingContext
    folder: Path
    best: Mapping[str, Any]
    earlier: Parts = ()
    configs: dict[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # of every member that was to be trained, by name
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # of its training

    def final_members(self, requested: Sequence[Member | FinalMember] | Generations) -> list[FinalMember]:
        """Train what the method asks for and return all its members.

        Raises:
            UserError: all members of the first generation failed.
        """
        members = self._driven(requested) if isinstance(requested, Generator) else self._at_once(requested)
        return [replace(one, model=self.best["model"]["name"], method=self.method) for one in members]

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
        """Train a `generation` and return its members that did not fail, in its order.

        Args:
            generation: members, or segments of their training.
            later: whether others were trained before; then it is no error that all fail.

        Raises:
            UserError: all members of the first generation failed.
        """
        segments = [one if isinstance(one, Segment) else Segment(one, one.config["epochs"]) for one in generation]
        first = len(self.outcomes)
        lines = [self._tasks(f"{self.method}-{first + k}", segment) for k, segment in enumerate(segments)]
        outcomes: dict[str, Outcome] = {}
        for depth in range(max(map(len, lines))):
            tasks = [line[depth] for line in lines if depth < len(line)]
            self.engine.submit(tasks)
            outcomes |= {task.key: outcome for task in tasks if (outcome := self.engine.result(task.key))}
        ends = [line[-1] for line in lines]
        self.configs |= {task.key: task.member.config for task in ends}
        self.outcomes |= {task.key: outcomes[task.key] for task in ends}
        self._report_failures([outcomes[task.key] for task in ends], later)
        return [
            FinalMember(task.key, task.member, Checkpoint.load(task.checkpoint), self.context.rows.meta)
            for task in ends
            if not outcomes[task.key].error
        ]

    def _tasks(self, key: str, segment: Segment) -> list[Task]:
        """The segment, after those of the best trial's lineage where it begins from initial weights."""
        line: list[Task] = []
        if segment.start is not None:
            source = self.folder / f"{key}-start.safetensors"
            segment.start.save(source)
            return [Task(key, segment.member, segment.stop, source, self.folder / f"{key}.safetensors")]
        changed = {k: v for k, v in segment.member.config.items() if v != self.best.get(k)}
        end = sizes(segment.member.config["model"])
        for until, config in self.earlier:
            if (
                until < segment.stop or sizes({**config, **changed}["model"]) != end
            ):  # a smaller net counts its own epochs
                name = f"{key}-part-{len(line)}"
                member = replace(segment.member, config={**config, **changed})
                line.append(Task(name, member, until, None, self.folder / f"{name}.safetensors", tuple(line)))
        checkpoint = self.folder / f"{key}.safetensors"
        return [*line, Task(key, segment.member, segment.stop, None, checkpoint, tuple(line))]

    def _report_failures(self, outcomes: Sequence[Outcome], later: bool) -> None:
        failed = [outcome for outcome in outcomes if outcome.error]
        if len(failed) == len(outcomes) and not later:
            (reason, count), *_ = Counter(outcome.error for outcome in failed).most_common()
            which = "the member" if len(failed) == 1 else f"all {len(failed)} members"
            detail = next(outcome.detail for outcome in failed if outcome.error == reason)
            often = f" ({count} times)" if 1 < count < len(failed) else ""
            raise UserError(f"members: {which} of {self.method} failed: {reason}{often}\n{detail}".strip())
        for outcome in failed:
            print(f"{outcome.key} is left out: {outcome.error}")
