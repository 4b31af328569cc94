"""The ensemble as one module: fused it answers as its members do one by one, and so do the files that leave the project."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from src.data.dataset import load, load_test
from src.data.preparing import prepare
from src.ensembles.mixture import Committees, Stacking, Temperature, Vote, Weighted, write
from src.models.building import build, n_operations
from src.serving.bundle import read_bundle, write_bundle
from src.serving.ensemble_module import EnsembleModule
from src.serving.export import check, export
from src.serving.fused_nets import WORTH_STACKING, Fused
from src.serving.pyfunc import Ensemble
from src.system.errors import UserError
from src.system.trial_config import TrialConfig
from tests.support.conf import conf_file
from tests.support.metas import data_meta
from tests.support.training import AIRBENCH, config

ROOT = Path(__file__).parents[2]
BOTH = {"pt2": True, "onnx": True}
DIGITS = data_meta(1, 8, 8, patches=np.eye(9).tolist())


def conf(group: str, name: str, **values: Any) -> dict[str, Any]:
    found = conf_file(group, name)
    return {key: value for key, value in found.get(group, found).items() if key != "defaults"} | values


MLP, CNN = conf("model", "mlp", width=32), conf("model", "cnn", channels=4, norm="batch")
VIEWS = CNN | AIRBENCH


def net(model: dict[str, Any], meta: Any, seed: int) -> nn.Module:
    """Any weights, and running statistics as after training."""
    torch.manual_seed(seed)
    made = build(model, meta)
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
    return made.eval()


def member(model: dict[str, Any], meta: Any, seed: int) -> tuple[TrialConfig, dict[str, Tensor]]:
    return config(model), net(model, meta, seed).state_dict()


def boosted(meta: Any, coefficients: list[float]) -> tuple[TrialConfig, dict[str, Tensor]]:
    """A sum of perceptrons, as gradient boosting makes it; the k-th is `net(MLP, meta, k)`."""
    nets = [net(MLP, meta, k).state_dict() for k in range(len(coefficients))]
    weights = {f"parts.{k}.{name}": value for k, part in enumerate(nets) for name, value in part.items()}
    return config({"name": "additive", "of": MLP, "coefficients": coefficients}), weights


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    prepare(conf("data", "digits"), folder)
    return folder


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression on numbers and a word."""
    folder = tmp_path_factory.mktemp("prices")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.normal(size=300), "word": rng.choice(["red", "green"], 300)})
    rows["price"] = 1e6 + 2e5 * rows["a"] + 7e4 * (rows["word"] == "red")
    rows.to_csv(folder / "t.csv", index=False)
    prepare(conf("data", "csv", root=str(folder), file="t.csv", target="price", task="regression"), folder / "prepared")
    return folder / "prepared"


# --- fused -------------------------------------------------------------------------------------------------------------


