"""History and timetable are folds over events: whoever reads the same events knows the same, and nothing else counts."""

import heapq
import random
from collections.abc import Mapping
from typing import Any

import pytest

from src.population.early_stopping import earliest, stopped
from src.search.protocol import Spec
from src.search.strategies.random import random as random_search
from src.study.history import History, Proposal, Started
from src.study.timetable import SEGMENT_SECONDS, SOON, Timetable
from tests.support.training import config as trial_config
from tests.support.virtual import EPOCHS, Sweep, fails, flat


def sweep(seed: int, pruner: str = "asha", n_trials: int = 25, **more: Any) -> Sweep:
    spec = Spec(flat(), "minimize", n_trials, EPOCHS, seed)
    return Sweep(random_search(spec, pruner=pruner), **more)


def costs(salt: int) -> Any:
    """A cost an epoch for every point, some of more than a segment."""
    return lambda params: random.Random(f"{salt} {sorted(map(str, params.values()))}").lognormvariate(1.0, 2.0)


@pytest.mark.parametrize("seed", range(8))
def test_rebuilt_from_any_prefix_it_is_the_live_one(seed: int) -> None:
    draw = random.Random(seed)
    live = sweep(seed, slots=draw.randint(1, 9), cost=costs(seed), fails=fails)
    seen = []
    apply = live.apply

    def watched(op: Any) -> None:
        apply(op)
        t = live.timetable
        seen.append((dict(t.running), t.clock, t.next, t.free))

    live.apply = watched  # type: ignore[method-assign]
    live.run()
    for count, known in enumerate(seen, start=1):
        again = live.rebuilt(live.search, count)
        t = again.timetable
        assert (t.running, t.clock, t.next, t.free) == known
    assert again.history == live.history


@pytest.mark.parametrize("seed", range(8))
def test_results_come_in_the_order_of_their_virtual_ends_and_slots_are_kept(seed: int) -> None:
    draw = random.Random(seed)
    live = sweep(seed, slots=draw.randint(1, 9), cost=costs(seed), fails=fails)
    live.fill()
    taken = []
    while segment := live.timetable.next:
        assert len(live.timetable.running) <= live.slots
        assert live.timetable.free == live.slots - len(live.timetable.running)
        assert all((segment.end, segment.trial) <= (s.end, s.trial) for s in live.timetable.running.values())
        live.report()
        assert live.timetable.clock == segment.end
        taken.append(segment)
        live.fill()
    assert [s.end for s in taken] == sorted(s.end for s in taken)


@pytest.mark.parametrize("slots", [1, 2, 7, 64])
def test_without_pruning_it_is_greedy_list_scheduling(slots: int) -> None:
    """The end of every trial as a scheduler with `slots` machines and a heap has it."""
    live = sweep(0, "none", 40, slots=slots, cost=lambda params: 0.1 + params["optimizer.lr"])
    ends = {}
    live.fill()
    while segment := live.timetable.next:
        ends[segment.trial] = segment.end
        live.report()
        live.fill()
    machines = [0.0] * slots
    for trial in live.history.trials:
        end = heapq.heappop(machines) + EPOCHS * (0.1 + trial.params["optimizer.lr"])
        assert ends[trial.number] == pytest.approx(end)
        heapq.heappush(machines, end)


@pytest.mark.parametrize("cost", [0.01, 7.0, 25.0, 61.0, 1000.0])
def test_long_trainings_are_cut_into_segments_of_about_a_minute(cost: float) -> None:
    live = sweep(0, "none", 4, slots=2, cost=lambda params: cost)
    live.fill()
    pieces: dict[int, list[tuple[int, int]]] = {}
    while segment := live.timetable.next:
        assert (segment.stop - segment.start) * cost <= max(SEGMENT_SECONDS, cost)
        pieces.setdefault(segment.trial, []).append((segment.start, segment.stop))
        live.report()
        live.fill()
    for own in pieces.values():
        assert [epoch for start, stop in own for epoch in range(start, stop)] == list(range(EPOCHS))
        assert len(own) == -(-EPOCHS // max(1, int(SEGMENT_SECONDS / cost)))


def test_of_equal_ends_the_lowest_trial_comes_first() -> None:
    live = sweep(0, "none", 6, slots=6, cost=lambda params: 1.0)
    live.fill()
    order = []
    while segment := live.timetable.next:
        order.append(segment.trial)
        live.report()
    assert order == [0, 1, 2, 3, 4, 5]


def test_a_trial_that_fails_frees_its_slot_at_its_virtual_end() -> None:
    def never(params: Mapping[str, Any]) -> bool:
        return True

    live = sweep(0, "none", 3, slots=1, cost=lambda params: 2.0, fails=never).run()
    assert [t.state for t in live.history.trials] == ["fail"] * 3
    assert live.timetable.clock == 3 * 2.0 * EPOCHS


@pytest.mark.parametrize("cost", [0.3, 0.7, 2.0, 45.0, 90.0])
def test_the_slot_of_a_trial_that_stops_early_is_free_when_it_stops(cost: float) -> None:
    """To the epoch; where epochs are shorter than a segment is worth, within that."""
    config = trial_config(early_stopping={"patience": 3, "min_delta": 0.05})
    early = 0
    for seed in range(20):
        draw = random.Random(seed)
        floor = draw.randrange(40)
        losses = [abs(epoch - floor) / 40 + draw.gauss(0, 0.05) for epoch in range(40)]
        history = History("minimize")
        timetable = Timetable(history, 1, lambda trial, epochs: earliest(config, losses[:epochs]))  # noqa: B023
        history.start(Proposal({}, 40), 40, cost)
        timetable.sync()
        over = False
        while not over:
            segment = timetable.next
            assert segment
            assert (segment.stop - segment.start) * cost <= max(SEGMENT_SECONDS, cost)
            reached = range(segment.start + 1, segment.stop + 1)
            ended = next((n for n in reached if stopped(config, {"val/loss": losses[:n]})), segment.stop)
            over = ended < segment.stop or stopped(config, {"val/loss": losses[:ended]}) or ended == 40
            history.report(0, losses[segment.start : ended], "complete" if over else "running")
            timetable.sync()
        trained = history.trials[0].epochs
        early += trained < 40
        assert trained * cost <= timetable.clock + 1e-9
        assert timetable.clock <= trained * cost + (SOON - cost if cost < SOON / 2 else 1e-9)
    assert early > 10


# --- history -----------------------------------------------------------------------------------------------------------


def test_the_best_is_the_first_of_the_best_complete_trials() -> None:
    for direction, best in (("minimize", 1), ("maximize", 3)):
        history = History(direction)  # type: ignore[arg-type]
        assert history.best is None
        for number, value in enumerate([5.0, 1.0, 1.0, 9.0, 9.0, 0.0, 10.0]):
            history.start(Proposal({}, 1), 1, 1.0)
            history.report(number, [value], "complete" if number < 5 else "fail" if number == 5 else "pruned")
        assert history.best is history.trials[best]
        assert history.trials[5].value is None


def test_a_trial_never_trains_beyond_its_own_end() -> None:
    """A trial whose epochs are searched may be over before the rung that the search asked for."""
    history = History("minimize")
    trial = history.start(Proposal({}, 20), 5, 1.0)
    assert trial.target == 5
    assert history.events == [Started(0, 5)]
    assert (segment := Timetable(history, 1).next)
    assert segment.stop == 5
    paused = history.start(Proposal({}, 2), 5, 1.0)
    history.report(1, [0.0, 0.0], "paused")
    assert history.start(Proposal({}, 20, 1), 5, 1.0) is paused
    assert paused.target == 5
