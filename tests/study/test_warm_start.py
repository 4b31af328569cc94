"""What an earlier study brings: its best points first, its results where the space is the same."""

import random
from pathlib import Path
from statistics import median

import optuna
import pytest
from optuna.distributions import FloatDistribution

from src.config.space import Dimension, Leaf, Space
from src.search.protocol import Spec
from src.search.strategies.cmaes import cmaes
from src.search.strategies.tpe import tpe
from src.study.history import History, Proposal, Trial
from src.study.identity import Identity
from src.study.study import Study
from src.study.warm_start import WarmStart, warm_start
from src.system.errors import UserError
from tests.support.stored import SPEC, Stored, opened
from tests.support.virtual import EPOCHS, Sweep, conditional, flat


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    stored = Stored(opened(tmp_path_factory.mktemp("study")))
    stored.run()
    return stored


def brought(before: Stored, space: Space, metric: str = "loss") -> WarmStart:
    root = before.study.folder.parent.parent
    return warm_start(root, None, before.study.name, space, metric, "minimize")


def test_the_best_points_come_first_and_the_rest_informs(before: Stored) -> None:
    found = brought(before, conditional())
    complete = sorted(before.history.of("complete"), key=lambda t: (t.values[-1], t.number))
    assert found.first[0] == complete[0].params
    assert len(found.first) == 5
    assert len(found.trials) == len(before.history.trials)
    assert [t.number for t in found.trials] == [-1 - k for k in range(len(found.trials))]

    spec = Spec(SPEC.space, "minimize", 12, EPOCHS, 1, found.trials, found.first)
    live = Sweep(tpe(spec, n_startup_trials=10, random_fraction=0.33, pruner="none")).run()
    assert [t.params for t in live.history.trials[:5]] == list(found.first)
    for count in range(len(live.ops) + 1):  # killed anywhere, the same
        again = live.rebuilt(tpe(spec, n_startup_trials=10, random_fraction=0.33, pruner="none"), count).run()
        assert again.ops == live.ops


def test_who_has_stopped_early_came_to_the_end_too(tmp_path: Path) -> None:
    space = Space(Leaf(flat().root.config, {"x": Dimension("x", FloatDistribution(0.0, 9.0))}))  # type: ignore[union-attr]
    study = Study.open(tmp_path, None, Identity("mine", "inputs", {}), "maximize", {"slots": 1, "metric": "accuracy"})
    for number, (value, epochs) in enumerate([(0.6, 9), (0.9, 4), (0.7, 9), (0.8, 5)]):
        proposal = Proposal({"x": float(number)}, 9)
        study.start(proposal, space.distributions(proposal.params), 9, 1.0)
        study.report(number, [value] * epochs, {}, "complete" if number else "pruned")
    study.finish(True)
    first = warm_start(tmp_path, None, study.name, space, "accuracy", "maximize").first
    assert [point["x"] for point in first] == [1.0, 3.0, 2.0, 0.0]


def test_an_earlier_study_moves_the_distribution_of_cmaes() -> None:
    numbers = Space(Leaf(flat().root.config, {k: Dimension(k, FloatDistribution(0.0, 1.0)) for k in ("a", "b")}))  # type: ignore[union-attr]
    draw = random.Random(0)
    points = [{"a": draw.random(), "b": draw.random()} for _ in range(60)]
    bowl = [[(p["a"] - 0.9) ** 2 + (p["b"] - 0.1) ** 2] for p in points]
    known = [
        Trial(-1 - k, p, 1, 1.0, 1, None, "complete", v) for k, (p, v) in enumerate(zip(points, bowl, strict=True))
    ]
    spec = Spec(numbers, "minimize", 50, 1, 0, known)
    drawn = cmaes(spec, population="auto", pruner="none").propose(History("minimize"), 8)
    assert median(p.params["a"] for p in drawn) > 0.6
    assert median(p.params["b"] for p in drawn) < 0.4


def test_its_results_inform_the_sampler(before: Stored) -> None:
    """With more results than TPE starts up with, no point is random: another seed is needed for another point."""
    found = brought(before, conditional())
    alone, informed = (
        tpe(
            Spec(SPEC.space, "minimize", 30, EPOCHS, 1, trials),
            n_startup_trials=10,
            random_fraction=0.33,
            pruner="none",
        )
        for trials in ((), found.trials)
    )
    points = [Sweep(search, slots=1) for search in (alone, informed)]
    for live in points:
        live.fill()
    assert points[0].history.trials[0].params != points[1].history.trials[0].params


def test_another_space_takes_what_fits(before: Stored) -> None:
    narrow = Space(Leaf(flat().root.config, {"optimizer.lr": Dimension("optimizer.lr", FloatDistribution(1e-3, 1e-2))}))  # type: ignore[union-attr]
    found = brought(before, narrow)
    assert list(found.trials) == []
    assert all(1e-3 <= point["optimizer.lr"] <= 1e-2 for point in found.first)


def test_what_cannot_be_brought_is_refused(before: Stored) -> None:
    with pytest.raises(UserError, match=r"^warm_start: .* searched loss, this sweep searches val/accuracy"):
        brought(before, conditional(), "val/accuracy")
    with pytest.raises(UserError, match=r"^warm_start: 'digits' is none of digits-mlp-"):
        warm_start(before.study.folder.parent.parent, None, "digits", conditional(), "loss", "minimize")


def test_a_study_that_no_sweep_has_made_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(UserError, match=r"^warm_start: theirs is no study of Lockstep's"):
        warm_start(tmp_path, url, "theirs", flat(), "loss", "minimize")