class Centred(nn.Module):
    """A user's own that no stack can hold: its way forward depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output(x.flatten(1))
        return out - out.mean() if out.mean().item() > 0 else out


@pytest.mark.parametrize("rows", [1, 3, 64, 700])
def test_fused_nets_answer_as_each_alone(rows: int) -> None:
    models = [MLP, CNN, MLP, conf("model", "mlp", norm="batch", activation="gelu"), CNN, MLP, conf("model", "linear")]
    nets = [net(model, DIGITS, seed) for seed, model in enumerate(models)] + [Centred(), Centred()]
    signatures = [*map(json.dumps, models), "mine", "mine"]
    x = torch.randn(rows, 1, 8, 8)
    with torch.no_grad():
        alone = torch.stack([each(x) for each in nets])
        fused = Fused(nets, signatures, (1, 8, 8))
        torch.testing.assert_close(fused(x), alone, rtol=1e-4, atol=1e-5)
        assert torch.equal(torch.stack([each(x) for each in nets]), alone), "the nets themselves are as they were"
    assert [len(group.nets) for group in fused.groups if group.rows] == [3, 2]


def test_what_is_stacked_is_a_small_batch_of_alike_nets() -> None:
    """Counted: a stack calls its one module once, where nets alone are called each."""
    nets = [net(MLP, DIGITS, seed) for seed in range(5)]
    fused, most = Fused(nets, ["same"] * 5, (1, 8, 8)), WORTH_STACKING // n_operations(nets[0], (1, 8, 8))
    calls: list[int] = []
    for each in nets:
        each.register_forward_hook(lambda _, arguments, out: calls.append(len(arguments[0])))
    with torch.no_grad():
        fused(torch.zeros(most, 1, 8, 8))
        assert calls == []
        fused(torch.zeros(most + 1, 1, 8, 8))
        assert calls == [most + 1] * 5


def test_the_weights_lie_in_memory_once() -> None:
    nets = [net(CNN, DIGITS, seed) for seed in range(3)]
    Fused(nets, ["same"] * 3, (1, 8, 8))
    stores = [{tensor.untyped_storage().data_ptr() for tensor in each.state_dict().values()} for each in nets]
    assert stores[0] == stores[1] == stores[2]


# --- the bundle --------------------------------------------------------------------------------------------------------


def test_a_boosted_member_is_the_sum_of_its_nets(digits: Path, tmp_path: Path) -> None:
    meta, coefficients = load(digits).meta, [1.0, 0.5, 0.25]
    members = [boosted(meta, coefficients), member(CNN, meta, 7)]
    write_bundle(tmp_path / "b", meta, members, digits, Weighted([0.75, 0.25]))
    x = np.array(load(digits).x_val[:50])
    np.testing.assert_allclose(Ensemble(tmp_path / "b").outputs(x), expected_sum(meta, coefficients, x), atol=1e-6)


def expected_sum(meta: Any, coefficients: list[float], x: Any) -> Any:
    """Three quarters of a sum of perceptrons and one of a CNN, by hand."""
    rows = torch.from_numpy(x)
    with torch.no_grad():
        raw = torch.stack([c * net(MLP, meta, k)(rows).double() for k, c in enumerate(coefficients)]).sum(0)
        return 0.75 * raw.softmax(1) + 0.25 * net(CNN, meta, 7)(rows).double().softmax(1)


def test_a_boosted_member_of_earlier_versions_still_loads(digits: Path, tmp_path: Path) -> None:
    """They wrote its nets as files of their own, with coefficients in bundle.json."""
    meta, coefficients, folder = load(digits).meta, [1.0, 0.5, 0.25], tmp_path / "b"
    nets = [member(MLP, meta, k) for k in range(3)]
    write_bundle(folder, meta, [*nets, member(CNN, meta, 7)], digits, Weighted([0.75, 0.25]))
    parts = [{"file": f"member-{k}.safetensors", "coefficient": c} for k, c in enumerate(coefficients)]
    entries = [{"config": {"model": MLP}, "parts": parts}, {"config": {"model": CNN}, "file": "member-3.safetensors"}]
    write(Weighted([0.75, 0.25]), folder / "joint.safetensors")
    (folder / "bundle.json").write_text(json.dumps({"format": 3, "members": entries}))
    (folder / "SHA256SUMS").unlink()
    x = np.array(load(digits).x_val[:50])
    np.testing.assert_allclose(Ensemble(folder).outputs(x), expected_sum(meta, coefficients, x), atol=1e-6)


def test_answers_from_many_threads_at_once(digits: Path, tmp_path: Path) -> None:
    """`mlflow models serve` asks from a pool of threads."""
    meta = load(digits).meta
    write_bundle(tmp_path / "b", meta, [member(MLP, meta, seed) for seed in range(8)], digits)
    ensemble, x = Ensemble(tmp_path / "b"), np.array(load(digits).x_val[:16])
    expected, answers = ensemble.outputs(x), []
    threads = [
        threading.Thread(target=lambda: answers.extend(ensemble.outputs(x) for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert all(np.array_equal(answer, expected) for answer in answers)


def test_a_bundle_of_the_first_format_still_loads(digits: Path, tmp_path: Path) -> None:
    meta = load(digits).meta
    write_bundle(tmp_path / "b", meta, [member(MLP, meta, 0), member(CNN, meta, 1)], digits, Weighted([0.75, 0.25]))
    file, x = tmp_path / "b" / "bundle.json", np.array(load(digits).x_val[:20])
    expected = Ensemble(tmp_path / "b").outputs(x)
    members = [
        {"config": {"model": model}, "file": f"member-{k}.safetensors", "weight": weight}
        for k, (model, weight) in enumerate([(MLP, 0.75), (CNN, 0.25)])
    ]
    for name in ("joint.safetensors", "SHA256SUMS"):
        (tmp_path / "b" / name).unlink()
    file.write_text(json.dumps({"members": members}))
    np.testing.assert_array_equal(Ensemble(tmp_path / "b").outputs(x), expected)
    file.write_text(json.dumps({"format": 99, "members": members}))
    with pytest.raises(UserError, match=r"format 99.*update"):
        Ensemble(tmp_path / "b")


# --- files that leave the project --------------------------------------------------------------------------------------


def answers(folder: Path, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """What the two files say, as their own runtimes load them."""
    program = torch.export.load(folder / "model.pt2").module()
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return [program(torch.from_numpy(x)).numpy(), session.run(None, {"x": x})[0]]


@pytest.mark.slow
def test_exported_classes_are_the_served_ones(digits: Path, tmp_path: Path) -> None:
    meta = load(digits).meta
    mixed = [member(MLP, meta, 3), member(CNN, meta, 4), member(VIEWS, meta, 5), boosted(meta, [0.5, 0.5])]
    write_bundle(tmp_path / "b", meta, mixed, digits, Weighted([0.4, 0.2, 0.2, 0.2]))
    x, _ = load_test(digits)
    x, module = np.array(x), read_bundle(tmp_path / "b").module()
    expected = Ensemble(tmp_path / "b").outputs(x)
    assert export(module, torch.from_numpy(x), tmp_path, BOTH) == []
    for rows in (1, 2, len(x)):
        for answer in answers(tmp_path, x[:rows]):
            np.testing.assert_allclose(answer, expected[:rows], atol=1e-5)
    first = [(tmp_path / f"model.{kind}").read_bytes() for kind in BOTH]
    assert export(read_bundle(tmp_path / "b").module(), torch.from_numpy(x), tmp_path, BOTH) == []
    assert [(tmp_path / f"model.{kind}").read_bytes() for kind in BOTH] == first
    assert not any(str(ROOT).encode() in content for content in first), "where it was made is nobody's business"


@pytest.mark.slow
def test_exported_values_are_the_served_ones_in_the_targets_unit(prices: Path, tmp_path: Path) -> None:
    meta = load(prices).meta
    embedded = conf("model", "mlp", width=16, norm="layer", embedding="piecewise_linear")
    periodic = {"embedding": "periodic", "frequencies": 5, "embedding_dim": 3}
    trees = {"embedding": "piecewise_linear", "bins": "tree", "n_bins": 7}
    kinds = [
        conf("model", "resnet", width=12, hidden_width=20, **periodic),
        conf("model", "resnet", width=12, hidden_width=20, **periodic | {"frequency_scale": 9.0}),
        conf("model", "tabm", width=12, k=3, **trees),
        conf("model", "tabm", width=12, k=3, variant="mini", **periodic | {"embedding_lite": False}),
        conf("model", "mlp", width=12, activation="mish", parametric_activation=True, front_scale=True),
    ]
    members = [member(model, meta, seed) for seed, model in enumerate([embedded, embedded, MLP, *kinds])]
    write_bundle(tmp_path / "b", meta, members, prices)
    x, _ = load_test(prices)
    x = np.array(x)
    expected = Ensemble(tmp_path / "b").outputs(x)
    assert expected.std() > 1e4
    assert export(read_bundle(tmp_path / "b").module(), torch.from_numpy(x), tmp_path, BOTH) == []
    for rows in (1, len(x)):
        for answer in answers(tmp_path, x[:rows]):
            np.testing.assert_allclose(answer, expected[:rows], rtol=1e-5)


VALUED = data_meta(1, 8, 8, n_classes=0, target_mean=1e4, target_std=1e3)
MIXTURES = {
    "vote": (DIGITS, Vote([0.25, 0.25, 0.5])),
    "calibrated stacking": (DIGITS, Temperature(Stacking(torch.rand(3, 10, 10), torch.rand(10)), 1.5)),
    "committees": (DIGITS, Committees(Stacking(torch.rand(2, 10, 10), torch.rand(10)), [[0.5, 0.5, 0], [0, 0, 1]])),
    "ridge": (VALUED, Weighted([1.2, -0.1, 0.3], -40.0)),
    "median": (VALUED, Vote([0.25, 0.25, 0.5])),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXTURES)
def test_every_mixture_can_leave(name: str, tmp_path: Path) -> None:
    meta, mixture = MIXTURES[name]
    linear = conf("model", "linear")
    module = EnsembleModule([net(linear, meta, seed) for seed in range(3)], mixture, meta).eval().requires_grad_(False)
    x = torch.randn(40, 1, 8, 8)
    assert export(module, x, tmp_path, BOTH) == []
    for rows in (1, 40):
        for answer in answers(tmp_path, x[:rows].numpy()):
            np.testing.assert_allclose(answer, module(x[:rows]), rtol=1e-5, atol=1e-8)


LOOKING_UP = ["nca"]  # test_neighbours.py
NEVER_SERVED = ["supernet", "table_supernet"]  # the nets of the cells that they end with are


@pytest.mark.parametrize(
    "name", sorted({path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")} - {*LOOKING_UP, *NEVER_SERVED})
)
def test_every_model_is_stacked_and_can_leave(name: str, tmp_path: Path) -> None:
    nets = [net(conf("model", name), DIGITS, seed) for seed in range(2)]
    fused = Fused(nets, ["alike"] * 2, (1, 8, 8))
    assert fused.groups[0].rows > 0
    x = torch.randn(min(5, fused.groups[0].rows), 1, 8, 8)  # of more rows a large net is faster by itself
    with torch.no_grad():
        torch.testing.assert_close(fused(x), torch.stack([each(x) for each in nets]), rtol=1e-4, atol=1e-5)
    module = EnsembleModule(nets, Weighted([0.5, 0.5]), DIGITS).eval().requires_grad_(False)
    assert export(module, x, tmp_path, {"pt2": True, "onnx": False}) == []


def test_what_no_graph_can_hold_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_text("of an ensemble before")
    module = EnsembleModule([Centred()], Weighted([1.0]), DIGITS).eval()
    (said,) = export(module, torch.randn(4, 1, 8, 8), tmp_path, {"pt2": True, "onnx": False})
    assert said.startswith("export.pt2: this ensemble cannot be such a file: ")
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


def test_onnx_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"export\.onnx: onnx, onnxscript must be installed.*\[onnx\]"):
        check({"pt2": True, "onnx": True})
    check({"pt2": True, "onnx": False})
