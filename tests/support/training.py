"""What the tests of training share: small data in memory, configs, members, populations."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from src.config.components import make
from src.data.patches import patch_moments
from src.engine.task import WorkerSetup
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.population import Population
from src.population.rows import Rows
from src.system.trial_config import TrialConfig
from tests.support.metas import data_meta

MLP = {"name": "mlp", "width": 32, "depth": 2, "activation": "relu", "norm": "none", "dropout": 0.0}
MLP |= {"embedding": "none", "embedding_dim": 4, "frequencies": 48, "frequency_scale": 0.1, "embedding_lite": True}
EMBEDDING = ("embedding", "embedding_dim", "frequencies", "frequency_scale", "embedding_lite", "bins", "n_bins")
MLP |= {"bins": "quantile", "n_bins": 48, "parametric_activation": False, "front_scale": False}
RESNET = {"name": "resnet", "width": 12, "hidden_width": 20, "depth": 2, "activation": "relu", "norm": "batch"}
RESNET |= {"dropout": 0.1, "residual_dropout": 0.0, "embedding": "none"}
TABM = {"name": "tabm", "variant": "tabm", "k": 3, "width": 12, "depth": 2, "activation": "relu", "dropout": 0.1}
CNN = {"name": "cnn", "channels": 4, "depth": 2, "activation": "relu", "norm": "batch", "dropout": 0.0}
AIRBENCH = {"convolutions": 2, "pooling": "max", "norm": "batch", "norm_scale": False, "initial": "dirac"}
AIRBENCH |= {"whitening": True, "activation": "gelu", "tta": "both"}
ADAMW = {"name": "adamw", "lr": 3e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
ADAPTIVE = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": ADAMW,
    "sgd": {**SGD, "batch_scaling": {"rule": "none", "base_batch": 64, "rise_epochs": 0.0}},
    "adam": {"name": "adam", **ADAPTIVE},
    "nadam": {"name": "nadam", **ADAPTIVE},
    "lion": {"name": "lion", **ADAPTIVE, "lr": 1e-4, "beta2": 0.99},
    "rmsprop": {"name": "rmsprop", "lr": 1e-3, "alpha": 0.99, "momentum": 0.5, "weight_decay": 0.0},
    "adagrad": {"name": "adagrad", "lr": 0.01, "lr_decay": 0.0, "weight_decay": 0.0},
}
CYCLE = {"period": 2.5, "low": 0.1, "momentum_low": 0.8}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"name": "constant"},
    "cosine": {"name": "cosine", "warmup": 0.1, "final": 0.01},
    "step": {"name": "step", "period": 2.5, "gamma": 0.5},
    "exponential": {"name": "exponential", "gamma": 0.8},
    "one_cycle": {"name": "one_cycle", "warmup": 0.3, "start": 0.04, "final": 4e-6, "momentum_low": 0.8},
    "triangular": {"name": "triangular", **CYCLE},
    "triangular2": {"name": "triangular2", **CYCLE},
    "exp_range": {"name": "exp_range", **CYCLE, "gamma": 0.8},
    "sgdr": {"name": "sgdr", "period": 1.7, "growth": 1.5, "final": 0.01},
    "coslog4": {"name": "coslog4", "cycles": 4},
    "flat_cos": {"name": "flat_cos", "flat": 0.4, "final": 0.01},
    "plateau": {"name": "plateau", "gamma": 0.5, "patience": 0, "threshold": 0.2, "cooldown": 1, "final": 0.01},
}
NCA = {"name": "nca", "dim": 8, "blocks": 1, "width": 16, "dropout": 0.1, "candidates": 0.3}
NCA |= {key: MLP[key] for key in EMBEDDING}
N_TRAIN = 420
SECTIONS: dict[str, dict[str, Any]] = {
    "model": {"mlp": MLP, "cnn": CNN, "resnet": RESNET, "tabm": TABM, "linear": {"name": "linear"}, "nca": NCA},
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


TRAINING = ("regularization", "augment", "batch_growth", "accumulate")


def config(
    model: str | Mapping[str, Any] = "mlp",
    optimizer: str = "adamw",
    schedule: str = "constant",
    batch_size: int = 64,
    epochs: int = 10,
    label_smoothing: float = 0.0,
    averaging: Mapping[str, Any] | None = None,
    early_stopping: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **changes: Any,
) -> TrialConfig:
    """A trial's config; a change goes to the section that has its key, or is one of `TRAINING`."""
    names = {"optimizer": optimizer, "schedule": schedule}
    sections = {group: dict(SECTIONS[group][name]) for group, name in names.items()}
    sections["model"] = dict(SECTIONS["model"][model]) if isinstance(model, str) else dict(model)
    sections["training"] = {"label_smoothing": label_smoothing, **(training or {})}
    sections["training"] |= {key: changes.pop(key) for key in TRAINING if key in changes}
    sections["training"] |= {"averaging": {"ema": 0.0, "swa": None} | dict(averaging or {})}
    sections["training"] |= {"early_stopping": {"patience": None, "min_delta": 0.0} | dict(early_stopping or {})}
    for key, value in changes.items():
        next(section for section in sections.values() if key in section)[key] = value
    return TrialConfig.from_json({**sections, "batch_size": batch_size, "epochs": epochs})


