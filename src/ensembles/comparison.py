"""Comparison of all candidates: their scores on the validation rows, the best of them, and its scores on the test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.ensembles import report_data
from src.ensembles.evaluation import intervals
from src.ensembles.final_member import FinalMember
from src.ensembles.selection import Candidate
from src.metrics.listing import default_selection
from src.metrics.metric import Metric
from src.metrics.scoring import score

ALONE = np.ones(1)  # the share of a single member


@dataclass(frozen=True)
class Comparison:
    """Candidates by name with their scores on the validation rows, and the name of the best, which is `chosen`.

    `singles` are the scores of every member of the `pool`, `single` the position of the best; the metric `chosen_by` says
    which is better.
    """

    task: str
    pool: Sequence[FinalMember]
    candidates: Mapping[str, Candidate]
    val: Mapping[str, dict[str, float]]
    chosen: str
    singles: Sequence[dict[str, float]]
    single: int
    chosen_by: str

    @property
    def ensemble(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.chosen]


def compare(
    metric: Metric, pool: Sequence[FinalMember], candidates: Mapping[str, Candidate], y_val: NDArray[Any]
) -> Comparison:
    """Score candidates and single members on the validation rows and choose the best.

    Args:
        metric: the one that chooses.
        pool: all members.
        candidates: by name.
        y_val: targets of the validation rows [N].
    """
    task, val_MNC = metric.task, np.stack([member.val_predictions for member in pool])
    val = {name: score(task, c.val, y_val, val_MNC[c.positions], c.shares) for name, c in candidates.items()}
    singles = [score(task, p_NC, y_val, p_NC[None], ALONE) for p_NC in val_MNC]
    chosen = min(val, key=lambda name: metric.loss(val[name][metric.name]))
    single = min(range(len(pool)), key=lambda k: metric.loss(singles[k][metric.name]))
    return Comparison(task, pool, candidates, val, chosen, singles, single, metric.name)


@dataclass(frozen=True)
class FinalScores:
    """Scores of a comparison on the test rows as metrics.json has them, what the report draws, and predictions [N, C]."""

    metrics: dict[str, Any]
    drawn: dict[str, Any]
    ensemble: NDArray[np.float64]
    single: NDArray[np.float32]


def final_scores(comparison: Comparison, x_test: NDArray[np.float32], y_test: NDArray[Any]) -> FinalScores:
    """Score every candidate as it is served on the test rows `x_test` [N, ...], `y_test` [N]; the chosen as judged too."""
    task, pool, candidates = comparison.task, comparison.pool, comparison.candidates
    x = torch.from_numpy(np.array(x_test))
    judged_MNC = np.stack([member.predict(x) for member in pool])
    refit_MNC = np.stack([m.refit.predict(x) if m.refit else p_NC for m, p_NC in zip(pool, judged_MNC, strict=True)])
    served = {name: each.predict_served(judged_MNC, refit_MNC) for name, each in candidates.items()}
    test = {
        name: score(task, served[name], y_test, _members(each, judged_MNC, refit_MNC), each.shares)
        for name, each in candidates.items()
    }
    chosen, ours, single = comparison.ensemble, served[comparison.chosen], refit_MNC[comparison.single]
    members_MNC = _members(chosen, judged_MNC, refit_MNC)
    as_judged = score(task, chosen.predict(judged_MNC), y_test, judged_MNC[chosen.positions], chosen.shares)
    ensembles = {name: {"val": comparison.val[name], "test": test[name]} for name in candidates}
    metrics = {
        "chosen": comparison.chosen,
        **({} if comparison.chosen_by == default_selection(task) else {"chosen_by": comparison.chosen_by}),
        "refit": chosen.refit_mixture is not None,
        **ensembles[comparison.chosen],
        "test_as_judged": as_judged,
        "interval": intervals(task, ours, y_test),
        "gain": intervals(task, ours, y_test, single),
        "best_single": {
            "name": pool[comparison.single].title,
            "val": comparison.singles[comparison.single],
            "test": score(task, single, y_test, single[None], ALONE),
            "interval": intervals(task, single, y_test),
        },
        "ensembles": ensembles,
    }
    drawn = report_data.on_test(task, pool, chosen, members_MNC, ours, single, x_test, y_test)
    return FinalScores(metrics, drawn, ours, single)


def _members(candidate: Candidate, judged_MNC: NDArray[Any], refit_MNC: NDArray[Any]) -> NDArray[Any]:
    """What the members of a candidate predict as they are served."""
    return (judged_MNC if candidate.refit_mixture is None else refit_MNC)[candidate.positions]
