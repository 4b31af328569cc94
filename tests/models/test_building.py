"""Architectures: shapes, initialisation, counts, errors; and K stacked models compute what each computes alone."""

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from src.config import checking
from src.config.components import component, trust
from src.config.renamed import ADDED
from src.data.patches import patch_moments
from src.models.building import build, n_operations, outline
from src.models.data_spec import FROM_DATA
from src.models.embeddings import NumberEmbedding, number_embedding
from src.models.layers import ACTIVATIONS, OneHot, normalisation
from src.models.training_rows import parts_with_rows
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from tests.support.conf import conf_file
from tests.support.metas import data_meta

CONF = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def config(name: str, **changes: Any) -> dict[str, Any]:
    return {**conf_file("model", name)["model"], **changes}


def images(*shape: int, n_classes: int = 10) -> DataMeta:
    x = np.random.default_rng(0).normal(size=(20, *shape)).cumsum(-1).astype(np.float32)
    return data_meta(*shape, n_classes=n_classes, patches=patch_moments(x) if len(shape) == 3 else [])


# 4 numbers (the last is yes/no: one bin) and 3 categories, of which one has too many values for one-hot columns
BINS = [np.linspace(-2, 2, n).tolist() for n in (49, 20, 5, 2)]
TABLE = data_meta(7, n_classes=2, categories=[5, 100, 3], bins=BINS)
AIRBENCH = {"convolutions": 2, "pooling": "max", "norm": "batch", "norm_scale": False, "initial": "dirac"}
AIRBENCH |= {"whitening": True, "activation": "gelu", "depth": 3}
PIECEWISE = {"embedding": "piecewise_linear", "embedding_dim": 6}
PERIODIC = {"embedding": "periodic", "embedding_dim": 6, "frequencies": 5, "frequency_scale": 1.0}
RESNET, TABM = {"dropout": 0.0, "width": 12, "hidden_width": 20}, {"dropout": 0.0, "width": 12, "k": 3}


def rows(meta: DataMeta, n: int) -> Tensor:
    x = torch.randn(n, *meta.input_shape)
    for k, cardinality in enumerate(meta.categories, start=len(meta.bins)):
        x[:, k] = torch.randint(0, cardinality, (n,)).float()
    return x


CELL = "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
TABLE_CELL = "|linear_gelu~0|+|gated_linear~0|linear_tanh~1|+|skip_connect~0|none~1|linear_relu~2|"

VARIANTS = [
    pytest.param(config("mlp"), images(1, 8, 8), id="mlp"),
    pytest.param(config("mlp", width=[50, 20, 30], depth=3, activation="gelu"), images(3, 4, 4), id="mlp-widths"),
    pytest.param(config("mlp", norm="batch"), TABLE, id="mlp-batch-table"),
    pytest.param(config("mlp", norm="group", width=[33, 40]), TABLE, id="mlp-group-table"),
    pytest.param(config("cnn", norm="layer", depth=3), images(3, 9, 9), id="cnn-layer-9x9"),
    pytest.param(config("mlp", norm="layer", **PIECEWISE), TABLE, id="mlp-layer-piecewise"),
    pytest.param(config("cnn"), images(1, 8, 8), id="cnn-8x8"),
    pytest.param(config("cnn", norm="batch", depth=3), images(1, 28, 28), id="cnn-batch-28x28"),
    pytest.param(config("cnn", norm="none", channels=6), images(3, 32, 32), id="cnn-none-32x32"),
    pytest.param(config("cnn", channels=6, depth=5), images(2, 5, 5), id="cnn-5x5-deep"),
    pytest.param(config("cnn", depth=2), images(1, 1, 9), id="cnn-signal"),
    pytest.param(config("cell"), images(1, 8, 8), id="cell-8x8"),
    pytest.param(config("cell", operations=CELL, channels=4, norm="group"), images(3, 9, 7), id="cell-odd"),
    pytest.param(config("cnn", **AIRBENCH | {"depth": 2}), images(3, 12, 9), id="cnn-airbench"),
    pytest.param(config("table_cell", dropout=0.0), TABLE, id="table-cell"),
    pytest.param(
        config("table_cell", operations=TABLE_CELL, norm="none", dropout=0.0, **PERIODIC), TABLE, id="table-cell-each"
    ),
    pytest.param(config("linear"), images(1, 8, 8), id="linear"),
    pytest.param(config("linear"), TABLE, id="linear-table"),
    pytest.param(config("mlp"), replace(TABLE, n_classes=0), id="regression"),
    pytest.param(config("mlp", **PERIODIC), TABLE, id="mlp-periodic"),
    pytest.param(config("mlp", embedding_lite=False, front_scale=True, **PERIODIC), TABLE, id="mlp-periodic-each"),
    pytest.param(config("mlp", parametric_activation=True, activation="mish"), TABLE, id="mlp-parametric"),
    pytest.param(config("resnet", **RESNET), TABLE, id="resnet"),
    pytest.param(config("resnet", **RESNET | PERIODIC, norm="none"), TABLE, id="resnet-periodic"),
    pytest.param(config("resnet", **RESNET), images(1, 8, 8), id="resnet-images"),
]