@lru_cache
def digits(n_train: int = N_TRAIN, n_val: int = 103) -> Rows:
    """Digits as flat rows."""
    x, y = load_digits(return_X_y=True)
    x = torch.from_numpy((x - x.mean()) / x.std()).float()
    return rows(x, torch.from_numpy(y).long(), n_train, n_val, n_classes=10)


@lru_cache
def images(n_train: int = N_TRAIN, n_val: int = 103) -> Rows:
    """Digits as images."""
    flat = digits(n_train, n_val)
    x_train = flat.x_train.view(-1, 1, 8, 8)
    meta = replace(flat.meta, input_shape=(1, 8, 8), patches=patch_moments(x_train.numpy()))
    return Rows(meta, x_train, flat.y_train, flat.x_val.view(-1, 1, 8, 8), flat.y_val)


CARDINALITIES = [5, 100, 3]  # the second has too many for one-hot columns


@lru_cache
def table(task: str = "classification", n_train: int = N_TRAIN, n_val: int = 103) -> Rows:
    """4 numbers (the last is yes/no) and 3 categories, of which the classes, or a mean of 50 and a spread of 7, follow."""
    draw = np.random.default_rng(7)
    n = n_train + n_val
    numbers = draw.normal(size=(n, 4))
    numbers[:, 3] = numbers[:, 3] > 0
    categories = np.stack([draw.integers(0, c, n) for c in CARDINALITIES], 1)
    signal = numbers[:, 0] - numbers[:, 1] ** 2 + 2 * (categories[:, 1] % 2) + (categories[:, 0] == 2)
    signal = (signal - signal.mean()) / signal.std() + draw.normal(0, 0.1, n)
    x = torch.from_numpy(np.concatenate([numbers, categories], 1)).float()
    bins = [np.quantile(numbers[:, k], np.linspace(0, 1, 9)).tolist() for k in range(3)] + [[0.0, 1.0]]
    more = {"categories": CARDINALITIES, "edges": {"quantile": bins, "tree": [[0.0, 1.0, 0.5, -0.5]] * 4}}
    if task == "classification":
        return rows(x, torch.from_numpy(np.digitize(signal, [-0.5, 0.5])).long(), n_train, n_val, n_classes=3, **more)
    target = {"task": "regression", "target_mean": 50.0, "target_std": 7.0}
    return rows(x, torch.from_numpy(signal).float(), n_train, n_val, n_classes=0, **more, **target)


def rows(x: Tensor, y: Tensor, n_train: int, n_val: int, **meta: Any) -> Rows:
    end = n_train + n_val
    return Rows(
        data_meta(*x.shape[1:], n_train=n_train, n_val=n_val, **meta),
        x[:n_train],
        y[:n_train],
        x[n_train:end],
        y[n_train:end],
    )


def setup(data: Rows, folder: Path) -> WorkerSetup:
    """The data as `prepare` would leave it, for workers; they may name the modules of `zoo`."""
    for part in ("x_train", "y_train", "x_val", "y_val"):
        array = getattr(data, part).numpy()
        if part[0] == "y" and not data.classification:
            array = array * np.float32(data.meta.target_std) + np.float32(data.meta.target_mean)
        np.save(folder / part, array)
    (folder / "meta.json").write_text(json.dumps(data.meta.to_json()))
    return WorkerSetup(folder, "cpu", ("tests",))


def population(
    members: Sequence[Member], data: Rows, states: Sequence[Checkpoint | None] | None = None, fused: bool | None = None
) -> Population:
    def optimizer(config: TrialConfig) -> Any:
        return make("optimizer", config.optimizer)

    def schedule(config: TrialConfig) -> Any:
        return make("schedule", config.schedule)

    return Population(members, data, optimizer, schedule, states, fused)


def trained(
    members: Sequence[Member],
    data: Rows,
    epochs: int,
    states: Sequence[Checkpoint | None] | None = None,
    fused: bool | None = None,
) -> list[Checkpoint]:
    """The members after so many epochs more, in one population."""
    group = population(members, data, states, fused)
    for _ in range(epochs):
        group.epoch()
    return [group.save(k) for k in range(len(members))]


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit: weights, optimizer, curves, predictions."""
    assert one.epoch == other.epoch
    assert tensors(one).keys() == tensors(other).keys()
    for name, a in tensors(one).items():
        b = tensors(other)[name]
        assert torch.equal(a, b), f"{name} differs by {(a.double() - b.double()).abs().max():.2g}"
    assert one.curves == other.curves


def tensors(state: Checkpoint) -> dict[str, Tensor]:
    kept = {f"kept/{name}": tensor for name, tensor in state.prediction_weights.items()}
    return {**state.weights, **state.optimizer, **kept, "predictions": state.predictions}


def digest(states: Sequence[Checkpoint]) -> str:
    total = hashlib.sha256()
    for state in states:
        for name, tensor in tensors(state).items():
            total.update(name.encode() + tensor.numpy().tobytes())
        total.update(repr(state.curves).encode())
    return total.hexdigest()
