"""The peer: what a careful engineer writes with Optuna, MLflow and a plain PyTorch loop, to search the same space.

A process a core, each of one thread, share a study by its journal; each trains one trial after another and logs it in
one synchronous batch. Nothing is left out that Lockstep does (curves, weights, a run a trial) and nothing is done that
could be left out. Prints one line of JSON.

    python benchmarks/peer_optuna.py --trials 64 --sampler tpe --pruner none --folder /tmp/peer
"""

# ruff: noqa: E402 (the clock starts before the imports)
from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: start-up counts

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

import mlflow
import numpy as np
import optuna
import torch
from mlflow.entities import Metric, Param, RunTag
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

DATA = Path(__file__).parents[1] / "data" / "prepared" / "digits"
STUDY = "digits"
FIXED = {"width": 64, "depth": 2, "dropout": 0.0, "batch_size": 32}


def space(trial: optuna.Trial, fixed_net: bool) -> dict[str, Any]:
    """A point of the anchors' space; the fixed net searches the optimizer alone."""
    optimizer = {
        "lr": trial.suggest_float("lr", 1e-4, 3e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 0.1, log=True),
    }
    if fixed_net:
        return optimizer | FIXED
    return optimizer | {
        "width": trial.suggest_int("width", 32, 128, step=32),
        "depth": trial.suggest_int("depth", 1, 3),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
    }


def mlp(n_in: int, n_out: int, width: int, depth: int, dropout: float) -> nn.Sequential:
    """`depth` hidden layers of `width` units."""
    layers: list[nn.Module] = []
    for k in range(depth):
        layers += [nn.Linear(width if k else n_in, width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(width, n_out))


class Worker:
    """One process: its data, its connections, and the objective."""

    def __init__(self, args: argparse.Namespace, experiment: str) -> None:
        self.args, self.experiment = args, experiment
        self.client = mlflow.MlflowClient(uri(args.folder))
        arrays = (np.load(DATA / f"{name}.npy") for name in ("x_train", "y_train", "x_val", "y_val"))
        self.x_train, self.y_train, self.x_val, self.y_val = (torch.from_numpy(a) for a in arrays)
        self.x_train, self.x_val = self.x_train.flatten(1), self.x_val.flatten(1)

    def objective(self, trial: optuna.Trial) -> float:
        config, began = space(trial, self.args.fixed_net), time.time()
        torch.manual_seed(trial.number)
        model = mlp(self.x_train.shape[1], 10, config["width"], config["depth"], config["dropout"])
        curve: list[dict[str, float]] = []
        pruned = False
        for point in self.epochs(model, config):
            curve.append(point)
            if self.args.pruner != "none":
                trial.report(point["val/accuracy"], len(curve))
                if len(curve) < self.args.epochs and trial.should_prune():
                    pruned = True
                    break
        self.log(trial.number, config, curve, model, began, "KILLED" if pruned else "FINISHED")
        if pruned:
            raise optuna.TrialPruned
        return curve[-1]["val/accuracy"]

    def epochs(self, model: nn.Module, config: dict[str, Any]) -> Iterator[dict[str, float]]:
        """Train; yields the figures of each epoch."""
        batch = config["batch_size"]
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"], fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.args.epochs)
        for _ in range(self.args.epochs):
            model.train()
            total = torch.zeros(())
            for rows in torch.split(torch.randperm(len(self.x_train)), batch):
                loss = cross_entropy(model(self.x_train[rows]), self.y_train[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.detach() * len(rows)
            schedule.step()
            yield {"train/loss": total.item() / len(self.x_train), **self.evaluate(model)}

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        logits: Tensor = model(self.x_val)
        hits = (logits.argmax(1) == self.y_val).double().mean()
        return {"val/loss": cross_entropy(logits, self.y_val).item(), "val/accuracy": hits.item()}

    def log(
        self,
        number: int,
        config: dict[str, Any],
        curve: list[dict[str, float]],
        model: nn.Module,
        began: float,
        state: str,
    ) -> None:
        """The trial's run: parameters, every epoch's figures and the weights."""
        run = self.client.create_run(self.experiment, int(1000 * began), run_name=f"trial {number}")
        now = int(1000 * time.time())
        points = [
            Metric(name, value, now, step) for step, point in enumerate(curve, 1) for name, value in point.items()
        ]
        params = [Param(name, str(value)) for name, value in config.items()]
        tags = [RunTag("trial", str(number))]
        self.client.log_batch(run.info.run_id, points, params, tags, synchronous=True)
        weights = Path(self.args.folder) / f"weights-{os.getpid()}.safetensors"
        save_file(model.state_dict(), weights)
        self.client.log_artifact(run.info.run_id, str(weights), "model")
        self.client.set_terminated(run.info.run_id, state)


def work(args: argparse.Namespace, experiment: str, seed: int) -> None:
    """Train trials until the study has its number."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.load_study(
        study_name=STUDY, storage=storage(args.folder), sampler=samplers[args.sampler](seed=seed), pruner=pruner(args)
    )

    def enough(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.number >= args.trials - args.processes:  # each process ends with one of the last: none too many
            study.stop()

    study.optimize(Worker(args, experiment).objective, callbacks=[enough])


def pruner(args: argparse.Namespace) -> optuna.pruners.BasePruner:
    """The pruner with a ninth of the epochs as its first rung."""
    first = max(1, args.epochs // 9)
    if args.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(first, args.epochs, reduction_factor=3)
    if args.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(first, reduction_factor=3)
    return optuna.pruners.NopPruner()


def storage(folder: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(f"{folder}/journal.log"))


def uri(folder: str) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def make_experiment(folder: str) -> None:
    """Set up a fresh MLflow, before the workers come: two at once would break its database."""
    mlflow.MlflowClient(uri(folder)).create_experiment(STUDY, f"{folder}/artifacts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="a fresh one, for the journal, MLflow and the weights")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--pruner", choices=("none", "hyperband", "asha"), default="none")
    parser.add_argument("--fixed-net", action="store_true", help="64-64, batch 32: only the optimizer is searched")
    args = parser.parse_args()
    args.folder = str(Path(args.folder).absolute())
    Path(args.folder).mkdir(parents=True, exist_ok=True)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=STUDY, storage=storage(args.folder), direction="maximize")
    fork = multiprocessing.get_context("fork")  # children have the imports already
    first = fork.Process(target=make_experiment, args=(args.folder,))  # SQLite's connections do not survive a fork
    first.start()
    first.join()
    workers = [fork.Process(target=work, args=(args, "1", seed)) for seed in range(args.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker failed")

    wall, done = time.perf_counter() - BEGAN, len(study.trials)
    figures = {"wall_s": wall, "trials": done, "best": study.best_value, "trials_per_minute": 60 * done / wall}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
