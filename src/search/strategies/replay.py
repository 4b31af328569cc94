"""Replay: new members follow the schedule of parameters that a study of population-based training ended with."""

from collections.abc import Mapping
from typing import Any

from src.search.protocol import Search, Spec, require_equal_epochs
from src.study.history import History, Proposal
from src.system.errors import UserError


class Replay:
    """Train as many members as there are trials; each part of the schedule is a trial that begins as the last ended."""

    depends_on_results = False

    def __init__(self, spec: Spec) -> None:
        """Check that the schedule fits the sweep.

        Raises:
            UserError: there is no schedule, or one of other parameters or epochs.
        """
        require_equal_epochs(spec, "replay")
        if not spec.schedule:
            raise UserError("replay.study: name a finished study, or the schedule.json that it left")
        for _, params in spec.schedule:
            _refuse_foreign(spec, params)
        *stops, last = (stop for stop, _ in spec.schedule)
        if last != spec.epochs:
            raise UserError(f"epochs: the schedule of replay.study is of {last} epochs, not of {spec.epochs}")
        self.spec, self.parts = spec, dict(zip([0, *stops], spec.schedule, strict=True))

    def propose(self, history: History, n: int) -> list[Proposal]:
        """Propose the ends of parts, then the parts that follow, then new members."""
        parents = {trial.start_from[0] for trial in history.trials if trial.start_from}
        ends = [Proposal(trial.params, trial.epochs, trial.number) for trial in history.of("paused")]
        over = [trial for trial in history.of("paused", "pruned") if trial.number not in parents]
        following = [self._part(trial.epochs, trial.number) for trial in over]
        trials_from_scratch = sum(not trial.start_from for trial in history.trials)
        fresh = [self._part(0) for _ in range(trials_from_scratch, self.spec.n_trials)]
        return [*ends, *following, *fresh][:n]

    def done(self, history: History) -> bool:
        """Tell whether all members have come to their end."""
        return not any(history.of("running")) and not self.propose(history, 1)

    def _part(self, epoch: int, parent: int | None = None) -> Proposal:
        """The part of the schedule that begins at an epoch, for a new trial or one that goes on from `parent`."""
        stop, params = self.parts[epoch]
        return Proposal(params, stop, None, None if parent is None else (parent, epoch))


def replay(spec: Spec) -> Search:
    """Train `n_trials` members, of different seeds, by the schedule of `replay.study`."""
    return Replay(spec)


def _refuse_foreign(spec: Spec, params: Mapping[str, Any]) -> None:
    """Refuse parameters that are no point of the space."""
    try:
        distributions = spec.space.distributions(params)
        strange = sorted(params.keys() - distributions.keys())
        strange += [n for n, d in distributions.items() if not d._contains(d.to_internal_repr(params[n]))]
    except (KeyError, TypeError, ValueError) as error:
        strange = [str(error.args[0])]
    if strange:
        raise UserError(
            f"replay.study: its schedule does not fit this space ({strange[0]}); "
            "give the model, optimizer, choose, space and fixed keys of that study"
        )
