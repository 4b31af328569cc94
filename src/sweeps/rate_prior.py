"""What the range test tells a sweep: where the rate, and the lower bound of its cycles, are searched."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from src.config.dimensions import SPREAD
from src.config.space import Dimension, Leaf, Prior, Space
from src.system.errors import UserError

BOUNDS = ("low", "start")  # what a cyclic schedule calls its lower bound, a share of the rate, which is the upper one


def range_tested(space: Space, path: Path, sha256: str) -> Space:
    """The space around what `lr_range.json` suggests, in the branches of the optimizer that was tested.

    The range of `optimizer.lr` moves, as wide as before on its scale, until the suggestion is its centre, and a prior
    stands there. Under a cyclic schedule that is `max_lr`, and `base_lr` gives a prior of the lower bound. A rate of
    choices, steps or a grid's points stays where it is, one with a prior of its own is left alone.

    Raises:
        UserError: the range test has not run, or with other data (`sha256` of meta.json) or another optimizer.
    """
    if not path.exists():
        raise UserError(
            f"search.rate_prior: {path} is not there; run python -m src.lr_range with the same model and optimizer first"
        )
    found = json.loads(path.read_text())
    if found.get("sha256") != sha256:
        raise UserError(
            f"search.rate_prior: {path} is of other data; run python -m src.lr_range with the same data first"
        )
    optimizers = {leaf.config["optimizer"]["name"] for _, leaf in space.leaves()}
    if found["optimizer"] not in optimizers:
        right = f"run python -m src.lr_range optimizer={min(optimizers)} first"
        raise UserError(f"search.rate_prior: {path} is of optimizer={found['optimizer']}; {right}")

    def around(leaf: Leaf) -> Leaf:
        if leaf.config["optimizer"]["name"] != found["optimizer"]:
            return leaf
        return replace(leaf, dimensions={n: _around(d, leaf.config, found) for n, d in leaf.dimensions.items()})

    return space.changed(around).distinct()


def _around(dimension: Dimension, config: Mapping[str, Any], found: Mapping[str, Any]) -> Dimension:
    """The dimension with what the range test says of it."""
    bound = next((key for key in BOUNDS if key in config["schedule"]), None)
    if dimension.prior:
        return dimension
    if dimension.key == "optimizer.lr":
        return _centred(dimension, found["max_lr" if bound else "suggested_lr"])
    if bound and dimension.key == f"schedule.{bound}":
        return _believed(dimension, found["base_lr"] / found["max_lr"])
    return dimension


def _centred(dimension: Dimension, center: float) -> Dimension:
    d = dimension.distribution
    if isinstance(d, FloatDistribution) and d.step is None and not dimension.points:
        factor = center / (math.sqrt(d.low * d.high) if d.log else (d.low + d.high) / 2)
        moved = FloatDistribution(d.low * factor, d.high * factor, log=d.log)
        dimension = replace(dimension, distribution=moved)
    return _believed(dimension, center)


def _believed(dimension: Dimension, center: float) -> Dimension:
    """The dimension with a prior at its value nearest to the center."""
    d = dimension.distribution
    if isinstance(d, FloatDistribution | IntDistribution):
        steps = round((center - d.low) / d.step) * d.step + d.low if d.step else center
        value = min(max(steps, d.low), d.high)
    else:
        value = min(dimension.ends, key=lambda choice: abs(math.log(choice / center)))
    return replace(dimension, prior=Prior(value, SPREAD))
