"""Changes to a batch before its members see it: augmentation of images, noise, mixup; each by the member's strength.

Random numbers are hashes of (a key of the member and step; the place in the batch), so that company does not show.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from src.population.augmentation import Augment
from src.population.hashing import random_bits
from src.population.hyperparameters import column
from src.population.member import Member
from src.system.data_meta import DataMeta

PURPOSES = 2  # random keys of a step: one for augmentation, one for noise


class Inputs:
    """The changes of the inputs of a step, and the shares of targets that go with them."""

    def __init__(self, members: Sequence[Member], meta: DataMeta, device: torch.device) -> None:
        """Read the strengths of `members` on `device`; `meta` describes the data, whose categories are not changed."""
        self.members, self.device = members, device
        self.numbers = meta.input_shape[0] - len(meta.categories) if len(meta.input_shape) == 1 else None
        self.augment = Augment.of(members, device)
        self.noise_K1 = column(members, lambda training: training.noise, device)
        self.mixed = column(members, lambda training: training.mixup, device) is not None

    @property
    def active(self) -> bool:
        """True where any member changes its inputs."""
        return self.mixed or self.augment is not None or self.noise_K1 is not None

    def columns(self, epochs: Sequence[int], count: int) -> dict[str, Tensor]:
        """Return columns for `count` steps of the members' next epochs, after `epochs`.

        `input_keys` [S, K, 2] are random; `share` [S, K, 1], with mixup, is that of a row in its mixture; `turns` [S, K, 2],
        with alternating flips, is that of `Augment.turns`.
        """
        if not self.active:
            return {}
        keys, shares = [], []
        for member, epoch in zip(self.members, epochs, strict=True):
            bits = np.random.SeedSequence([member.seed, 3, epoch]).generate_state(count * PURPOSES)
            keys.append(bits.view(np.int32).reshape(count, PURPOSES))
            alpha = float(member.config.training.mixup)
            beta = np.random.default_rng([member.seed, 4, epoch]).beta
            shares.append(beta(alpha, alpha, (count, 1)) if alpha else np.ones((count, 1)))
        columns = {"input_keys": torch.from_numpy(np.stack(keys, 1))}
        if self.mixed:
            columns["share"] = torch.from_numpy(np.stack(shares, 1)).float()
        if self.augment is not None and self.augment.alternating is not None:
            columns["turns"] = self.augment.turns(epochs, self.device).expand(count, -1, -1)
        return {name: values.to(self.device) for name, values in columns.items()}

    def __call__(self, x_KB: Tensor, index_KB: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Return rows as the members see them.

        Args:
            x_KB: the rows [K, B, ...].
            index_KB: their places among the training rows.
            columns: those of the step.
        """
        if self.augment is not None:
            x_KB = self.augment(x_KB, columns["input_keys"][:, 0], index_KB, columns.get("turns"))
        if self.noise_K1 is not None:
            x_KB = self._noisy(x_KB, self.noise_K1, columns["input_keys"][:, 1])
        return self._blended(x_KB, columns["share"]) if self.mixed else x_KB

    def targets(self, y_KB: Tensor, weight_KB: Tensor | None, columns: Mapping[str, Tensor]) -> list[Tensor]:
        """Return targets and weights, each [K, B], one after the other: of the rows, and of those that are mixed into them.

        Args:
            y_KB: the targets of the rows.
            weight_KB: the weights of the rows; None where all count alike.
            columns: those of the step.

        The loss is linear in a target's share, up to a constant in regression, so a mixed target is two (Zhang et al. 2018).
        """
        if not self.mixed:
            return [y_KB] if weight_KB is None else [y_KB, weight_KB]
        share_KB = columns["share"].expand(-1, y_KB.shape[1])
        weight_KB = torch.ones_like(share_KB) if weight_KB is None else weight_KB
        return [y_KB, weight_KB * share_KB, y_KB.roll(1, 1), weight_KB.roll(1, 1) * (1 - share_KB)]

    def _noisy(self, x_KB: Tensor, noise_K1: Tensor, key_K: Tensor) -> Tensor:
        """Add Gaussian noise to pixels, or to a table's numbers, which stand before its categories."""
        numbers_KB = x_KB[..., : self.numbers]
        bits = random_bits(key_K, numbers_KB[0].numel())
        noise_KB = quantiles(x_KB.device)[(bits >> 16) & 0xFFFF] * noise_K1
        return torch.cat([numbers_KB + noise_KB.view_as(numbers_KB), x_KB[..., numbers_KB.shape[-1] :]], -1)

    def _blended(self, x_KB: Tensor, share_K1: Tensor) -> Tensor:
        """Blend every row with the one before it, a random one as batches are; categories are those of the larger share."""
        other_KB, share = x_KB.roll(1, 1), share_K1.view(-1, *[1] * (x_KB.dim() - 1))
        mixed_KB = x_KB * share + other_KB * (1 - share)
        if self.numbers is None:
            return mixed_KB
        larger_KB = torch.where(share >= 0.5, x_KB, other_KB)
        return torch.cat([mixed_KB[..., : self.numbers], larger_KB[..., self.numbers :]], -1)


@lru_cache(maxsize=2)
def quantiles(device: torch.device) -> Tensor:
    """Return the normal distribution's quantiles at the middles of 65,536 equal shares.

    A look-up has the same bits alone and in a stack.
    """
    middles = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    values: Tensor = torch.special.ndtri(middles)
    return values.float().to(device)
