"""Drives a way to make members: trains on the engine what it asks for, one generation after another."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.engine.engine import Engine
from src.engine.net_growth import sizes
from src.engine.task import Outcome, Task
from src.ensembles.final_member import FinalMember, Generation, Generations, Segment, Trained, TrainingContext
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.errors import UserError

Parts = Sequence[tuple[int, Mapping[str, Any]]]  # until which epoch by which config


@dataclass
class MemberTraining:
    """The items of one way. What has been trained stands in `folder`, so that the same call goes on after a kill.

    `earlier`: what the best trial was trained by before its last config, where it has a lineage.
    """

    how: str
    engine: Engine
    context: TrainingContext
    folder: Path
    best: Mapping[str, Any]
    earlier: Parts = ()
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # of all that was to be trained, by key
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # what became of it

    def items(self, made: Sequence[Member | FinalMember] | Generations) -> list[FinalMember]:
        """All that is made.

        Raises:
            UserError: all members of the first generation failed.
        """
        if not isinstance(made, Generator):
            ready = [one for one in made if isinstance(one, FinalMember)]
            members = [one for one in made if isinstance(one, Member)]
            return [*ready, *(map(FinalMember, self.trained(members)) if members else ())]
        trained = self.trained(next(made))
        while True:
            try:
                trained = self.trained(made.send(trained), later=True)
            except StopIteration as end:
                return list(end.value)

    def trained(self, generation: Generation, later: bool = False) -> list[Trained]:
        """Those of a generation that did not fail, in its order: of a `later` one, which leaves the first, maybe none."""
        segments = [one if isinstance(one, Segment) else Segment(one, one.config["epochs"]) for one in generation]
        first = len(self.outcomes)
        lines = [self._line(f"{self.how}-{first + k}", segment) for k, segment in enumerate(segments)]
        outcomes: dict[str, Outcome] = {}
        for depth in range(max(map(len, lines))):
            tasks = [line[depth] for line in lines if depth < len(line)]
            self.engine.submit(tasks)
            outcomes |= {task.key: outcome for task in tasks if (outcome := self.engine.result(task.key))}
        ends = [line[-1] for line in lines]
        self.configs |= {task.key: task.member.config for task in ends}
        self.outcomes |= {task.key: outcomes[task.key] for task in ends}
        self._say_which_failed([outcomes[task.key] for task in ends], later)
        return [
            Trained(task.key, task.member, Checkpoint.load(task.checkpoint), self.context.rows)
            for task in ends
            if not outcomes[task.key].error
        ]

    def _line(self, key: str, segment: Segment) -> list[Task]:
        """The segment, after those of the best trial's lineage where it begins anew."""
        line: list[Task] = []
        if segment.start is not None:
            source = self.folder / f"{key}-start.safetensors"
            segment.start.save(source)
            return [Task(key, segment.member, segment.stop, source, self.folder / f"{key}.safetensors")]
        own = {k: v for k, v in segment.member.config.items() if v != self.best.get(k)}
        end = sizes(segment.member.config["model"])
        for until, config in self.earlier:
            if until < segment.stop or sizes({**config, **own}["model"]) != end:  # a smaller net has epochs of its own
                name = f"{key}-part-{len(line)}"
                member = replace(segment.member, config={**config, **own})
                line.append(Task(name, member, until, None, self.folder / f"{name}.safetensors", tuple(line)))
        checkpoint = self.folder / f"{key}.safetensors"
        return [*line, Task(key, segment.member, segment.stop, None, checkpoint, tuple(line))]

    def _say_which_failed(self, outcomes: Sequence[Outcome], later: bool) -> None:
        failed = [outcome for outcome in outcomes if outcome.error]
        if len(failed) == len(outcomes) and not later:
            (reason, count), *_ = Counter(outcome.error for outcome in failed).most_common()
            which = "the member" if len(failed) == 1 else f"all {len(failed)} members"
            detail = next(outcome.detail for outcome in failed if outcome.error == reason)
            often = f" ({count} times)" if 1 < count < len(failed) else ""
            raise UserError(f"members: {which} of {self.how} failed: {reason}{often}\n{detail}".strip())
        for outcome in failed:
            print(f"{outcome.key} is left out: {outcome.error}")
