"""Candidates: every group of members with every combiner, judged by cross-validation inside the validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from src.ensembles.combiners.average import average
from src.ensembles.enough_rows import ROWS, is_selection, rows_needed, takes_member_weights
from src.ensembles.final_member import FinalMember, member_weights, out_of_fold_mean
from src.ensembles.mixture import Committees, Mixture
from src.ensembles.pool import groups
from src.ensembles.row_folds import Fit, cross_validated

if TYPE_CHECKING:
    from src.config.loading import Config


AVERAGE = "average"  # takes the place of combiners that have too few rows
WITH_TEMPERATURE = 0.5  # is added to the complexity of a combiner: between it and the next
UNSTATED = 4.0  # the complexity of a combiner whose YAML does not say: after all others


class Combiner(NamedTuple):
    """A way to join members: its name, how it is fitted, and whether to out-of-fold predictions where there are any.

    Of candidates that are as good as the best, the one of the least `complexity` is chosen.
    """

    name: str
    fit: Fit
    on_out_of_fold: bool = False
    complexity: float = 0.0


def combiners(config: Config) -> Iterator[Combiner]:
    """List the combiners that the command line or params.yaml asks for, each with a temperature where that is asked for."""
    from src.ensembles.temperature import calibrated

    for section in config.several["combiner"]:
        fit, suffix, complexity = partial(config.make, "combiner", section), "", section.get("complexity")
        complexity = UNSTATED if complexity is None else complexity
        if section["temperature"]:
            fit, suffix, complexity = partial(calibrated, fit), "+temperature", complexity + WITH_TEMPERATURE
        yield Combiner(f"{section['name']}{suffix}", fit, section.get("fit_on") == "out_of_fold", complexity)


@dataclass(frozen=True)
class Candidate:
    """An ensemble that was tried: members at `positions` of the pool, and the `mixture` that joins what they predict.

    `val` are its predictions for the validation rows, [N, C] or [N], by fits that had not seen the row. `refit_mixture`
    joins the same members where each is replaced by its refit; None: the members that were judged are served.
    `complexity` is that of the combiner.
    """

    positions: list[int]
    mixture: Mixture
    val: NDArray[np.float64]
    refit_mixture: Mixture | None = None
    complexity: float = 0.0

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


class TooFewRowsError(Exception):
    """A combiner was fitted on `rows`, where it needs at least `needed`."""

    def __init__(self, rows: int, needed: int) -> None:
        super().__init__(rows, needed)
        self.rows, self.needed = rows, needed


def compare_combiners(
    pool: Sequence[FinalMember], fits: Iterable[Combiner], y_val: NDArray[Any], y_train: NDArray[Any]
) -> tuple[dict[str, Candidate], list[str]]:
    """Fit every combiner to every group of members, by `<model>:<method>+<combiner>`.

    A combiner is fitted on the validation rows, or, where it shall and can be, on out-of-fold predictions of the training
    rows: the validation rows then judge it as it is. It is left out where these are too few for what it fits; the average
    of the members takes its place where no other is left.

    Args:
        pool: the members.
        fits: the combiners.
        y_val: targets of the validation rows [N].
        y_train: targets of the training rows [N].

    Returns:
        The candidates, and a line on each combiner that was left out.
    """
    candidates, fits, left_out = {}, list(fits), dict[str, dict[str, TooFewRowsError]]()
    grouped = groups(pool)
    with threadpool_limits(limits=1):  # more threads make small fits ten times slower, and sum in another order
        for group, positions in grouped.items():
            members = [pool[k] for k in positions]
            for combiner in fits:
                try:
                    candidates[f"{group}+{combiner.name}"] = _candidate(positions, members, combiner, y_val, y_train)
                except TooFewRowsError as few:
                    left_out.setdefault(combiner.name, {})[group] = few
        if not candidates:
            for group, positions in grouped.items():
                plain = Combiner(AVERAGE, average)
                members = [pool[k] for k in positions]
                candidates[f"{group}+{AVERAGE}"] = _candidate(positions, members, plain, y_val, y_train)
    return candidates, [_too_few(name, few, len(grouped)) for name, few in left_out.items()]


def _too_few(name: str, few: Mapping[str, TooFewRowsError], n_groups: int) -> str:
    """Say that a combiner was left out, for all groups of members or for some."""
    least = min(few.values(), key=lambda each: each.needed)
    whom = "" if len(few) == n_groups else f" for {', '.join(few)}"
    return (
        f"{name} is left out{whom}: what it fits needs {least.needed} rows ({ROWS} for each number and class), "
        f"and there are {least.rows}"
    )


def _candidate(
    positions: list[int],
    members: Sequence[FinalMember],
    combiner: Combiner,
    y_val: NDArray[Any],
    y_train: NDArray[Any],
) -> Candidate:
    out_of_fold = combiner.on_out_of_fold and all(m.out_of_fold_predictions is not None for m in members)
    candidate = _on_out_of_fold if out_of_fold else _on_validation
    return replace(candidate(positions, members, combiner.fit, y_val, y_train), complexity=combiner.complexity)


def _refuse_few_rows(mixture: Mixture, weight_M: NDArray[np.float64], p_MNC: NDArray[Any]) -> None:
    """Refuse a mixture that was fitted to the predictions `p_MNC` for too few rows."""
    rows, classes = p_MNC.shape[1], p_MNC.shape[2] if p_MNC.ndim == 3 else 0
    if (needed := rows_needed(mixture, weight_M, rows, classes)) > rows:
        raise TooFewRowsError(rows, needed)


def _on_validation(
    positions: list[int], members: Sequence[FinalMember], fit: Fit, y_val: NDArray[Any], _: NDArray[Any]
) -> Candidate:
    """The candidate whose combiner is fitted on the validation rows.

    It belongs to the members that were judged, since their refits have learned from these rows. Only where all that it
    has are the members' own weights, it is made of the refits' own ones anew; and where it only says which members are
    averaged, or which one is taken, it is about their refits too, as the best single model is.
    """
    p_MNC, weight_M = np.stack([member.val_predictions for member in members]), member_weights(members)
    mixture, refit_mixture = fit(p_MNC, y_val, weight_M), None
    _refuse_few_rows(mixture, weight_M, p_MNC)
    if any(member.refit for member in members):
        if takes_member_weights(mixture, weight_M):
            refit_mixture = type(mixture)(member_weights([member.refit or member for member in members]))
        elif is_selection(mixture, weight_M):
            refit_mixture = mixture
    return Candidate(positions, mixture, cross_validated(fit, p_MNC, y_val, weight_M), refit_mixture)


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
    mixture = fit(p_GN[:, there_N], y_N[there_N], weight_G)
    _refuse_few_rows(mixture, weight_G, p_GN[:, there_N])
    return Committees(mixture, in_GM / in_GM.sum(1, keepdims=True))