@pytest.mark.parametrize(("model", "meta"), VARIANTS)
def test_output_has_one_column_a_class_and_one_for_regression(model: dict[str, Any], meta: DataMeta) -> None:
    assert build(model, meta)(rows(meta, 4)).shape == (4, meta.n_outputs)


@pytest.mark.parametrize(("model", "meta"), VARIANTS)
def test_stacked_models_equal_each_alone(model: dict[str, Any], meta: DataMeta) -> None:
    """Outputs, gradients and, where there are any, running statistics, each member with rows of its own."""
    torch.manual_seed(0)
    members = [build(model, meta).double() for _ in range(3)]  # so that what differs is no rounding error
    x_KBF = torch.stack([rows(meta, 8) for _ in members]).double()

    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        out = functional_call(members[0], (params, buffers), (x,))
        return out.square().sum(), out

    params, buffers = stack_module_state(members)
    params = {name: value.detach() for name, value in params.items()}
    gradients, out_KBC = vmap(grad(loss, has_aux=True), randomness="different")(params, buffers, x_KBF)

    for k, member in enumerate(members):
        out = member(x_KBF[k])
        out.square().sum().backward()
        torch.testing.assert_close(out_KBC[k], out.detach(), rtol=1e-9, atol=1e-9)
        for name, value in member.named_parameters():
            if not value.requires_grad:  # a frozen layer
                continue
            assert value.grad is not None
            torch.testing.assert_close(gradients[name][k], value.grad, rtol=1e-9, atol=1e-9)
        for name, value in member.named_buffers():
            torch.testing.assert_close(buffers[name][k], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_weights_have_the_variance_that_belongs_to_the_activation(activation: str) -> None:
    torch.manual_seed(0)
    mlp = build(config("mlp", width=[400, 300], activation=activation), images(1, 20, 20))
    cnn = build(config("cnn", channels=64, activation=activation), images(32, 8, 8))
    for name, fan_in, fan_out in [("hidden.0.linear", 400, 400), ("hidden.1.linear", 400, 300)]:
        assert_initialised(mlp.get_submodule(name), activation, fan_in, fan_out)
    assert_initialised(cnn.get_submodule("stages.0.conv"), activation, 32 * 9, 64 * 9)
    assert_initialised(cnn.get_submodule("stages.1.conv"), activation, 64 * 9, 128 * 9)


def assert_initialised(layer: nn.Module, activation: str, fan_in: int, fan_out: int) -> None:
    xavier = activation in ("tanh", "sigmoid")
    variance = 2 / (fan_in + fan_out) if xavier else 2 / fan_in
    weight = layer.weight.detach()
    assert weight.var().item() == pytest.approx(variance, rel=0.03)
    assert (weight.abs().max() <= (3 * variance) ** 0.5) == xavier  # uniform, so bounded; He's normal is not
    assert not layer.bias.detach().any()


def test_output_layer_is_xavier() -> None:
    torch.manual_seed(0)
    weight = build({"name": "linear"}, images(1, 30, 30, n_classes=100)).get_parameter("output.weight")
    assert weight.var().item() == pytest.approx(2 / (900 + 100), rel=0.03)


def n_parameters(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def test_parameters_and_operations_in_closed_form() -> None:
    mlp = build(config("mlp", width=[50, 30], norm="batch"), images(1, 8, 8))
    assert n_parameters(mlp) == (64 + 1) * 50 + 2 * 50 + (50 + 1) * 30 + 2 * 30 + (30 + 1) * 10
    assert n_operations(mlp, (1, 8, 8)) == 64 * 50 + 50 * 30 + 30 * 10

    table = build(config("mlp", width=40, depth=1, **PIECEWISE), TABLE)
    width = 4 * 6 + 5 + 16 + 3  # embedded numbers, one-hot, embedding of 100 categories, one-hot
    assert n_parameters(table) == 4 * (48 + 2) * 6 + 100 * 16 + (width + 1) * 40 + (40 + 1) * 2
    assert n_operations(table, (7,)) == 4 * 48 * 6 + width * 40 + 40 * 2

    cnn = build(config("cnn", channels=16, depth=3, norm="group"), images(3, 5, 5))  # 5×5 → 2×2 → 1×1, then no more
    assert n_parameters(cnn) == (27 + 3) * 16 + (16 * 9 + 3) * 32 + (32 * 9 + 3) * 64 + (64 + 1) * 10
    assert n_operations(cnn, (3, 5, 5)) == 25 * 27 * 16 + 4 * 144 * 32 + 1 * 288 * 64 + 64 * 10


def test_parameters_and_operations_of_the_form_of_airbench() -> None:
    """A prediction looks at six views, of which one is what an image costs in training."""
    cnn = build(config("cnn", channels=4, **AIRBENCH, tta="both"), images(1, 12, 12))  # pooled to 6×6, 3×3, 1×1
    kernels = 9 * (18 + 18 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 16 + 16 * 16) + 16 * 10
    assert n_parameters(cnn) == kernels + 18 + 2 * 3 * (4 + 8 + 16) + 10  # biases, and scale and shift of each norm
    convolutions = [144 * 9 * 18, 144 * 18 * 9 * 4 + 36 * 4 * 9 * 4, 36 * 4 * 9 * 8 + 9 * 8 * 9 * 8]
    convolutions += [9 * 8 * 9 * 16 + 1 * 16 * 9 * 16, 16 * 10]
    assert n_operations(cnn, (1, 12, 12), training=True) == sum(convolutions)
    assert n_operations(cnn, (1, 12, 12)) == 6 * sum(convolutions)


def test_whitened_patches_are_uncorrelated_and_frozen() -> None:
    """The first half of the channels has second moments of 1, the other half is its negative."""
    x = torch.randn(400, 2, 9, 9).cumsum(2).cumsum(3)
    cnn = build(config("cnn", whitening=True), replace(images(2, 9, 9), patches=patch_moments(x.numpy())))
    layer = cnn.get_submodule("whitening.0")
    assert isinstance(layer, nn.Conv2d)
    assert (layer.weight.requires_grad, layer.bias is not None and layer.bias.requires_grad) == (False, True)
    inside = layer(x).detach()[:, :, 1:-1, 1:-1].transpose(0, 1).flatten(1)
    moments = inside @ inside.T / inside.shape[1]
    torch.testing.assert_close(moments[:18, :18], torch.eye(18), atol=5e-3, rtol=0)
    torch.testing.assert_close(inside[18:], -inside[:18], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"model\.whitening: these data were prepared before it was there"):
        build(config("cnn", whitening=True), replace(images(1, 8, 8), patches=()))


def test_dirac_convolutions_pass_on_what_comes_in() -> None:
    x = torch.rand(2, 3, 8, 8)
    cnn = build(config("cnn", initial="dirac", norm="none", convolutions=2, channels=7), images(3, 8, 8))
    for name in ("stages.0.conv", "stages.0.conv2", "stages.1.conv", "stages.1.conv2"):
        conv = cnn.get_submodule(name)
        x = torch.randn(2, conv.in_channels, 8, 8)
        assert torch.equal(conv(x)[:, : conv.in_channels], x)
        assert conv.weight[conv.in_channels :].abs().gt(0).all()


def test_max_pooling_stands_right_after_the_first_convolution() -> None:
    names = [
        name for name, _ in build(config("cnn", **AIRBENCH), images(1, 8, 8)).get_submodule("stages.0").named_children()
    ]
    assert names == ["conv", "pool", "norm", "activation", "conv2", "norm2", "activation2"]
    two = build(config("cnn", convolutions=2, pooling="average", norm="none"), images(1, 8, 8))
    assert list(dict(two.get_submodule("stages.0").named_children()))[-1] == "pool"


@pytest.mark.parametrize("tta", ["none", "mirror", "shift", "both"])
def test_a_prediction_is_the_mean_over_the_views(tta: str) -> None:
    """Half of the weight is the image's own, of whole pixels shifted over the repeated border; none in training."""
    cnn = build(config("cnn", **AIRBENCH, tta=tta), images(2, 8, 7))
    plain = build(config("cnn", **AIRBENCH, tta="none"), images(2, 8, 7))
    plain.load_state_dict(cnn.state_dict())
    x = torch.randn(5, 2, 8, 7)
    assert torch.equal(cnn(x), plain(x))
    cnn.eval(), plain.eval()
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    views = [(1.0, x)]
    if tta in ("shift", "both"):
        views = [(0.5, x), *((0.25, torch.from_numpy(padded[:, :, k : k + 8, k : k + 7])) for k in (0, 2))]
    if tta in ("mirror", "both"):
        views = [(share / 2, view) for share, each in views for view in (each, each.flip(3))]
    torch.testing.assert_close(cnn(x), sum(share * plain(view) for share, view in views))
    norm = cnn.get_submodule("stages.0.norm")
    norm.train()  # as where batch norm is measured anew for averaged weights
    cnn(x)
    assert norm.num_batches_tracked == 2


def test_a_config_that_is_older_than_a_key_builds_the_net_that_it_meant() -> None:
    old = {"name": "cnn", "channels": 5, "depth": 2, "activation": "relu", "norm": "batch", "dropout": 0.1}
    meta = replace(images(1, 8, 8), patches=())
    net = build(old, meta).eval()
    plain = nn.Sequential(
        *(nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(5, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(40, 10)),
    ).eval()
    plain.load_state_dict(dict(zip(plain.state_dict(), net.state_dict().values(), strict=True)))
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(net(x), plain(x))
    assert list(net.state_dict())[:2] == ["stages.0.conv.weight", "stages.0.conv.bias"]


def test_norms_are_those_of_their_papers() -> None:
    """Of an image, layer norm is over all channels and pixels, with a scale a channel (Wu & He 2018, §3)."""
    x = torch.randn(4, 16, 5, 5)
    torch.testing.assert_close(normalisation("layer", 16, images=True)(x), nn.functional.layer_norm(x, (16, 5, 5)))
    groups = normalisation("group", 16, images=True)(x).view(4, 8, -1)
    torch.testing.assert_close(groups.mean(2), torch.zeros(4, 8), rtol=0, atol=1e-6)
    assert normalisation("group", 12).num_groups == 4
    assert isinstance(normalisation("batch", 12, images=True), nn.BatchNorm2d)


def test_counting_operations_changes_nothing() -> None:
    model = build(config("cnn", norm="batch"), images(1, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    n_operations(model, (1, 8, 8))
    assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_one_hot_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=50), rng.integers(0, 4, 50), rng.integers(0, 7, 50)]).astype(np.float32)
    encoder = OneHotEncoder(categories=[range(4), range(7)], sparse_output=False)
    np.testing.assert_array_equal(OneHot({1: 4, 2: 7})(torch.from_numpy(x)).numpy(), encoder.fit_transform(x[:, 1:]))


def test_categories_matter_by_identity_not_by_size() -> None:
    """A linear model gives each category an offset of its own, whatever the other columns say."""
    model = build(config("linear"), TABLE)
    x = rows(TABLE, 6)
    for column, cardinality in [(4, 5), (5, 100), (6, 3)]:
        outs = []
        for category in range(cardinality):
            x[:, column] = category
            outs.append(model(x).detach())
        steps = torch.stack(outs).diff(dim=0)
        torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=1e-4, atol=1e-5)
        assert steps[:, 0].unique(dim=0).shape[0] == cardinality - 1


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_dropout_stands_in_every_model_so_that_members_agree_in_shape(name: str, p: float) -> None:
    model = build(config(name, dropout=p), images(1, 8, 8))
    found = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert found == [p] * (config(name)["depth"] if name == "mlp" else 1)
    x = torch.randn(64, 1, 8, 8)
    assert torch.equal(model(x), model(x)) == (p == 0)
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_weights_move_to_another_model_by_name(name: str) -> None:
    torch.manual_seed(0)
    meta = images(1, 8, 8) if name in ("cnn", "cell", "supernet") else TABLE
    one, other = (build(config(name), meta).eval() for _ in range(2))
    x = rows(meta, 5)
    for part in [*parts_with_rows(one).values(), *parts_with_rows(other).values()]:
        part.hold(rows(meta, 9), torch.arange(9) % 2, torch.ones(9))
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


def digits_accuracy(model: dict[str, Any], lr: float, epochs: int) -> float:
    x, y = load_digits(return_X_y=True)
    x = ((x - x.mean()) / x.std()).astype(np.float32).reshape(-1, 1, 8, 8)
    parts = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_val, y_train, y_val = map(torch.from_numpy, parts)
    torch.manual_seed(0)
    net = build(model, images(1, 8, 8))
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    for _ in range(epochs):
        for batch in torch.randperm(len(x_train)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x_train[batch]), y_train[batch]).backward()
            optimizer.step()
    return (net.eval()(x_val).argmax(1) == y_val).float().mean().item()


