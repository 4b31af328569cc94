"""Every group of members with every combiner, judged by cross-validation inside the validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from src.ensembles.final_member import held_mean
from src.ensembles.mixture import Committees, Mixture
from src.ensembles.pool import Trained, candidates, says
from src.ensembles.row_folds import Fit, cross_validated


@dataclass(frozen=True)
class Joined:
    """Members of a pool and what joins them, fitted on all validation rows; `val`, by fits on the other parts of them."""

    places: list[int]
    mixture: Mixture
    val: NDArray[np.float64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of its members [M]."""
        return np.asarray(self.mixture.shares.numpy())

    @property
    def used(self) -> list[int]:
        """The places in the pool of those that have a share: the others need not be asked."""
        return [self.places[k] for k in np.flatnonzero(self.shares)]

    def pruned(self) -> Mixture:
        """What joins those."""
        return self.mixture.of(np.flatnonzero(self.shares))


def compare_combiners(
    pool: Sequence[Trained], fits: Iterable[tuple[str, Fit, bool]], y_N: NDArray[Any], y_train: NDArray[Any]
) -> dict[str, Joined]:
    """By `<model>:<members>+<combiner>`. A combiner is fitted on the validation rows, or, where it shall and can be, on
    what the members predict for training rows that they have not seen: the validation rows then judge it as they are."""
    found, fits = {}, list(fits)
    with threadpool_limits(limits=1):  # more threads make small fits ten times slower, and sum in another order
        for group, places in candidates(pool).items():
            members = [pool[k] for k in places]
            p_MNC, weight_M = np.stack([member.val for member in members]), says(members)
            for name, fit, held in fits:
                if held and (blind := _committees(members)):
                    mixture: Mixture = _of_committees(fit, *blind, y_train)
                    val = mixture.predict(p_MNC)
                else:
                    mixture, val = fit(p_MNC, y_N, weight_M), cross_validated(fit, p_MNC, y_N, weight_M)
                found[f"{group}+{name}"] = Joined(places, mixture, val)
    return found


def _committees(members: Sequence[Trained]) -> tuple[NDArray[np.float64], NDArray[np.float32]] | None:
    """The share of each member in its committee, all of one model and way, [G, M], and what a committee predicts for
    each training row by those of it that have not seen it, [G, N, C] or [G, N]; None where a member has seen all rows."""
    if any(member.held is None for member in members):
        return None
    kinds = list(dict.fromkeys((member.model, member.how) for member in members))
    in_GM = np.array([[(member.model, member.how) == kind for member in members] for kind in kinds])
    held_GN = [
        held_mean([m.held for m, own in zip(members, row, strict=True) if own and m.held is not None]) for row in in_GM
    ]
    return in_GM / in_GM.sum(1, keepdims=True), np.stack(held_GN)


def _of_committees(
    fit: Fit, share_GM: NDArray[np.float64], held_GN: NDArray[np.float32], y_N: NDArray[Any]
) -> Committees:
    """Fitted on the training rows that each committee has a member for that has not seen them."""
    there_N = np.isfinite(held_GN.reshape(*held_GN.shape[:2], -1)).all((0, 2))
    weight_G = np.full(len(held_GN), 1 / len(held_GN))
    return Committees(fit(held_GN[:, there_N], y_N[there_N], weight_G), share_GM)
