"""Mixtures: torch modules from the members' predictions to one, the same for judging, serving and exporting.

Probabilities [M, N, C] become [N, C], values [M, N] of a regression [N]. A mixture has buffers only, in 64 bits, and is
kept as one safetensors file that names its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src.system.errors import UserError
from src.system.files import write_bytes
from src.system.tensors import read_tensors, tensor_bytes

LEAST = 1e-6  # a probability below is taken for this one before its logarithm
TIE = 1e-3  # how much of a vote's outcome is the mean: it breaks ties and leaves no class at zero


class Mixture(nn.Module):
    """A function of the predictions of M members. A subclass takes its buffers as arguments of the same names."""

    @property
    def shares(self) -> Tensor:
        """Share of each member [M], none negative, sum 1; one that has none need not be asked."""
        raise NotImplementedError

    def subset(self, positions: NDArray[np.int64]) -> Mixture:
        """Return the mixture of the members at `positions` alone, where the others have no share."""
        raise NotImplementedError

    def predict(self, p_MNC: NDArray[Any]) -> NDArray[np.float64]:
        """Join the predictions `p_MNC`, [M, N, C] or [M, N], given as an array."""
        with torch.no_grad():
            return np.asarray(self(torch.from_numpy(np.asarray(p_MNC, np.float64))).numpy())


class Weighted(Mixture):
    """A weighted sum of the members, and for a regression a bias."""

    weights: Tensor
    bias: Tensor

    def __init__(self, weights: Any, bias: Any = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", _double(weights))
        self.register_buffer("bias", _double(bias))

    def forward(self, p_MNC: Tensor) -> Tensor:
        """Join the predictions of the members, `p_MNC` [M, N, C] or [M, N], to [N, C] or [N]."""
        mean: Tensor = torch.tensordot(self.weights, p_MNC.double(), 1) + self.bias
        return mean

    @property
    def shares(self) -> Tensor:
        """Share of each member [M], as in `Mixture`."""
        return self.weights / self.weights.sum() if (self.weights >= 0).all() else _equal(self.weights)

    def subset(self, positions: NDArray[np.int64]) -> Weighted:
        """Return the mixture of the members at `positions` alone, as in `Mixture`."""
        return Weighted(self.weights[positions], self.bias)


class Vote(Mixture):
    """A vote: the share that each class gets, ties broken by the mean; of values, their weighted median."""

    weights: Tensor

    def __init__(self, weights: Any) -> None:
        super().__init__()
        self.register_buffer("weights", _double(weights))

    def forward(self, p_MNC: Tensor) -> Tensor:
        """Join the predictions of the members, `p_MNC` [M, N, C] or [M, N], to [N, C] or [N]."""
        p_MNC = p_MNC.double()
        if p_MNC.ndim == 2:
            return self._median(p_MNC)
        votes_MNC = nn.functional.one_hot(p_MNC.argmax(-1), p_MNC.shape[-1]).double()
        shares_NC: Tensor = torch.tensordot(self.weights, (1 - TIE) * votes_MNC + TIE * p_MNC, 1)
        return shares_NC

    def _median(self, values_MN: Tensor) -> Tensor:
        """Find the value where half of the weight is reached, halfway between two members where it is between them."""
        ordered_MN, order_MN = values_MN.sort(0)
        cumulated_MN = self.weights[order_MN].cumsum(0)
        ends = [(cumulated_MN - 0.5 < shift).sum(0).clamp(max=len(self.weights) - 1) for shift in (-1e-9, 1e-9)]
        low, high = (ordered_MN.gather(0, end[None])[0] for end in ends)
        return (low + high) / 2

    @property
    def shares(self) -> Tensor:
        """Share of each member [M], as in `Mixture`."""
        return self.weights

    def subset(self, positions: NDArray[np.int64]) -> Vote:
        """Return the mixture of the members at `positions` alone, as in `Mixture`."""
        return Vote(self.weights[positions])


class Stacking(Mixture):
    """A softmax regression on the members' log-probabilities: coefficients [M, C, C] from member and class to class."""

    coefficients: Tensor
    intercept: Tensor

    def __init__(self, coefficients: Any, intercept: Any) -> None:
        super().__init__()
        self.register_buffer("coefficients", _double(coefficients))
        self.register_buffer("intercept", _double(intercept))

    def forward(self, p_MNC: Tensor) -> Tensor:
        """Join the predictions of the members, `p_MNC` [M, N, C] or [M, N], to [N, C] or [N]."""
        log_p_MNC = p_MNC.double().clamp_min(LEAST).log()
        return (torch.einsum("mnc,mck->nk", log_p_MNC, self.coefficients) + self.intercept).softmax(-1)

    @property
    def shares(self) -> Tensor:
        """Share of each member [M], as in `Mixture`."""
        return _equal(self.coefficients[:, 0, 0])

    def subset(self, positions: NDArray[np.int64]) -> Stacking:
        """Return the mixture of the members at `positions` alone, as in `Mixture`."""
        return Stacking(self.coefficients[positions], self.intercept)


