"""A population of supernets, each of which learns its architecture parameters while its weights train."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.bilevel.architecture import Architecture
from src.bilevel.hypergradient_population import HypergradientPopulation
from src.bilevel.problem import Loss
from src.bilevel.settings import ARCHITECTURE, Guards
from src.bilevel.variables import OuterVariables
from src.models.mixture import Supernet
from src.system.errors import UserError


class ArchitecturePopulation(HypergradientPopulation):
    """Supernets with architecture parameters each, which step by turns with the weights (Liu et al. 2019, DARTS).

    Guards against a collapse to skip connections, each with a key of `training.darts`:

    - `beta_decay`: a penalty of large architecture parameters, the mean over edges of log Σ exp, whose strength rises from 0
      over the epochs (Ye et al. 2022, β-DARTS)
    - `auxiliary_skip`: a further skip connection on every edge, whose weight falls from 1 to 0, so that the one that
      competes with the operations does not also have to carry the gradient (Chu et al. 2021, DARTS-)
    - `warmup`: in the first share of the epochs weights train alone, since operations with weights of their own are behind
      at first (Xu et al. 2020, PC-DARTS)
    """

    def _variables(self) -> OuterVariables:
        """Lay out the architecture parameters.

        Raises:
            UserError: the model has none.
        """
        module = self.stack.modules[0]
        if not isinstance(module, Supernet):
            raise UserError(f"training=darts: model={self._name()} has no architecture parameters: take model=supernet")
        return Architecture.of_operations(module.operations, self.stack.device)

    def _name(self) -> str:
        return str(self.members[0].config.model.get("name"))

    def _bind(self) -> None:
        """Make what follows from the members, and mix their operations."""
        super()._bind()
        self._set_guards()

    def epoch(self) -> list[dict[str, float]]:
        """Train every supernet for one epoch, with the guards of its epoch; returns a point of each member's curves."""
        self._set_guards()
        return super().epoch()

    def _set_guards(self) -> None:
        """Set what follows from how far each member has come."""
        self._decay_K = self._by_member(lambda guards, done: guards.beta_decay * done)
        self._rate_K1 = self._by_member(lambda guards, done: float(done >= guards.warmup))[:, None] * self._own_rate_K1
        self.stack.fixed["auxiliary"].copy_(self._by_member(lambda guards, done: guards.auxiliary_skip * (1 - done)))

    def _by_member(self, value: Callable[[Guards, float], float]) -> Tensor:
        """Compute a number [K] of each member's guards and the share of its epochs that are done: in the last, 1."""
        pairs = zip(self.members, self.epochs, strict=True)
        shares = [(Guards.of(member.config), epoch / max(1, member.config.epochs - 1)) for member, epoch in pairs]
        return torch.tensor([value(guards, min(1.0, done)) for guards, done in shares], device=self.stack.device)

    def _settle(self) -> None:
        """Train by the architecture parameters as they are now."""
        super()._settle()
        self.stack.fixed["mixture"].copy_(self._tensors(self.numbers_KV)["mixture"])

    def _tensors(self, numbers_KV: Tensor) -> dict[str, Tensor]:
        """Return the mixture [K, E, O], in the place of what stands in the stack."""
        mixture_KV = self.variables.values(numbers_KV)[ARCHITECTURE]
        return {"mixture": mixture_KV.view_as(self.stack.fixed["mixture"])}

    def _outer_loss(self, index_KB: Tensor) -> Loss:
        """Return the loss of outer rows, and the penalty of the architecture parameters."""
        of_rows, decay_K = super()._outer_loss(index_KB), self._decay_K

        def loss(weights_KP: Tensor, numbers_KV: Tensor) -> Tensor:
            sizes = [row_V.view(self.stack.fixed["mixture"].shape[1:]).logsumexp(1).mean() for row_V in numbers_KV]
            return of_rows(weights_KP, numbers_KV) + decay_K * torch.stack(sizes)

        return loss

    def _judging_mode(self) -> None:
        """Let batches of outer rows be normalised by themselves: running statistics are behind a mixture that changes."""
        self.stack.train_mode()
