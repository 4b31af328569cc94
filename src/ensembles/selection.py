"""Candidates: every group of members with every combiner, judged by cross-validation inside the validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from src.ensembles.final_member import FinalMember, member_weights, out_of_fold_mean
from src.ensembles.mixture import Committees, Mixture, Vote, Weighted
from src.ensembles.pool import groups
from src.ensembles.row_folds import Fit, cross_validated

if TYPE_CHECKING:
    from src.config.loading import Config


class Combiner(NamedTuple):
    """A way to join members: its name, how it is fitted, and whether to out-of-fold predictions where there are any."""

    name: str
    fit: Fit
    on_out_of_fold: bool = False


def combiners(config: Config) -> Iterator[Combiner]:
    """List the combiners that the command line or params.yaml asks for, each with a temperature where that is asked for."""
    from src.ensembles.temperature import calibrated

    for section in config.several["combiner"]:
        fit, suffix = partial(config.make, "combiner", section), ""
        if section["temperature"]:
            fit, suffix = partial(calibrated, fit), "+temperature"
        yield Combiner(f"{section['name']}{suffix}", fit, section.get("fit_on") == "out_of_fold")


@dataclass(frozen=True)
class Candidate:
    """An ensemble that was tried: members at `positions` of the pool, and the `mixture` that joins what they predict.

    `val` are its predictions for the validation rows, [N, C] or [N], by fits that had not seen the row. `refit_mixture`
    joins the same members where each is replaced by its refit; None: the members that were judged are served.
    """

    positions: list[int]
    mixture: Mixture
    val: NDArray[np.float64]
    refit_mixture: Mixture | None = None

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each member [M], none negative, sum 1."""
        return np.asarray(self.mixture.shares.numpy())

    @property
    def used(self) -> list[int]:
        """Positions in the pool of the members that have a share: the others need not be asked."""
        return [self.positions[k] for k in np.flatnonzero(self.shares)]

    def predict(self, judged_MNC: NDArray[Any]) -> NDArray[np.float64]:
        """Join what all members of the pool predict, [M, N, C] or [M, N], as they were judged."""
        return self.mixture.predict(judged_MNC[self.positions])

    def predict_served(self, judged_MNC: NDArray[Any], refit_MNC: NDArray[Any]) -> NDArray[np.float64]:
        """Join what all members of the pool predict as the ensemble is served: `refit_MNC` is of the refits."""
        if self.refit_mixture is None:
            return self.predict(judged_MNC)
        return self.refit_mixture.predict(refit_MNC[self.positions])

    def served(self, pool: Sequence[FinalMember]) -> tuple[list[FinalMember], Mixture]:
        """Return the members that are served, and what joins them: refits where `refit_mixture` says so."""
        members, mixture = [pool[k] for k in self.positions], self.mixture
        if self.refit_mixture is not None:
            members, mixture = [member.refit or member for member in members], self.refit_mixture
        used = np.flatnonzero(mixture.shares.numpy())
        return [members[k] for k in used], mixture.subset(used)


def compare_combiners(
    pool: Sequence[FinalMember], fits: Iterable[Combiner], y_val: NDArray[Any], y_train: NDArray[Any]
) -> dict[str, Candidate]:
    """Fit every combiner to every group of members, by `<model>:<method>+<combiner>`.

    A combiner is fitted on the validation rows, or, where it shall and can be, on out-of-fold predictions of the training
    rows: the validation rows then judge it as it is.

    Args:
        pool: the members.
        fits: the combiners.
        y_val: targets of the validation rows [N].
        y_train: targets of the training rows [N].
    """
    candidates, fits = {}, list(fits)
    with threadpool_limits(limits=1):  # more threads make small fits ten times slower, and sum in another order
        for group, positions in groups(pool).items():
            members = [pool[k] for k in positions]
            for name, fit, on_out_of_fold in fits:
                out_of_fold = on_out_of_fold and all(m.out_of_fold_predictions is not None for m in members)
                candidate = _on_out_of_fold if out_of_fold else _on_validation
                candidates[f"{group}+{name}"] = candidate(positions, members, fit, y_val, y_train)
    return candidates


def _on_validation(
    positions: list[int], members: Sequence[FinalMember], fit: Fit, y_val: NDArray[Any], _: NDArray[Any]
) -> Candidate:
    """The candidate whose combiner is fitted on the validation rows.

    It belongs to the members that were judged, since their refits have learned from these rows. Only where all that it
    has are the members' own weights, it is made of the refits' own ones anew.
    """
    p_MNC, weight_M = np.stack([member.val_predictions for member in members]), member_weights(members)
    mixture, refit_mixture = fit(p_MNC, y_val, weight_M), None
    if any(member.refit for member in members) and _takes_member_weights(mixture, weight_M):
        refit_mixture = type(mixture)(member_weights([member.refit or member for member in members]))
    return Candidate(positions, mixture, cross_validated(fit, p_MNC, y_val, weight_M), refit_mixture)


def _takes_member_weights(mixture: Mixture, weight_M: NDArray[np.float64]) -> bool:
    """Tell whether a mixture consists of the members' own weights, so that nothing in it was fitted."""
    if type(mixture) not in (Weighted, Vote):
        return False
    buffers = mixture.state_dict()
    return np.array_equal(buffers["weights"].numpy(), weight_M) and not buffers.get("bias", np.zeros(())).any()


def _on_out_of_fold(
    positions: list[int], members: Sequence[FinalMember], fit: Fit, y_val: NDArray[Any], y_train: NDArray[Any]
) -> Candidate:
    """The candidate whose combiner is fitted on out-of-fold predictions, and fitted anew on those of the refits."""
    mixture, refit_mixture = _of_committees(fit, members, y_train), None
    refits = [member.refit for member in members if member.refit is not None]
    if len(refits) == len(members):
        refit_mixture = _of_committees(fit, refits, np.concatenate([y_train, y_val]))
    return Candidate(positions, mixture, mixture.predict(np.stack([m.val_predictions for m in members])), refit_mixture)


def _of_committees(fit: Fit, members: Sequence[FinalMember], y_N: NDArray[Any]) -> Committees:
    """Fit a combiner of committees, each all members of one model and method, on what they predict for training rows.

    The rows are those for which every committee has a member that was not trained on them; its mean prediction counts.
    """
    kinds = list(dict.fromkeys((member.model, member.method) for member in members))
    in_GM = np.array([[(member.model, member.method) == kind for member in members] for kind in kinds])
    p_GN = np.stack(
        [
            out_of_fold_mean(
                [
                    m.out_of_fold_predictions
                    for m, inside in zip(members, row, strict=True)
                    if inside and m.out_of_fold_predictions is not None
                ]
            )
            for row in in_GM
        ]
    )
    there_N = np.isfinite(p_GN.reshape(*p_GN.shape[:2], -1)).all((0, 2))
    weight_G = np.full(len(p_GN), 1 / len(p_GN))
    return Committees(fit(p_GN[:, there_N], y_N[there_N], weight_G), in_GM / in_GM.sum(1, keepdims=True))
