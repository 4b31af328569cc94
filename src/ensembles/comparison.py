"""Comparison of all candidates: their scores on the validation rows, the best of them, and its scores on the test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.ensembles import choice, report_data
from src.ensembles.enough_rows import rows_needed
from src.ensembles.evaluation import intervals
from src.ensembles.final_member import FinalMember, member_weights
from src.ensembles.mixture import Weighted
from src.ensembles.row_folds import cross_validated
from src.ensembles.selection import Candidate
from src.metrics.listing import default_selection, formatted
from src.metrics.metric import Metric
from src.metrics.scoring import Predictions, predictions_of, score

ALONE = np.ones(1)  # the share of a single member


@dataclass(frozen=True)
class Comparison:
    """Candidates by name with their scores on the validation rows, and the name of the best, which is `chosen`.

    `singles` are the scores of every member of the `pool`, `single` the position of the best; the metric `chosen_by` says
    which is better. `notes` say what a person should know of the choice; `refusal` why what is chosen may not be champion.
    """

    task: str
    pool: Sequence[FinalMember]
    candidates: Mapping[str, Candidate]
    val: Mapping[str, dict[str, float]]
    chosen: str
    singles: Sequence[dict[str, float]]
    single: int
    chosen_by: str
    notes: Sequence[str] = ()
    refusal: str = ""

    @property
    def ensemble(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.chosen]

    def without_refits(self) -> Comparison:
        """Return the same comparison where the chosen candidate is served by the members that were judged."""
        served_as_judged = replace(self.ensemble, refit_mixture=None)
        return replace(self, candidates={**self.candidates, self.chosen: served_as_judged})


def compare(
    metric: Metric, pool: Sequence[FinalMember], candidates: Mapping[str, Candidate], y_val: NDArray[Any]
) -> Comparison:
    """Score candidates and single members on the validation rows and choose: the simplest that is as good as the best.

    What is chosen is compared with the best single member too, which was chosen by these rows itself: the difference counts
    where the member is chosen on other rows than it is judged by, and there are rows enough for a choice, as of combiners.

    Args:
        metric: the one that chooses.
        pool: all members.
        candidates: by name.
        y_val: targets of the validation rows [N].
    """
    task, val_MNC = metric.task, np.stack([member.val_predictions for member in pool])

    def losses_of(p: NDArray[Any], members: NDArray[Any], shares: NDArray[Any]) -> NDArray[np.float64]:
        def on(rows: NDArray[np.int64]) -> Predictions:
            return predictions_of(task, p[rows], y_val[rows], members[:, rows], shares)

        return choice.losses(metric, on, y_val)

    val = {name: score(task, c.val, y_val, val_MNC[c.positions], c.shares) for name, c in candidates.items()}
    singles = [score(task, p_NC, y_val, p_NC[None], ALONE) for p_NC in val_MNC]
    values = {name: metric.loss(val[name][metric.name]) for name in val}
    losses = {name: losses_of(c.val, val_MNC[c.positions], c.shares) for name, c in candidates.items()}
    chosen, best = choice.simplest(values, losses, {name: c.complexity for name, c in candidates.items()})
    single = min(range(len(pool)), key=lambda k: metric.loss(singles[k][metric.name]))
    notes, refusal = [], ""
    if chosen != best:
        figures = _figures(metric, val[chosen], val[best])
        notes.append(f"{chosen} is chosen: simpler than {best}, and within one standard error of it ({figures})")
    if candidates[chosen].used != [single] and values[chosen] >= metric.loss(singles[single][metric.name]):
        blind = cross_validated(choice.best_member(metric), val_MNC, y_val, member_weights(pool))
        gap = choice.gap(losses[chosen], losses_of(blind, blind[None], ALONE))
        figures = _figures(metric, val[chosen], singles[single])
        note = f"{chosen} is not better on the validation rows than the best single model, {pool[single].title} ({figures})"
        alone, classes = np.eye(len(pool))[single], val_MNC.shape[2] if task == "classification" else 0
        if rows_needed(Weighted(alone), member_weights(pool), len(y_val), classes) > len(y_val):
            note = f"{note}, which {len(y_val)} rows are too few to tell"
        elif not gap.is_within_one_error:
            refusal = f"it is worse than its best single model, {pool[single].title}, by more than one standard error"
            note = f"{note}; it is worse by more than one standard error, and so not crowned"
        notes.append(note)
    return Comparison(task, pool, candidates, val, chosen, singles, single, metric.name, notes, refusal)


def _figures(metric: Metric, ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    return f"{metric.name} {formatted(ours[metric.name], metric.name)} against {formatted(theirs[metric.name], metric.name)}"


@dataclass(frozen=True)
class FinalScores:
    """Scores of a comparison on the test rows as metrics.json has them, what the report draws, and predictions [N, C]."""

    metrics: dict[str, Any]
    report_data: dict[str, Any]
    ensemble: NDArray[np.float64]
    single: NDArray[np.float32]


@dataclass(frozen=True)
class MemberPredictions:
    """Predictions of all members of the pool for the same rows, [M, N, C] or [M, N]: as they were judged, and refitted.

    A member without a refit stands in both.
    """

    judged_MNC: NDArray[np.float32]
    refit_MNC: NDArray[np.float32]


def predict_members(pool: Sequence[FinalMember], x: NDArray[np.float32]) -> MemberPredictions:
    """Predict prepared rows `x` [N, ...] by all members of the pool and their refits."""
    rows = torch.from_numpy(np.asarray(x))
    judged_MNC = np.stack([member.predict(rows) for member in pool])
    refits = [m.refit.predict(rows) if m.refit else p_NC for m, p_NC in zip(pool, judged_MNC, strict=True)]
    return MemberPredictions(judged_MNC, np.stack(refits))


def final_scores(
    comparison: Comparison, members: MemberPredictions, x_test: NDArray[np.float32], y_test: NDArray[Any]
) -> FinalScores:
    """Score every candidate as it is served on the test rows, and the chosen one as it was judged too.

    Args:
        comparison: of all candidates.
        members: what the members predict for the test rows.
        x_test: these rows [N, ...].
        y_test: their targets [N].
    """
    task, pool, candidates = comparison.task, comparison.pool, comparison.candidates
    judged_MNC, refit_MNC = members.judged_MNC, members.refit_MNC
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
        "judged": {"val": comparison.val[comparison.chosen], "test": as_judged},
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
    on_test = report_data.on_test(task, pool, chosen, members_MNC, ours, single, x_test, y_test)
    return FinalScores(metrics, on_test, ours, single)


def _members(candidate: Candidate, judged_MNC: NDArray[Any], refit_MNC: NDArray[Any]) -> NDArray[Any]:
    """Predictions of the members of a candidate as they are served."""
    return (judged_MNC if candidate.refit_mixture is None else refit_MNC)[candidate.positions]
