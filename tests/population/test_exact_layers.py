"""The exact layers are PyTorch's, in value, gradient and statistics; dropout masks are as good as independent draws."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from src.population.exact_layers import EXACT, Dropout, Linear, exact
from tests.support.zoo import Noisy

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(33, 7), (37, 33)),
    "linear-no-bias": (nn.Linear(5, 50, bias=False), (2, 5)),
    "linear-to-one": (nn.Linear(33, 1), (37, 33)),
    "linear-from-one": (nn.Linear(1, 8), (9, 1)),
    "linear-one-row": (nn.Linear(33, 7), (33,)),
    "linear-sequence": (nn.Linear(12, 5), (4, 6, 12)),
    "batch-norm": (nn.BatchNorm1d(33, eps=1e-3, momentum=0.3), (37, 33)),
    "batch-norm-plain": (nn.BatchNorm1d(33, affine=False), (37, 33)),
    "batch-norm-no-statistics": (nn.BatchNorm1d(33, track_running_stats=False), (37, 33)),
    "batch-norm-sequence": (nn.BatchNorm1d(6), (37, 6, 6)),
    "layer-norm": (nn.LayerNorm(33, eps=1e-3), (37, 33)),
    "layer-norm-plain": (nn.LayerNorm(33, elementwise_affine=False), (37, 33)),
    "layer-norm-no-bias": (nn.LayerNorm(33, bias=False), (4, 5, 33)),
    "layer-norm-two-axes": (nn.LayerNorm((5, 33)), (4, 5, 33)),
    "group-norm": (nn.GroupNorm(3, 33, eps=1e-3), (37, 33)),
    "group-norm-plain": (nn.GroupNorm(1, 33, affine=False), (37, 33)),
    "sigmoid": (nn.Sigmoid(), (37, 33)),
    "silu": (nn.SiLU(), (37, 33)),
    "gelu": (nn.GELU(), (37, 33)),
    "gelu-tanh": (nn.GELU(approximate="tanh"), (37, 33)),
    "elu": (nn.ELU(0.7), (37, 33)),
    "selu": (nn.SELU(), (37, 33)),
    "mish": (nn.Mish(), (37, 33)),
    "dropout-off": (nn.Dropout(0.0), (37, 33)),
}


def twins(name: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """PyTorch's layer and ours with the same parameters, not at their initial values, and an input with zeros in it."""
    layer, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = 2 * torch.randn(shape, generator=generator) + 0.5
    x.view(-1)[:2] = 0
    theirs = copy.deepcopy(layer)
    return theirs, exact(nn.Sequential(copy.deepcopy(layer)))[0], x


def gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = layer(x)
    weights = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weights).sum(), [x, *layer.parameters()])]


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-6 of the largest element, which PyTorch's layer has computed with 64 bits."""
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=1e-6 * max(1.0, theirs.abs().max().item()))


@pytest.mark.parametrize("name", LAYERS)
def test_equal_pytorch_s(name: str) -> None:
    theirs, ours, x = twins(name)
    theirs = theirs.double()
    for batch in (x, 3 * x - 1):
        for one, other in zip(gradients(ours, batch), gradients(theirs, batch.double()), strict=True):
            assert_close(one, other)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], tensor)
    assert_close(ours.eval()(x), theirs.eval()(x.double()))
    assert ours(x).is_contiguous() == theirs(x.double()).is_contiguous()


CONSISTENT = [name for name in LAYERS if not name.endswith(("axes", "batch-norm-sequence"))]


@pytest.mark.parametrize("size", [2, 16])
@pytest.mark.parametrize("name", CONSISTENT)
def test_the_same_bits_alone_and_stacked(name: str, size: int) -> None:
    """Values and gradients; each for itself, whatever stands where it ends in the vector registers."""
    _, ours, x = twins(name)
    x_K = torch.stack([x + k for k in range(size)])
    modules = [copy.deepcopy(ours) for _ in range(size)]
    parameters, buffers = stack_module_state(modules)
    parameters = {n: p.detach().clone().requires_grad_() for n, p in parameters.items()}
    inputs = x_K.clone().requires_grad_()
    out_K = vmap(lambda p, b, x: functional_call(ours, (p, b), (x,)))(parameters, buffers, inputs)
    weights = torch.linspace(0.5, 1.5, out_K[0].numel()).view_as(out_K[0])
    together = torch.autograd.grad((out_K * weights).sum(), [inputs, *parameters.values()])
    for k, module in enumerate(modules):
        alone = gradients(module, x_K[k])
        for one, other in zip(alone, [out_K[k], *(g[k] for g in together)], strict=True):
            assert torch.equal(one, other)


