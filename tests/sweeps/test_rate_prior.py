"""The range test as a prior: the range moves around the suggestion, of the optimizer and for the schedule that it is for."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import initialize_config_dir
from optuna.distributions import CategoricalDistribution, FloatDistribution

from src.config.compose import CONF, with_force_add
from src.config.loading import load
from src.config.space import Choice, Dimension, Leaf, Prior, Space
from src.search.protocol import Spec
from src.sweeps.rate_prior import range_tested
from src.system.errors import UserError
from tests.support.virtual import BASE, SEVERAL, Sweep


@pytest.fixture(scope="module", autouse=True)
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


FOUND = {"sha256": "abc", "optimizer": "adamw", "suggested_lr": 0.02, "base_lr": 0.01, "max_lr": 0.05}
LR = FloatDistribution(1e-4, 1e-1, log=True)


def around(space: Space, folder: Path, **changes: Any) -> Space:
    path = folder / "lr_range.json"
    path.write_text(json.dumps({**FOUND, **changes}))
    return range_tested(space, path, "abc")


def leaf(dimension: Dimension, optimizer: str = "adamw", schedule: Mapping[str, Any] | None = None) -> Leaf:
    changes = {"optimizer": {"name": optimizer, "lr": 0.1}, "schedule": schedule or {"name": "constant"}}
    return Leaf(BASE | changes, {"optimizer.lr": dimension})


def rate(space: Space) -> Dimension:
    ((_, found),) = space.leaves()
    return found.dimensions["optimizer.lr"]


@pytest.mark.parametrize("log", [True, False])
def test_the_suggestion_is_the_centre_of_a_range_as_wide_as_before(log: bool, tmp_path: Path) -> None:
    for suggested in (1e-7, 0.02, 3.0):
        plain = Space(leaf(Dimension("optimizer.lr", FloatDistribution(1e-4, 1e-1, log=log))))
        found = rate(around(plain, tmp_path, suggested_lr=suggested))
        low, high = found.ends
        assert (math.sqrt(low * high) if log else (low + high) / 2) == pytest.approx(suggested)
        assert high / low == pytest.approx(1000)
        assert found.prior
        assert found.prior.center == suggested


def test_points_steps_and_choices_stay_where_they_are(tmp_path: Path) -> None:
    choices = [1e-4, 1e-2, 1.0]
    for dimension, center in (
        (Dimension("optimizer.lr", LR, points=4), 0.02),
        (Dimension("optimizer.lr", FloatDistribution(0.0, 0.1, step=0.025)), 0.025),
        (Dimension("optimizer.lr", CategoricalDistribution(choices), choices), 1e-2),
    ):
        found = rate(around(Space(leaf(dimension)), tmp_path))
        assert found.distribution == dimension.distribution
        assert found.prior
        assert found.prior.center == pytest.approx(center)


def test_a_person_s_own_prior_is_left_alone(tmp_path: Path) -> None:
    mine = Dimension("optimizer.lr", LR, prior=Prior(1e-3, 0.1))
    assert rate(around(Space(leaf(mine)), tmp_path)) == mine


def test_only_the_optimizer_that_was_tested_learns_of_it(tmp_path: Path) -> None:
    options = {name: leaf(Dimension("optimizer.lr", LR), name) for name in ("sgd", "adamw")}
    found = around(Space(Choice("optimizer", "optimizer", options)), tmp_path).leaves()
    priors = {chosen["optimizer"]: [(n, d.prior) for n, d in found.dimensions.items()] for chosen, found in found}
    assert priors == {"sgd": [("sgd/optimizer.lr", None)], "adamw": [("adamw/optimizer.lr", Prior(0.02, 0.2))]}


@pytest.mark.parametrize("schedule", ["triangular", "triangular2", "exp_range", "one_cycle"])
def test_cyclic_schedules_take_both_bounds(schedule: str, tmp_path: Path) -> None:
    """From `base_lr` to `max_lr`: the rate is the peak, and the lower bound a share of it."""
    bound = "start" if schedule == "one_cycle" else "low"
    ((_, found),) = around(load([f"schedule={schedule}"]).space, tmp_path).leaves()
    peak, low = found.dimensions["optimizer.lr"].prior, found.dimensions[f"schedule.{bound}"].prior
    assert peak
    assert low
    assert (peak.center, peak.center * low.center) == (0.05, pytest.approx(0.01))


def test_a_searched_schedule_has_each_its_own_rate(tmp_path: Path) -> None:
    space = around(load(["choose={schedule: [cosine, sgdr, triangular]}"]).space, tmp_path)
    rates = {
        chosen["schedule"]: d.prior.center
        for chosen, found in space.leaves()
        for d in found.dimensions.values()
        if d.key == "optimizer.lr" and d.prior
    }
    assert rates == {"cosine": 0.02, "sgdr": 0.02, "triangular": 0.05}
    names = [n for _, found in space.leaves() for n, d in found.dimensions.items() if d.key == "optimizer.lr"]
    assert len(set(names)) == 3, "one name would be one distribution"


def searches() -> list[str]:
    """All but `replay`, which follows a study."""
    return sorted(
        path.stem for path in (Path(__file__).parents[2] / "conf/search").glob("*.yaml") if path.stem != "replay"
    )


@pytest.mark.parametrize("name", searches())
def test_every_search_searches_around_it(name: str, tmp_path: Path) -> None:
    """Most take it first; `qmc` takes the range, and a grid keeps its points."""
    rate_alone = ["~space.model", "~space.batch_size", "~space.optimizer.weight_decay", "+space.optimizer.lr.points=4"]
    words = [f"search={name}", *rate_alone * (name == "grid")]
    config = load([with_force_add(word) for word in words])
    before = {d.key: d for _, own in config.space.leaves() for d in own.dimensions.values()}["optimizer.lr"].ends
    space = around(config.space, tmp_path)
    spec = Spec(space, "minimize", 12, 6, 0, **(SEVERAL if name == "nsga2" else {}))  # type: ignore[arg-type]
    live = Sweep(config.make("search", config["search"], spec), slots=12)
    live.fill()
    rates = [trial.params["optimizer.lr"] for trial in live.history.trials]
    if name == "grid":
        assert sorted(set(rates)) == pytest.approx(np.geomspace(*before, 4))
        return
    if name != "qmc":
        assert rates[0] == 0.02
    width = math.sqrt(before[1] / before[0])
    assert all(0.02 / width <= r <= 0.02 * width for r in rates)


def test_what_is_not_of_this_sweep_is_refused(tmp_path: Path) -> None:
    space = Space(leaf(Dimension("optimizer.lr", LR)))
    with pytest.raises(UserError, match=r"^search\.rate_prior: .*run python -m src\.lr_range"):
        range_tested(space, tmp_path / "none.json", "abc")
    with pytest.raises(UserError, match=r"^search\.rate_prior: .* is of optimizer=sgd; .*optimizer=adamw"):
        around(space, tmp_path, optimizer="sgd")
    with pytest.raises(UserError, match=r"^search\.rate_prior: .* is of other data"):
        around(space, tmp_path, sha256="def")


@pytest.mark.parametrize("choices", [[0.0, 0.01, 0.1], [0.1, 0.02, None], [0.0], ["low", 0.3], [-1.0, 0.02]])
def test_choices_of_a_bound_need_not_all_be_positive(choices: list[Any], tmp_path: Path) -> None:
    """The prior stands at the positive one nearest in the logarithm; without any there is none."""
    schedule = {"name": "triangular", "low": 0.1}
    bound = Dimension("schedule.low", CategoricalDistribution(choices), choices)
    space = Space(Leaf(BASE | {"optimizer": {"name": "adamw", "lr": 0.1}, "schedule": schedule}, {"low": bound}))
    ((_, tested),) = around(space, tmp_path, base_lr=0.001, max_lr=0.1).leaves()
    positive = [c for c in choices if isinstance(c, float) and c > 0]
    prior = tested.dimensions["low"].prior
    assert (prior.center if prior else None) == min(positive, default=None)


def test_a_range_around_zero_stays_where_it_is(tmp_path: Path) -> None:
    space = Space(leaf(Dimension("optimizer.lr", FloatDistribution(-1.0, 1.0))))
    assert rate(around(space, tmp_path)).ends == [-1.0, 1.0]
