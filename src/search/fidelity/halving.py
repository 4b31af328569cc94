"""Asynchronous successive halving with real promotion: a trial pauses at a rung and goes on if it is among the best there.

One bracket is ASHA (Li et al. 2020); Hyperband (Li et al. 2018) has several, which begin at different rungs.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from math import ceil, inf, isfinite
from typing import Literal

from src.search.protocol import Spec
from src.study.history import History, Proposal, Reported

RankedTrial = tuple[float, int]  # a value to be minimized, and its trial


class Halving:
    """Rungs and brackets as a function of the list of trials: no epoch is trained twice."""

    leaves_paused = True

    def __init__(self, spec: Spec, eta: int, min_epochs: int | Literal["auto"], brackets: int | Literal["all"]) -> None:
        """Lay out the rungs.

        Args:
            spec: the sweep.
            eta: the best 1/`eta` of each rung go on, to `eta` times the epochs.
            min_epochs: the lowest rung is at or above these epochs.
            brackets: how many brackets there are, each of which begins one rung higher.

        Raises:
            ValueError: there are no such rungs.
        """
        if eta < 2:
            raise ValueError(f"eta: should be 2 or more, not {eta}")
        deep = 3 if brackets == "all" else 2  # several brackets hedge against what very few epochs say
        lowest = max(1, round(spec.epochs / eta**deep)) if min_epochs == "auto" else min_epochs
        if not 1 <= lowest <= spec.epochs:
            raise ValueError(f"min_epochs: {lowest} is not within the {spec.epochs} epochs of a full training")
        self.spec, self.eta = spec, eta
        self.rungs: Sequence[int] = _rungs(lowest, spec.epochs, eta)
        many = len(self.rungs) if brackets == "all" else brackets
        if not 1 <= many <= len(self.rungs):
            raise ValueError(f"brackets: should be 1 to {len(self.rungs)}, as many as there are rungs, not {many}")
        self._brackets = _brackets(many, eta)
        self._begin(History(spec.direction))

    def first(self, number: int) -> int:
        """Return the epochs at which a new trial reports first."""
        return self.rungs[self._bracket(number)]

    def ends(self, history: History) -> list[Proposal]:
        """Once nothing is left to start, to train or to promote, the paused trials are over."""
        if len(history.trials) < self.spec.n_trials or self.promotions(history) or any(history.of("running")):
            return []
        return [Proposal(t.params, t.epochs, t.number) for t in history.of("paused")]

    def promotions(self, history: History) -> list[Proposal]:
        """Promote the best trials of the highest rungs first; where no trial is still to come, one however few there are."""
        self._read_on(history)
        closed = len(history.trials) >= self.spec.n_trials
        coming = [(self._bracket(t.number), t.target) for t in history.of("running")] if closed else []
        proposals = []
        for (bracket, rung), waiting in sorted(self._waiting.items(), key=lambda item: (-item[0][1], item[0][0])):
            epochs, results = self.rungs[rung], self._results[bracket, rung]
            final = closed and not any(b == bracket and target <= epochs for b, target in coming)
            seats = max(len(results) // self.eta, final)
            for ranked in waiting:
                if bisect_left(results, ranked) >= seats:
                    break
                proposals.append(Proposal(history.trials[ranked[1]].params, self.rungs[rung + 1], ranked[1]))
        return proposals

    def _bracket(self, number: int) -> int:
        return self._brackets[number % len(self._brackets)]

    def _begin(self, history: History) -> None:
        self._history, self._read = history, 0
        self._results: dict[tuple[int, int], list[RankedTrial]] = {}  # by bracket and rung, in order
        self._waiting: dict[tuple[int, int], list[RankedTrial]] = {}  # of these the paused
        self._places: dict[int, tuple[tuple[int, int], RankedTrial]] = {}  # where a paused trial waits

    def _read_on(self, history: History) -> None:
        if history is not self._history:
            self._begin(history)
        for event in history.events[self._read :]:
            if event.trial in self._places:  # it goes on, or ends
                place, ranked = self._places.pop(event.trial)
                self._waiting[place].remove(ranked)
            elif isinstance(event, Reported) and event.state not in ("running", "pruned"):
                self._take(event)
        self._read = len(history.events)

    def _take(self, event: Reported) -> None:
        """Place a trial at its rung; one that failed on its way there is the worst of it."""
        trial = self._history.trials[event.trial]
        failed = event.state == "fail"
        value = inf if failed else trial.values[event.epochs - 1] * (1 if self.spec.direction == "minimize" else -1)
        place = self._bracket(trial.number), bisect_left(self.rungs, trial.target if failed else event.epochs)
        ranked = (value if isfinite(value) else inf, trial.number)
        insort(self._results.setdefault(place, []), ranked)
        if event.state == "paused":
            insort(self._waiting.setdefault(place, []), ranked)
            self._places[trial.number] = place, ranked


def _rungs(lowest: int, epochs: int, eta: int) -> list[int]:
    """The epochs of a full training, and each time 1/`eta` of them, down to `lowest`."""
    rungs, part = [epochs], epochs / eta
    while round(part) >= lowest and round(part) < rungs[0]:
        rungs.insert(0, round(part))
        part /= eta
    return rungs


def _brackets(many: int, eta: int) -> list[int]:
    """The bracket of each trial of one round, in which every bracket has about the same budget: the longest first."""
    return [b for b in range(many) for _ in range(ceil(many / (many - b) * eta ** (many - 1 - b)))]