def test_a_linear_layer_s_output_can_be_viewed_unless_said_otherwise() -> None:
    layer, x = nn.Sequential(nn.Linear(6, 4)), torch.randn(5, 6)
    assert exact(layer)(x).view(20).shape == (20,)
    assert not exact(layer, tight=False)(x).is_contiguous()


def test_classes_of_others_stay_as_they_are() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    kinds: list[nn.Module] = [Doubled(3, 3), nn.Conv1d(3, 3, 1), nn.BatchNorm2d(3), nn.Softplus()]
    kinds += [nn.BatchNorm1d(3, momentum=None), nn.LayerNorm((2, 3)), nn.Dropout1d(), Noisy((3,), 3)]
    model = nn.Sequential(*kinds, nn.Linear(3, 3))
    before = [type(layer) for layer in kinds]
    exact(model)
    assert [type(layer) for layer in kinds] == before
    assert type(model[-1]) is Linear
    assert list(model[0].state_dict()) == ["weight", "bias"]
    assert all(issubclass(ours, theirs) for theirs, ours in EXACT.items())


# --- dropout -------------------------------------------------------------------------------------------------------------


def dropout(p: float, **_: Any) -> Dropout:
    layer = exact(nn.Sequential(nn.Dropout(p)))[0]
    assert isinstance(layer, Dropout)
    return layer


def masks(keys: list[int], p: float, shape: tuple[int, ...] = (64, 128)) -> Tensor:
    """What is kept under each key, as zeros and ones [keys, elements]."""
    layer, kept = dropout(p), []
    for key in keys:
        layer.key.fill_(key)
        kept.append((layer(torch.ones(shape)) > 0).flatten())
    return torch.stack(kept).double()


def random_keys(n: int) -> list[int]:
    return np.random.SeedSequence(0).generate_state(n).view(np.int32).tolist()


@pytest.mark.parametrize("shape", [(64, 128), (31, 7, 5, 3)])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_elements_are_kept_as_often_as_binomial_draws(p: float, shape: tuple[int, ...]) -> None:
    kept = masks(random_keys(200), p, shape)
    n = kept.shape[1]
    counts = kept.sum(1).numpy()
    low, high = stats.binom.interval(1 - 1e-6, n, 1 - p)
    assert low <= counts.min() <= counts.max() <= high
    deviation = (counts - n * (1 - p)) / math.sqrt(n * p * (1 - p))
    assert stats.kstest(deviation, "norm").pvalue > 1e-3
    by_place = (kept.sum(0).numpy() - 200 * (1 - p)) / math.sqrt(200 * p * (1 - p))
    assert abs(by_place.std() - 1) < 5 / math.sqrt(2 * n)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_are_uncorrelated(p: float) -> None:
    """Of other members, layers and steps (they differ in the key alone, random or consecutive), and along a mask."""
    for keys in (random_keys(300), list(range(300))):
        kept = (masks(keys, p) - (1 - p)) / math.sqrt(p * (1 - p))
        n = kept.shape[1]
        pairs = (kept @ kept.T / math.sqrt(n))[tuple(torch.triu_indices(300, 300, 1))]
        assert abs(pairs.std() - 1) < 0.03
        assert pairs.abs().max() < 6  # of 44,850 that are about normal
        for lag in (1, 2, 4, 16, 64, 128, 1000):
            product = kept[:, :-lag] * kept[:, lag:]
            assert abs(product.sum() / math.sqrt(product.numel())) < 4.5


def test_the_mean_is_preserved_and_the_gradient_is_the_mask() -> None:
    layer, x = dropout(0.3), torch.rand(64, 128).requires_grad_()
    outputs = []
    for key in random_keys(400):
        layer.key.fill_(key)
        outputs.append(layer(x))
    spread = x.square().sum().sqrt() * math.sqrt(0.3 / 0.7 / 400)
    assert abs((torch.stack(outputs).mean(0) - x).sum()) < 4 * spread
    (gradient,) = torch.autograd.grad(outputs[-1].sum(), x)
    assert torch.equal(gradient * x, outputs[-1])
    torch.testing.assert_close(gradient.unique(), torch.tensor([0, 1 / 0.7]))


def test_nothing_is_dropped_in_evaluation_or_without_a_strength() -> None:
    x = torch.randn(50, 20)
    assert torch.equal(dropout(0.7).eval()(x), x)
    layer = dropout(0.0)
    layer.active = True  # another member of the population has a strength
    for key in random_keys(20):
        layer.key.fill_(key)
        assert torch.equal(layer(x), x)
    everything = dropout(1.0)
    assert everything(x).count_nonzero() == 0
