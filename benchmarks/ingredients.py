"""What each ingredient of a model of tables is worth alone: one net of one seed a row, and nothing searched.

    LOCKSTEP_DATA=../shared/data python benchmarks/ingredients.py [--data adult --seed 0 --only periodic --out results/x.md]

The variants of a row differ in one hyperparameter; the validation rows choose among them, and the best epoch of each. Then
the test rows are read.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_dir

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from src.config.components import make  # noqa: E402
from src.config.compose import CONF  # noqa: E402
from src.config.loading import load as load_config  # noqa: E402
from src.data.dataset import load, load_test, standardise  # noqa: E402
from src.data.preparing import prepare  # noqa: E402
from src.population.checkpoint import Checkpoint  # noqa: E402
from src.population.losses import score  # noqa: E402
from src.population.member import Member, one_thread  # noqa: E402
from src.population.member_rows import with_rows  # noqa: E402
from src.population.population import Population  # noqa: E402
from src.population.rows import Rows  # noqa: E402
from src.population.stack import build_model  # noqa: E402
from src.system.trial_config import TrialConfig  # noqa: E402

COMMON = ["optimizer.lr=1e-3", "optimizer.weight_decay=0.01", "batch_size=256", "schedule=constant"]
COMMON += ["training.early_stopping.patience=6"]
MLP = ["model=mlp", "model.width=192", "model.depth=3", "model.dropout=0.1"]
RESNET = ["model=resnet", "model.width=128", "model.hidden_width=256", "model.depth=2"]
TABM = ["model=tabm", "model.width=128", "model.depth=2", "model.k=16", "optimizer.lr=2e-3"]
LINEAR = ["model.embedding=piecewise_linear", "model.embedding_dim=16"]
PERIODIC = ["model.embedding=periodic", "model.embedding_dim=16"]
Row = tuple[list[str], str, list[Any]]
ROWS: dict[str, Row] = {
    "mlp": (MLP, "optimizer.lr", [1e-3]),
    "mlp, piecewise linear, quantile bins": ([*MLP, *LINEAR], "model.n_bins", [48, 128]),
    "mlp, piecewise linear, tree bins": ([*MLP, *LINEAR, "model.bins=tree"], "model.n_bins", [48, 128]),
    "mlp, periodic": ([*MLP, *PERIODIC], "model.frequency_scale", [0.1, 1.0, 10.0, 40.0]),
    "mlp, periodic, a linear layer each": (
        [*MLP, *PERIODIC, "model.embedding_lite=false"],
        "model.frequency_scale",
        [10.0, 40.0],
    ),
    "resnet, periodic": ([*RESNET, *PERIODIC], "model.frequency_scale", [10.0, 40.0]),
    "tabm": (TABM, "model.variant", ["tabm"]),
    "tabm, piecewise linear, tree bins": ([*TABM, *LINEAR, "model.bins=tree"], "model.variant", ["mini"]),
    "tabm, periodic": ([*TABM, *PERIODIC, "model.frequency_scale=40"], "model.variant", ["mini"]),
    "realmlp": (
        ["experiment=realmlp", "training.early_stopping.patience=8", "epochs=16"],
        "model.frequency_scale",
        [10.0],
    ),
}


def trained(config: TrialConfig, data: Rows, seed: int) -> Checkpoint:
    """Train one member until it stops."""

    def component(group: str) -> Any:
        return lambda trial: make(group, getattr(trial, group))

    group = Population([Member(config, seed)], data, component("optimizer"), component("schedule"))
    for _ in range(config.epochs):
        group.epoch()
        losses = group.curves[0]["val/loss"]
        if len(losses) - 1 - int(np.argmin(losses)) >= (config.training.early_stopping.patience or config.epochs):
            break
    return group.save(0)


def run(row: Row, data: Rows, test: tuple[torch.Tensor, torch.Tensor], seed: int, epochs: int) -> list[Any]:
    """Train the variants of a row; return its best value, epoch, validation and test figure, parameters and seconds."""
    words, key, values = row
    tried, start = [], time.perf_counter()
    for value in values:
        extra = [f"epochs={epochs}"] if not any(word.startswith("epochs=") for word in words) else []
        common = [] if "experiment=realmlp" in words else COMMON
        config = load_config([*common, *words, *extra, f"{key}={value}"]).trial
        state = trained(config, data, seed)
        best = int(np.argmin(state.curves["val/loss"]))
        figure = state.curves["val/accuracy" if data.classification else "val/rmse"][best]
        tried.append((1 - figure if data.classification else figure, value, best + 1, figure, config, state))
    _, value, epoch, figure, config, state = min(tried, key=lambda each: each[0])
    model = build_model(Member(config, seed), data.meta, None)
    model.load_state_dict(with_rows(state.model_weights, model, Member(config, seed), data))
    with torch.no_grad():
        outputs = torch.cat([model.eval()(part) for part in torch.split(test[0], 2048)])
    point = score(outputs[None], test[1][None], data.meta)[0][0]
    size = sum(parameter.numel() for parameter in model.parameters())
    return [
        f"{key.split('.')[1]} {value}",
        epoch,
        figure,
        point["val/accuracy" if data.classification else "val/rmse"],
        size,
        time.perf_counter() - start,
    ]


def main() -> None:
    """Prepare the data, run the rows that are asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="adult")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    one_thread()
    initialize_config_dir(str(CONF), version_base="1.3")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / arguments.data
        prepare(load_config([f"data={arguments.data}"])["data"], folder)
        found = load(folder)
        x_test, y_test = load_test(folder)
        if not found.meta.classification:
            y_test = standardise(y_test, found.meta)
        arrays = (found.x_train, found.y_train, found.x_val, found.y_val, x_test, y_test)
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
    x_train, y_train, x_val, y_val, *test = tensors
    data = Rows(found.meta, x_train, y_train, x_val, y_val)
    lines = [
        "| | chosen | epoch | validation | test | parameters | seconds, all tried |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        if arguments.only in name:
            value, epoch, val, figure, size, seconds = run(
                row, data, (test[0], test[1]), arguments.seed, arguments.epochs
            )
            lines.append(f"| {name} | {value} | {epoch} | {val:.4f} | {figure:.4f} | {size:,} | {seconds:.0f} |")
            print(lines[-1], flush=True)
            if arguments.out:
                arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
