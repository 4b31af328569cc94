"""Outer variables: hyperparameters that have a gradient, as numbers without bounds that an outer step may change.

`l1`, `l2` (of the kernels), `noise` and `rate` (a factor of the optimizer's) are stored as logarithms, `label_smoothing` as
a logit; `class_weights` are the softmax of theirs, times the number of classes, so that their mean is 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from src.bilevel.constants import CURVES
from src.bilevel.settings import Settings
from src.population.member import Member
from src.population.parameter_layout import Layout
from src.population.weight_penalties import kind_of
from src.system.trial_config import Training


class Kind(NamedTuple):
    """A kind of outer variable: its first value by the section `training`, its value where that is 0, and its bounds."""

    first: Callable[[Training], float]
    start: float
    low: float
    high: float


KINDS = {
    "l1": Kind(lambda training: training.regularization.l1, 1e-4, 1e-8, 1.0),
    "l2": Kind(lambda training: training.regularization.l2, 1e-2, 1e-8, 1.0),
    "label_smoothing": Kind(lambda training: training.label_smoothing, 0.01, 1e-4, 0.9),
    "class_weights": Kind(lambda _: 0.0, 1.0, 0.05, 20.0),
    "noise": Kind(lambda training: training.noise, 0.05, 1e-3, 3.0),
    "rate": Kind(lambda _: 0.0, 1.0, 0.01, 100.0),
}


@dataclass(frozen=True)
class OuterVariables:
    """The V numbers of a member, by variable, and what they mean.

    `groups`: the columns of each variable. `names`: of each column, that of its curve without `outer/`. `places`: for a
    penalty, the column within its group of each of the P parameters; `kernels_P` is 1 where a parameter has penalties.
    """

    groups: Mapping[str, slice]
    names: Sequence[str]
    places: Mapping[str, Tensor]
    kernels_P: Tensor

    @classmethod
    def of(
        cls, settings: Settings, layout: Layout, module: nn.Module, classes: int, device: torch.device
    ) -> "OuterVariables":
        """Lay out the variables of `settings`.

        Args:
            settings: which there are; constants have one number a layer where they were learnt for each parameter.
            layout: the places of the parameters.
            module: a member's model, whose layers have kernels.
            classes: how many the data have.
            device: where tensors are.
        """
        layer_P, number = torch.zeros(layout.starts[-1], dtype=torch.long), torch.zeros(layout.starts[-1])
        kernels: list[str] = []
        for name, view in layout.unflatten(layer_P).items():
            if kind_of(name, view.shape, module) == "kernel":
                view.fill_(len(kernels))
                layout.unflatten(number)[name].fill_(1)
                kernels.append(name.removesuffix(".weight"))
        own_P = (number.cumsum(0).long() - 1).clamp(min=0)
        names: dict[str, list[str]] = {}
        places = {}
        for variable, width in settings.variables.items():
            layers = width == "layer" or (width == "parameter" and not settings.learnt)
            if variable in ("l1", "l2"):
                place_P = layer_P if layers else own_P if width == "parameter" else torch.zeros_like(layer_P)
                places[variable] = place_P.to(device)
            if layers:
                names[variable] = [f"{variable}/{layer}" for layer in kernels]
            elif width == "parameter":
                names[variable] = [f"{variable}/{kernels[k]}" for k in layer_P[number > 0].tolist()]
            else:
                names[variable] = [f"{variable}/{c}" for c in range(classes)] if width == "class" else [variable]
        ends = list(accumulate((len(columns) for columns in names.values()), initial=0))
        groups = {name: slice(*pair) for name, pair in zip(names, pairwise(ends), strict=True)}
        return cls(groups, [name for columns in names.values() for name in columns], places, number.to(device))

    def start(self, member: Member, settings: Settings) -> Tensor:
        """Return the member's first numbers [V]: of its config's own key, or of its constants.

        A layer that the constants do not name, since the net is another one, has the geometric mean of the others.
        """
        row: list[float] = []
        for variable, group in self.groups.items():
            kind = KINDS[variable]
            constants = [v for name, v in settings.values.items() if name.partition("/")[0] == variable]
            usual = _geometric_mean(constants) if constants else kind.first(member.config.training)
            for name in self.names[group]:
                value = settings.values.get(name, usual or kind.start)
                row.append(_inverse(variable, min(max(value, kind.low), kind.high)))
        return torch.tensor(row)

    def values(self, numbers_KV: Tensor) -> dict[str, Tensor]:
        """Turn numbers into hyperparameters, [K, n] each, differentiable.

        A member's row is computed alone: the last elements of an array may have another formula than those before them.
        """
        rows = numbers_KV.unbind()
        return {
            name: torch.stack([_value(name, row_V[group]) for row_V in rows]) for name, group in self.groups.items()
        }

    def strengths(self, name: str, values_Kn: Tensor) -> Tensor:
        """Spread the strengths of the penalty `name` over the parameters [K, P]; 0 where there is none."""
        return torch.stack([row_n.index_select(0, self.places[name]) for row_n in values_Kn]) * self.kernels_P

    def bound(self, numbers_KV: Tensor) -> None:
        """Bring numbers that have left their bounds back to them, in place."""
        for name, group in self.groups.items():
            low, high = (_inverse(name, end) for end in (KINDS[name].low, KINDS[name].high))
            numbers_KV[:, group] = numbers_KV[:, group].clamp(low, high)

    def points(self, numbers_KV: Tensor) -> list[dict[str, float]]:
        """Return a point of each member's curves: every value; for parameters of a layer, their geometric mean."""
        columns: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            columns.setdefault(f"{CURVES}{name}", []).append(place)
        values_KV = torch.cat(list(self.values(numbers_KV).values()), 1)
        return [
            {name: _geometric_mean([row[place] for place in places]) for name, places in columns.items()}
            for row in values_KV.tolist()
        ]


def spread(value_K1: Tensor, count: int) -> Tensor:
    """Repeat each member's value [K, count] so that its gradient is a sum over that member alone, whatever its company."""
    return torch.stack([value_1.expand(count) for value_1 in value_K1])


def _value(variable: str, numbers_n: Tensor) -> Tensor:
    if variable == "label_smoothing":
        return numbers_n.sigmoid()
    if variable == "class_weights":
        return numbers_n.softmax(0) * len(numbers_n)
    return numbers_n.exp()


def _inverse(variable: str, value: float) -> float:
    return math.log(value / (1 - value)) if variable == "label_smoothing" else math.log(value)


def _geometric_mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else math.exp(sum(map(math.log, values)) / len(values))
