"""Acceptance of the ensemble as it will be served: loaded back from its bundle, it must be what was judged, or better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles.comparison import Comparison, MemberPredictions
from src.ensembles.member_checks import complaint
from src.serving.bundle import write_bundle
from src.serving.pyfunc import Ensemble
from src.system.errors import UserError

APART = 2.0  # how far served and judged predictions may be apart: so many times the judged ensemble's error or spread
ROUNDING = 1e-4  # the same as a share of the largest prediction


@dataclass(frozen=True)
class Inputs:
    """Rows on which served and judged are compared: validation rows [N, ...] with their targets, and test rows without."""

    x_val: NDArray[np.float32]
    y_val: NDArray[Any]
    x_test: NDArray[np.float32]


@dataclass(frozen=True)
class Accepted:
    """The comparison by which an ensemble is served, notes on what was refused, and why it may not be champion, if so."""

    comparison: Comparison
    notes: Sequence[str] = ()
    refusal: str = ""


def write_accepted(
    bundle: Path, prepared: Path, comparison: Comparison, test: MemberPredictions, inputs: Inputs
) -> Accepted:
    """Write the chosen ensemble as it is served, with refits only where these are no worse than what was judged.

    Args:
        bundle: the folder to write.
        prepared: the folder of the prepared data.
        comparison: of all candidates.
        test: what the members predict for the test rows.
        inputs: the rows.

    Raises:
        UserError: it predicts numbers that are not finite.
    """
    refusal = _write(bundle, prepared, comparison, test, inputs)
    if not refusal:
        return Accepted(comparison, refusal=comparison.refusal)
    if comparison.ensemble.refit_mixture is None:
        note = f"{comparison.chosen} is not crowned: {refusal}"
        return Accepted(comparison, [note], "what would be served is not what was judged")
    judged = write_accepted(bundle, prepared, comparison.without_refits(), test, inputs)
    note = f"{comparison.chosen} is served by the members that were judged, not by their refits: {refusal}"
    return Accepted(judged.comparison, [note, *judged.notes], judged.refusal)


def _write(bundle: Path, prepared: Path, comparison: Comparison, test: MemberPredictions, inputs: Inputs) -> str:
    """Write the bundle, load it back, and say why it is not what was judged; an empty text if it is."""
    members, mixture = comparison.ensemble.served(comparison.pool)
    pairs = [(one.member.config, one.checkpoint.model_weights) for one in members]
    write_bundle(bundle, members[0].meta, pairs, prepared, mixture)
    served = Ensemble(bundle)
    served_val, served_test = (served.outputs(np.array(x)) for x in (inputs.x_val, inputs.x_test))
    if not np.isfinite(served_val).all() or not np.isfinite(served_test).all():
        raise UserError(
            f"ensemble: {comparison.chosen} predicts numbers that are not finite, so nothing is registered; "
            "train its members again with a lower optimizer.lr"
        )
    judged = comparison.ensemble
    judged_val = judged.predict(np.stack([member.val_predictions for member in comparison.pool]))
    if fault := complaint(served_val, judged_val, inputs.y_val, replaces=True):
        return f"loaded back and asked for the validation rows, {fault}"
    limit = APART * max(
        _distance(judged_val, _truth(judged_val, inputs.y_val)),
        _spread(test.judged_MNC[judged.positions], judged.shares),
        ROUNDING * float(abs(judged_val).max()),
    )
    if (apart := _distance(served_test, judged.predict(test.judged_MNC))) > limit:
        return f"for the test rows it predicts {apart:.3g} apart from what was judged, where up to {limit:.3g} is explained"
    return ""


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Root mean squared distance over rows of predictions [N, C] or [N]."""
    return float(np.sqrt(((np.asarray(one, np.float64) - other) ** 2).sum() / len(one)))


def _truth(predictions: NDArray[Any], y_N: NDArray[Any]) -> NDArray[Any]:
    """The targets in the form of predictions: probabilities of 1 and 0, or values."""
    return np.eye(predictions.shape[1])[y_N] if predictions.ndim == 2 else np.asarray(y_N)


def _spread(members_MNC: NDArray[Any], share_M: NDArray[np.float64]) -> float:
    """Root mean squared distance of the members from their mean, by their shares."""
    mean = np.tensordot(share_M, members_MNC, 1)
    return float(
        np.sqrt(sum(share * _distance(one, mean) ** 2 for share, one in zip(share_M, members_MNC, strict=True)))
    )
