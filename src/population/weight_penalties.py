"""Regularisation of weights: penalties as a part of the gradient, and a limit to every unit's weights.

The loss has l1 · Σ|w| + l2 · Σw² of the kernels (`training.regularization.l1`, `.l2`) and of the biases
(`.bias`), every member with its own strengths; curves show the loss without them. Kernels are weights of two axes or
more. The scales and shifts of norms have no penalty.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from src.population.hyperparameters import column
from src.population.member import Member
from src.population.parameter_layout import Layout
from src.system.trial_config import Training

Strengths = Mapping[str, Callable[[Training], float]]  # of a penalty, by the kind of parameter
L1: Strengths = {
    "kernel": lambda training: training.regularization.l1,
    "bias": lambda training: training.regularization.bias.l1,
}
L2: Strengths = {
    "kernel": lambda training: training.regularization.l2,
    "bias": lambda training: training.regularization.bias.l2,
}
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Penalties:
    """The change of the gradient before a step, and of the weights after it, for a population."""

    def __init__(self, members: Sequence[Member], module: nn.Module, layout: Layout, p_KP: Tensor) -> None:
        """Read the strengths of `members`.

        Args:
            members: K members.
            module: the model of one of them, whose layers tell kernels, biases and norms apart.
            layout: the places of its parameters.
            p_KP: the members' parameters, which steps change in place.
        """
        kind = {name: kind_of(name, shape, module) for name, shape in layout.shapes.items()}
        self.l1_KP, self.l2_KP = (
            _by_weight(
                {kind: column(members, strength, p_KP.device) for kind, strength in keys.items()}, kind, layout, p_KP
            )
            for keys in (L1, L2)
        )
        self.sign_KP = torch.empty(0)
        most_K1 = column(members, lambda training: training.regularization.max_norm, p_KP.device)
        self.most_K1 = None if most_K1 is None else most_K1.where(most_K1 > 0, torch.inf)
        views = zip(kind.values(), layout.stacked(p_KP), strict=True)
        self.kernels = [view.flatten(2) for of, view in views if of == "kernel"]

    def add_gradient(self, p_KP: Tensor, g_KP: Tensor) -> None:
        """Make the gradient of the loss that of the penalised one.

        Where a weight is 0, that of l1 · |w| may be anything from -l1 to l1. Taken is what cancels most of the loss's own.
        """
        if self.l2_KP is not None:
            g_KP.addcmul_(p_KP, self.l2_KP, value=2)
        if self.l1_KP is not None:
            sign_KP, at_zero_KP = p_KP.sign(), p_KP == 0
            cancelled_KP = g_KP.clamp(-self.l1_KP, self.l1_KP)
            g_KP += torch.where(at_zero_KP, -cancelled_KP, sign_KP * self.l1_KP)
            self.sign_KP = torch.where(at_zero_KP, -g_KP.sign(), sign_KP)

    def after_step(self, p_KP: Tensor) -> None:
        """Stop at 0 what a step took across, where l1 holds (Andrew & Gao 2007), and shorten units beyond `max_norm`.

        Without the first, subgradients leave small weights where there should be none. The second scales a unit's incoming
        weights, those along its row of the kernel, to that Euclidean norm (Srivastava et al. 2014).
        """
        if self.l1_KP is not None:
            p_KP *= (p_KP.sign() == self.sign_KP) | (self.l1_KP == 0)
        if self.most_K1 is not None:
            for kernel_KOI in self.kernels:
                norm_KO = kernel_KOI.square().sum(2).sqrt()
                kernel_KOI *= (self.most_K1 / norm_KO).clamp(max=1)[..., None]


def kind_of(name: str, shape: torch.Size, module: nn.Module) -> str:
    """Classify the parameter `name` of a `shape` in `module`: a `kernel`, a `bias` or of a `norm`, in Keras's words."""
    owner, _, last = name.rpartition(".")
    if isinstance(module.get_submodule(owner), NORMS):
        return "norm"
    return "bias" if last.startswith("bias") or len(shape) < 2 else "kernel"


def _by_weight(
    strengths: dict[str, Tensor | None], kind: dict[str, str], layout: Layout, p_KP: Tensor
) -> Tensor | None:
    """Spread the strengths [K, 1] of each kind over the parameters of that kind [K, P]; None where all are off."""
    if all(strength is None for strength in strengths.values()):
        return None
    strength_KP = torch.zeros_like(p_KP)
    for of, view in zip(kind.values(), layout.stacked(strength_KP), strict=True):
        if (strength_K1 := strengths.get(of)) is not None:
            view += strength_K1.view(-1, *[1] * (view.dim() - 1))
    return strength_KP


def clip(g_KP: Tensor, most_K1: Tensor) -> None:
    """Shorten gradients to a Euclidean norm where that is above 0, as `torch.nn.utils.clip_grad_norm_`."""
    norm_K1 = torch.linalg.vector_norm(g_KP, dim=1, keepdim=True)
    g_KP *= torch.where(most_K1 > 0, (most_K1 / (norm_K1 + 1e-6)).clamp(max=1), 1)
