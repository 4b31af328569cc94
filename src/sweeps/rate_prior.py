"""The range test as a prior of a sweep: it moves the range of the rate, and centers the lower bound of its cycles."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from src.config.dimensions import SPREAD
from src.config.space import Dimension, Leaf, Prior, Space
from src.system.errors import UserError
from src.system.read_back import read_json
from src.system.trial_config import TrialConfig

BOUNDS = ("low", "start")  # what a cyclic schedule calls its lower bound, a share of the rate, which is the upper one


def range_tested(space: Space, path: Path, sha256: str) -> Space:
    """Move the space to where `lr_range.json` suggests, in the branches of the optimizer that was tested.

    The range of `optimizer.lr` moves, as wide as before on its scale, until the suggestion is its centre, and a prior
    stands there. Under a cyclic schedule that is `max_lr`, and `base_lr` gives a prior of the lower bound. A rate of
    choices, steps or a grid's points stays where it is, one with a prior of its own is left alone.

    Args:
        space: of the sweep.
        path: the result of the range test.
        sha256: the digest of the prepared data.

    Raises:
        UserError: the range test has not run, or with other data or another optimizer.
    """
    if not path.exists():
        raise UserError(
            f"search.rate_prior: {path} is not there; run python -m src.lr_range with the same model and optimizer first"
        )
    result = read_json(path, "run python -m src.lr_range again")
    if result.get("sha256") != sha256:
        raise UserError(
            f"search.rate_prior: {path} is of other data; run python -m src.lr_range with the same data first"
        )
    optimizers = {leaf.trial.optimizer["name"] for _, leaf in space.leaves()}
    if result["optimizer"] not in optimizers:
        right = f"run python -m src.lr_range optimizer={min(optimizers)} first"
        raise UserError(f"search.rate_prior: {path} is of optimizer={result['optimizer']}; {right}")

    def around(leaf: Leaf) -> Leaf:
        if leaf.trial.optimizer["name"] != result["optimizer"]:
            return leaf
        return replace(
            leaf, dimensions={n: _tested_dimension(d, leaf.trial, result) for n, d in leaf.dimensions.items()}
        )

    return space.changed(around).distinct()


def _tested_dimension(dimension: Dimension, config: TrialConfig, result: Mapping[str, Any]) -> Dimension:
    """The dimension with the prior that the range test gives it, if it does."""
    bound = next((key for key in BOUNDS if key in config.schedule), None)
    if dimension.prior:
        return dimension
    if dimension.key == "optimizer.lr":
        return _centred(dimension, result["max_lr" if bound else "suggested_lr"])
    if bound and dimension.key == f"schedule.{bound}":
        return _with_prior(dimension, result["base_lr"] / result["max_lr"])
    return dimension


def _centred(dimension: Dimension, center: float) -> Dimension:
    d = dimension.distribution
    if isinstance(d, FloatDistribution) and d.step is None and not dimension.points and d.low + d.high > 0:
        factor = center / (math.sqrt(d.low * d.high) if d.log else (d.low + d.high) / 2)
        moved = FloatDistribution(d.low * factor, d.high * factor, log=d.log)
        dimension = replace(dimension, distribution=moved)
    return _with_prior(dimension, center)


def _with_prior(dimension: Dimension, center: float) -> Dimension:
    """The dimension with a prior at its value nearest to the center; without one if it has no positive number."""
    d = dimension.distribution
    if isinstance(d, FloatDistribution | IntDistribution):
        steps = round((center - d.low) / d.step) * d.step + d.low if d.step else center
        value = min(max(steps, d.low), d.high)
    else:
        positive = [choice for choice in _numbers(dimension.ends) if choice > 0]
        if not positive:
            return dimension
        value = min(positive, key=lambda choice: abs(math.log(choice / center)))
    return replace(dimension, prior=Prior(value, SPREAD))


def _numbers(values: Sequence[Any]) -> list[float]:
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
