"""Snapshots of one run (Huang et al. 2017): as many members for the cost of one."""

from dataclasses import replace
from math import floor
from typing import Annotated, Any

from pydantic import Field

from src.config.components import make
from src.ensembles.final_member import FinalMember
from src.ensembles.protocol import Generations, Segment, TrainingContext
from src.optim.schedule import Repeating
from src.population.early_stopping import without_early_stopping
from src.population.member import Member
from src.population.seeds import derived_seed
from src.system.errors import UserError
from src.system.trial_config import TrialConfig


def snapshot(
    best: TrialConfig, seed: int, context: TrainingContext, *, cycles: Annotated[int, Field(gt=0, le=10_000)] | None
) -> Generations:
    """Make a member at the end of each cycle of the learning rate, until the training fails.

    Args:
        best: the best trial's config.
        seed: of the command; the run's own is derived from it.
        context: the data.
        cycles: so many half cosines of equal length in the place of the schedule of `best`; None: the cycles of that.

    Raises:
        UserError: there are more cycles than epochs, or the schedule of `best` has none.
    """
    config = without_early_stopping(best)
    stops = _cycle_ends(best) if cycles is None else []
    if cycles is not None:
        if cycles > best.epochs:
            raise UserError(f"members.cycles: {cycles} is more than the {best.epochs} epochs; take fewer")
        length = best.epochs // cycles
        stops = [length * (cycle + 1) for cycle in range(cycles)]
        schedule = {"name": "sgdr", "period": float(length), "growth": 1.0, "final": 0.0}
        config = replace(config, schedule=schedule)
    member = Member(config, derived_seed(seed, "snapshot", 0))
    snapshots: list[FinalMember] = []
    for stop in stops:
        trained = yield [Segment(member, stop, snapshots[-1].checkpoint if snapshots else None)]
        if not trained:
            break
        snapshots += trained
    return snapshots


def _cycle_ends(best: TrialConfig) -> list[int]:
    """The last whole epoch of each cycle of a config's schedule."""
    schedule: Any = make("schedule", best.schedule)
    ends = {floor(end) for end in schedule.ends(best.epochs)} - {0} if isinstance(schedule, Repeating) else set()
    if not ends:
        name = best.schedule["name"]
        raise UserError(
            f"members.cycles: schedule {name} has no whole cycle within {best.epochs} epochs; say how many, "
            "or sweep with schedule=sgdr or triangular"
        )
    return sorted(ends)