class Temperature(Mixture):
    """Another mixture's probabilities to the power 1 / temperature, normalized (Guo et al. 2017)."""

    temperature: Tensor
    inner: Mixture

    def __init__(self, inner: Mixture, temperature: Any) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("temperature", _double(temperature))

    def forward(self, p_MNC: Tensor) -> Tensor:
        """Join the predictions of the members, `p_MNC` [M, N, C] or [M, N], to [N, C] or [N]."""
        tiny = torch.finfo(torch.float64).tiny
        p_NC: Tensor = self.inner(p_MNC)
        return (p_NC.clamp_min(tiny).log() / self.temperature).softmax(-1)

    @property
    def shares(self) -> Tensor:
        """Share of each member [M], as in `Mixture`."""
        return self.inner.shares

    def subset(self, positions: NDArray[np.int64]) -> Temperature:
        """Return the mixture of the members at `positions` alone, as in `Mixture`."""
        return Temperature(self.inner.subset(positions), self.temperature)


class Committees(Mixture):
    """Another mixture of G committees, each the mean of some of the members: weights [G, M], the sum of each row 1."""

    weights: Tensor
    inner: Mixture

    def __init__(self, inner: Mixture, weights: Any) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("weights", _double(weights))

    def forward(self, p_MNC: Tensor) -> Tensor:
        """Join the predictions of the members, `p_MNC` [M, N, C] or [M, N], to [N, C] or [N]."""
        prediction: Tensor = self.inner(torch.tensordot(self.weights, p_MNC.double(), 1))
        return prediction

    @property
    def shares(self) -> Tensor:
        """Share of each member [M], as in `Mixture`."""
        return self.inner.shares @ self.weights

    def subset(self, positions: NDArray[np.int64]) -> Committees:
        """Return the mixture of the members at `positions` alone, as in `Mixture`."""
        return Committees(self.inner, self.weights[:, positions])


def write(mixture: Mixture, file: Path) -> None:
    """Write `mixture` as the safetensors `file`, whose metadata name its classes from the outermost in."""
    classes, layer = [], mixture
    while True:
        classes.append(f"{type(layer).__module__}.{type(layer).__qualname__}")
        if not isinstance(layer, Temperature | Committees):
            break
        layer = layer.inner
    write_bytes(
        file,
        tensor_bytes(mixture.state_dict(), {"joint": " ".join(classes)}),
    )


def read(file: Path) -> Mixture:
    """Read the mixture that `write` put into `file`.

    Raises:
        UserError: it is no mixture of this project, or has changed since it was written.
    """
    try:
        buffers, metadata = read_tensors(file)
    except OSError as error:
        raise UserError(f"{error}; run python -m src.ensemble again") from error
    names = metadata.get("joint", "")
    classes = names.replace("src.combiners.joint.", "src.ensembles.mixture.").split()  # as files of before name them
    if not classes or not all(name.startswith("src.ensembles.") for name in classes):
        raise UserError(f"{file} is no combiner of this project; run python -m src.ensemble again")
    return _built(classes, buffers)


def _built(classes: list[str], buffers: Mapping[str, Tensor]) -> Mixture:
    module, _, name = classes[0].rpartition(".")
    cls: type[Mixture] = getattr(import_module(module), name)
    inside = {key.removeprefix("inner."): value for key, value in buffers.items() if key.startswith("inner.")}
    outer = {key: value for key, value in buffers.items() if not key.startswith("inner.")}
    return cls(_built(classes[1:], inside), **outer) if inside else cls(**outer)


def _double(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values, np.float64)).clone()


def _equal(like_M: Tensor) -> Tensor:
    return torch.full((len(like_M),), 1 / len(like_M), dtype=torch.float64)