@pytest.mark.parametrize(("name", "at_least"), [("linear", 0.94), ("mlp", 0.97), ("cnn", 0.985)])
def test_defaults_learn_digits(name: str, at_least: float) -> None:
    assert digits_accuracy(config(name), lr=3e-3, epochs=25) >= at_least


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_two_layers_train_with_every_activation(activation: str) -> None:
    assert digits_accuracy(config("mlp", depth=2, activation=activation), lr=5e-3, epochs=12) >= 0.95


@pytest.mark.parametrize(
    ("model", "meta", "says"),
    [
        (config("mlp", width=[50, 50], depth=3), TABLE, "model.width lists 2 layers but model.depth is 3"),
        (config("mlp", width=0), TABLE, "model.width is 0"),
        (config("mlp", width=[50, -1], depth=2), TABLE, "model.width is -1"),
        (config("mlp", depth=0), TABLE, "model.depth is 0"),
        (config("mlp", dropout=1.0), TABLE, "model.dropout is 1.0"),
        (config("mlp", embedding_dim=0), TABLE, "model.embedding_dim is 0"),
        (config("mlp", embedding="piecewise_linear"), images(1, 8, 8), "model.embedding=piecewise_linear needs"),
        (config("mlp", embedding="periodic"), images(1, 8, 8), "model.embedding=periodic needs"),
        (config("mlp", frequency_scale=0.0), TABLE, "model.frequency_scale is 0.0"),
        (config("mlp", frequencies=0), TABLE, "model.frequencies is 0"),
        (config("mlp", n_bins=257), TABLE, "model.n_bins is 257"),
        (config("mlp", embedding="piecewise_linear", bins="tree"), TABLE, "model.bins=tree: the prepared data has no"),
        (config("resnet", hidden_width=0), TABLE, "model.hidden_width is 0"),
        (config("resnet", residual_dropout=1.0), TABLE, "model.residual_dropout is 1.0"),
        (config("tabm", k=0), TABLE, "model.k is 0"),
        (config("cnn"), TABLE, "model.name=cnn needs images"),
        (config("nca"), images(1, 8, 8), "model.name=nca needs a table"),
        (config("nca", candidates=0.0), TABLE, "model.candidates is 0.0"),
        (config("nca", candidates=1.5), TABLE, "model.candidates is 1.5"),
        (config("nca", blocks=-1), TABLE, "model.blocks is -1"),
        (config("nca", dim=0), TABLE, "model.dim is 0"),
        (config("cnn", channels=0), images(1, 8, 8), "model.channels is 0"),
        (config("cnn", depth=0), images(1, 8, 8), "model.depth is 0"),
        (config("cnn", dropout=-0.1), images(1, 8, 8), "model.dropout is -0.1"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(model: dict[str, Any], meta: DataMeta, says: str) -> None:
    with pytest.raises(ValueError, match="model") as refusal:
        build(model, meta)
    message = str(refusal.value)
    assert message.startswith(says)
    assert message.count(". ") == 0
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("name", "nearest"), [("mpl", "mlp"), ("cnnn", "cnn"), ("Linear", "linear"), ("../mlp", "mlp")]
)
def test_unknown_name_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"model\.name: '{name}' is none of .*did you mean {nearest}\?"):
        component("model", {"name": name})


def test_machinery_is_no_name() -> None:
    with pytest.raises(UserError, match=r"model\.name: 'layers' is none of"):
        component("model", {"name": "layers"})


def test_target_names_any_class_of_a_trusted_package() -> None:
    model = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}
    with pytest.raises(UserError, match="outside the trusted packages"):
        build(model, TABLE)
    trust(["torch"])
    assert component("model", model) is nn.Linear
    assert build(model, TABLE)(torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("torch.nn.Nothing", "cannot be imported"),
        ("no_such_package.Net", "outside the trusted packages"),
        ("Net", "outside the trusted packages"),
        ("torch.nn.functional.relu", "derived from torch.nn.Module"),
        ("torch.optim.SGD", "derived from torch.nn.Module"),
        ("torch.__version__", "neither a class nor a function"),
    ],
)
def test_target_that_is_no_model_is_refused(path: str, says: str) -> None:
    trust(["torch"])
    with pytest.raises(UserError, match=rf"model\._target_: {path} .*{says}"):
        component("model", {"_target_": path})


