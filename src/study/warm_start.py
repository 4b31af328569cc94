"""A warm start: the best points and the results that another study brings into a sweep."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from src.config.space import Space, contains
from src.study.history import Direction, Trial
from src.study.records import folder_below
from src.study.storage import Shelf, storage_errors_as_user_errors
from src.study.study import Study
from src.system.errors import UserError
from src.system.locks import is_held

FIRST = 5  # points that are tried again


@dataclass(frozen=True)
class WarmStart:
    """Points to try first, and trials that inform the search, numbered -1, -2, ..."""

    first: Sequence[Mapping[str, Any]]
    trials: Sequence[Trial]


@storage_errors_as_user_errors()
def warm_start(root: Path, url: str | None, name: str, space: Space, metric: str, direction: Direction) -> WarmStart:
    """Read the points and results that another study brings, and write nothing of it.

    Its best points are those that came to their end, then those that came farthest, the best of these first.

    Args:
        root: the folder of studies.
        url: the database of studies; None for journals below `root`.
        name: of the study.
        space: of the sweep that begins; points and parts of points that are not of it are left out.
        metric: the objective of the sweep.
        direction: of the objective.

    Raises:
        UserError: there is no such study, it is running, or it searched another objective.
    """
    shelf = Shelf(root, url)
    shelf.require("warm_start", name)
    stem = re.sub(r"[0-9a-f]{8}(-\d+)?$", "", name)
    if is_held(folder_below(root / "locks", stem)):
        raise UserError(f"warm_start: the sweep of {name} is running; wait for its end or stop it")
    study = Study.read(shelf, name)
    if "metric" not in study.attributes:
        raise UserError(f"warm_start: {name} is no study of Lockstep's; name one that a sweep has made")
    if study.attributes["metric"] != metric:
        raise UserError(f"warm_start: {name} searched {study.attributes['metric']}, this sweep searches {metric}")
    sign = 1 if direction == "minimize" else -1
    tried = [t for t in study.history.of("complete", "pruned") if t.values]
    best = sorted(tried, key=lambda t: (-inf if t.state == "complete" else -t.epochs, sign * t.values[-1], t.number))
    first = [point for trial in best if (point := _fitting(trial.params, space))]
    same = [t for t in study.history.of("complete", "pruned", "fail") if space.contains(t.params)]
    return WarmStart(_distinct(first)[:FIRST], [replace(t, number=-1 - k) for k, t in enumerate(same)])


def _fitting(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The part of a point that the space can take; the search adds the rest."""
    fits: dict[str, Any] = {}
    for chosen, leaf in space.leaves():
        if all(params.get(name, option) == option for name, option in chosen.items()):
            fits |= {name: params[name] for name in chosen if name in params}
            common = {n: d.distribution for n, d in leaf.dimensions.items() if n in params}
            fits |= {n: params[n] for n, d in common.items() if contains(d, params[n])}
    return fits


def _distinct(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [point for k, point in enumerate(points) if point not in points[:k]]
