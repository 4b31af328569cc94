"""Running averages of the weights, to predict with: of every step (EMA), or of the ends of the last epochs (SWA)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import floor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from src.population.batching import batch_at
from src.population.member import Member

if TYPE_CHECKING:
    from src.population.population import Population


def strengths(config: Mapping[str, Any]) -> tuple[float, float | None]:
    """The decay of a config's EMA (0: none), and the share of its epochs after which its SWA begins (None: none)."""
    section = config.get("averaging") or {}
    return section.get("ema", 0.0), section.get("swa")


def averaged(config: Mapping[str, Any]) -> bool:
    """Whether a member of this config predicts with an average."""
    return strengths(config) != (0.0, None)


class Averages:
    """The averages of those members of a population that have one: rows of `state["average"]` [K, P].

    As torch's AveragedModel: an EMA (Polyak & Juditsky 1992) is updated after every step and begins as the weights after
    the first; an SWA (Izmailov et al. 2018) is the mean of the weights at the ends of the epochs after its start. Batch
    norm's statistics are measured anew for the averaged weights, as torch's `update_bn` does, but without dropout.
    """

    def __init__(self, members: Sequence[Member], epochs: Sequence[int], device: torch.device) -> None:
        pairs = [strengths(member.config) for member in members]
        self.places = [k for k, pair in enumerate(pairs) if pair != (0.0, None)]
        ema = [k for k, (decay, _) in enumerate(pairs) if decay]
        self.starts = {
            k: floor(start * members[k].config["epochs"]) for k, (_, start) in enumerate(pairs) if start is not None
        }
        self.ema_E = torch.tensor(ema, dtype=torch.long, device=device)
        self._all = len(ema) == len(members)
        self._weight_E1 = torch.tensor([1 - pairs[k][0] for k in ema], device=device)[:, None]
        first = torch.tensor([epochs[k] == 0 for k in ema], dtype=torch.bool, device=device)[:, None]
        self._next_E1 = torch.where(first, 1.0, self._weight_E1)

    def step(self, p_KP: Tensor, average_KP: Tensor) -> None:
        """After every step."""
        if self._all:
            average_KP.lerp_(p_KP, self._next_E1)
        elif len(self.ema_E):
            average_KP[self.ema_E] = average_KP[self.ema_E].lerp_(p_KP[self.ema_E], self._next_E1)
        self._next_E1 = self._weight_E1

    def epoch(self, p_KP: Tensor, average_KP: Tensor, epochs: Sequence[int]) -> None:
        """After every epoch, of which each member now has so many."""
        for k, start in self.starts.items():
            average_KP[k].lerp_(p_KP[k], 1 / max(1, epochs[k] - start))

    def begun(self, epochs: Sequence[int]) -> list[int]:
        """Those whose average is not just the weights."""
        return [k for k in self.places if epochs[k] > self.starts.get(k, 0)]

    def shown(self, population: "Population", epochs: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the members predict with after so many epochs: rows [K, P], and batch norm's statistics."""
        index = torch.tensor(self.begun(epochs), dtype=torch.long, device=population.device)
        p_KP = population.p_KP.index_copy(0, index, population.state["average"][index])
        names = [name for name in population.fixed if name.endswith((".running_mean", ".running_var"))]
        if not names or not len(index):
            return p_KP, {}
        counts = [name for name in population.fixed if name.endswith(".num_batches_tracked")]
        with population.showing(p_KP, {name: population.fixed[name] for name in (*names, *counts)}):
            _measure(population)
            measured = {name: population.fixed[name][index] for name in names}
        return p_KP, {name: population.fixed[name].index_copy(0, index, measured[name]) for name in names}


def _measure(population: "Population") -> None:
    """Set batch norm's statistics to their means over the batches of the epoch that has just ended."""
    with _cumulative(population) as norms, torch.no_grad():
        order_KN, batch = population.next_order(), batch_at(population.members[0].config, population.epochs[0])
        for number, start in enumerate(range(0, order_KN.shape[1] - 1, batch)):  # no last batch of a single row
            for norm in norms:
                norm.momentum = 1 / (number + 1)
            population.outputs(order_KN[:, start : start + batch])


@contextmanager
def _cumulative(population: "Population") -> Iterator[list[_BatchNorm]]:
    """The batch norms in training mode, the dropouts not; afterwards as before."""
    norms = [layer for module in population.modules for layer in module.modules() if isinstance(layer, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    population.eval_mode()
    for norm in norms:
        norm.train()
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