def test_what_is_not_trusted_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `best.yaml` or `bundle.json` is data: neither `subprocess.Popen` nor a module beside it may run."""
    ran = tmp_path / "ran"
    (tmp_path / "theirs.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\nfrom torch.nn import Module\nclass Net(Module): ..."
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for model in ({"_target_": "theirs.Net"}, {"_target_": "subprocess.Popen", "args": ["touch", str(ran)]}):
        with pytest.raises(UserError, match="outside the trusted packages"):
            build(model, TABLE)
    assert not ran.exists()
    monkeypatch.setenv("LOCKSTEP_TRUSTED", "subprocess,theirs")
    with pytest.raises(UserError, match=r"subprocess\.Popen is no model"):
        build({"_target_": "subprocess.Popen", "args": ["touch", str(ran)]}, TABLE)
    assert isinstance(build({"_target_": "theirs.Net"}, TABLE), nn.Module)
    assert ran.exists()
    sys.modules.pop("theirs", None)


def test_a_config_sets_nothing_that_the_data_answer() -> None:
    assert {"self", *FROM_DATA} == checking.FROM_DATA


@pytest.mark.parametrize("name", NAMES)
def test_config_and_constructor_have_the_same_keys(name: str) -> None:
    """The conf entry is the one place of a default, so the constructor has none but what keys mean that came later."""
    parameters = dict(inspect.signature(component("model", {"name": name})).parameters)
    if parameters.pop("embedding", None):
        of_numbers = inspect.signature(number_embedding).parameters
        parameters |= {key: of_numbers[key] for key in NumberEmbedding.__annotations__}
    hyperparameters = set(parameters) - set(FROM_DATA)
    assert hyperparameters == set(config(name)) - {"name"}
    for key in hyperparameters:
        default, added = parameters[key].default, ADDED.get(f"model.{key}")
        assert default is inspect.Parameter.empty or default == config(name)[key] or added is not None, key
        assert added is None or default == added, key
    space = conf_file("model", name).get("space", {"model": {}})["model"]
    assert set(space) <= hyperparameters


def test_models_are_found_without_importing_torch() -> None:
    code = "import sys, src.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 10**9}, "GB to train"),
        ({"width": 2_000_000}, "GB to train"),
        ({"width": 10**12}, "more than any memory can hold"),
        ({"width": 10**30}, "more than any memory can hold"),
        ({"depth": 10**6}, "model.depth is 1000000: it must be at most 1000"),
        ({"width": [64] * 5000, "depth": 5000}, "it must be at most 1000"),
        ({"width": 10**9, "embedding": "piecewise_linear"}, "GB to train"),
        ({"embedding": "piecewise_linear", "embedding_dim": 10**10}, "model: "),
    ],
)
def test_a_model_that_no_memory_holds_is_refused_before_it_is_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        outline(config("mlp", **changes), TABLE)


def test_an_outline_has_the_parameters_of_the_model_and_needs_no_compiler() -> None:
    for name in NAMES:
        meta = images(1, 8, 8) if name in ("cnn", "cell", "supernet") else TABLE
        one, other = outline(config(name), meta), build(config(name), meta)
        shapes = [{key: value.shape for key, value in model.named_parameters()} for model in (one, other)]
        assert shapes[0] == shapes[1]
    imports = "import sys; from tests.models.test_building import TABLE, config, outline"
    code = f"{imports}; outline(config('mlp'), TABLE); sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=CONF.parents[1]).returncode == 0


@pytest.mark.parametrize("variant", ["tabm", "mini", "packed", "batch_ensemble"])
@pytest.mark.parametrize("embedding", [{}, PERIODIC, PIECEWISE])
def test_tabm_has_outputs_of_its_own_for_each_net_in_training(variant: str, embedding: dict[str, Any]) -> None:
    """In evaluation their mean: of probabilities, or of values."""
    for n_classes in (2, 0):
        meta = replace(TABLE, n_classes=n_classes)
        model = build(config("tabm", variant=variant, **TABM | embedding), meta)
        x = rows(meta, 4)
        heads = model(x)
        assert heads.shape == (4, 3, n_classes or 1)
        mean = heads.softmax(2).mean(1) if n_classes else heads.mean(1)
        out = model.eval()(x)
        torch.testing.assert_close(out.softmax(1) if n_classes else out, mean)


def test_tabm_of_an_earlier_version_is_the_same() -> None:
    today = config("tabm", variant="mini", **TABM)
    before = {key: value for key, value in today.items() if key != "variant"} | {"kind": "tabm-mini"}
    one, other = build(before, TABLE).eval(), build(today, TABLE).eval()
    other.load_state_dict(one.state_dict())
    x = rows(TABLE, 5)
    assert torch.equal(one(x), other(x))


def test_a_parametric_activation_begins_as_the_activation_and_a_scale_as_nothing() -> None:
    plain = build(config("mlp", activation="selu"), TABLE)
    more = build(config("mlp", activation="selu", parametric_activation=True, front_scale=True), TABLE)
    more.load_state_dict(more.state_dict() | plain.state_dict())
    x = rows(TABLE, 9)
    torch.testing.assert_close(more(x), plain(x))
    more.get_parameter("hidden.0.activation.degree").data.zero_()
    more.get_parameter("hidden.1.activation.degree").data.zero_()
    y, zero = rows(TABLE, 9), rows(TABLE, 1)
    y[:, 4:], x[:, 4:], zero[:, 4:], zero[:, :4] = x[0, 4:], x[0, 4:], x[0, 4:], 0
    torch.testing.assert_close(more(x + y - zero), more(x) + more(y) - more(zero), rtol=1e-4, atol=1e-4)


def test_a_resnet_s_blocks_add_to_what_goes_around_them() -> None:
    net = build(config("resnet", **RESNET), TABLE).eval()
    for block in net.blocks:
        block[4].weight.data.zero_()
    x = rows(TABLE, 6)
    h = net.input(net.features(x))
    torch.testing.assert_close(net(x), net.output(net.activation(net.norm(h))))
