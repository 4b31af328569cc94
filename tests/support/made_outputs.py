"""`outputs/` as the stages leave it, with made-up numbers of a realistic shape."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

SPACE: dict[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(["sgd", "adamw"]),
    "sgd/optimizer.lr": FloatDistribution(1e-3, 1.0, log=True),
    "sgd/optimizer.momentum": FloatDistribution(0.0, 0.99),
    "adamw/optimizer.lr": FloatDistribution(1e-5, 1e-1, log=True),
    "model.depth": IntDistribution(1, 4),
    "model.width": CategoricalDistribution([32, 64, 128]),
    "model.dropout": FloatDistribution(0.0, 0.6),
    "batch_size": CategoricalDistribution([32, 64, 128]),
}

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "<b>nine</b> & co"]


def draw_trial(rng: np.random.Generator, good: float) -> tuple[dict[str, Any], float]:
    """Random parameters of SPACE and how far they are from good ones, with the rate as what matters most."""
    optimizer = str(rng.choice(["sgd", "adamw"]))
    rate = 10 ** rng.uniform(-3, 0) if optimizer == "sgd" else 10 ** rng.uniform(-5, -1)
    params = {
        "optimizer": optimizer,
        f"{optimizer}/optimizer.lr": float(rate),
        **({"sgd/optimizer.momentum": float(rng.uniform(0, 0.99))} if optimizer == "sgd" else {}),
        "model.depth": int(rng.integers(1, 5)),
        "model.width": int(rng.choice([32, 64, 128])),
        "model.dropout": float(rng.uniform(0, 0.6)),
        "batch_size": int(rng.choice([32, 64, 128])),
    }
    off = abs(math.log10(rate) - (-0.8 if optimizer == "sgd" else -2.6))
    return params, good + 0.09 * off**2 + 0.12 * params["model.dropout"] ** 2 + 0.012 * abs(params["model.depth"] - 2)


def write_sweep(outputs: Path, model: str, regression: bool, n_trials: int, seed: int, epochs: int = 20) -> None:
    rng = np.random.default_rng(seed)
    metric = "val/rmse" if regression else "val/accuracy"
    sign = 1 if regression else -1
    trials: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for number in range(n_trials):
        params, error = draw_trial(rng, 0.02 if model == "mlp" else 0.03)
        state = "fail" if error > 0.42 else "pruned" if error > 0.16 and rng.random() < 0.7 else "complete"
        ran = {"fail": 3, "pruned": 5, "complete": epochs}[state]
        value = math.nan
        for epoch in range(1, ran + 1):
            rest = error + (0.85 - min(error, 0.5)) * math.exp(-epoch / 2.6) + rng.normal(0, 0.004)
            value = 110_000 * (0.35 + rest) if regression else 1 - min(max(rest, 0.011), 0.95)
            loss = math.nan if state == "fail" and epoch == ran else 2.4 * rest
            overfit = 0.0006 * max(epoch - 12, 0) ** 2
            curves.append({"number": number, "epoch": epoch, "train/loss": 0.72 * loss, "val/loss": loss + overfit,
                           metric: value, "lr": 0.05 * (1 - epoch / (epochs + 1))})  # fmt: skip
        diagnosis = {"fail": "diverged", "pruned": ""}.get(state, "healthy")
        if state == "complete" and error > 0.18:
            diagnosis = "too slow (rate too low)"
        row = {"number": number, "state": state, "value": value if state == "complete" else "", "epochs": ran}
        trials.append(row | {"diagnosis": diagnosis} | {f"params.{name}": params.get(name, "") for name in SPACE})
    complete = [trial for trial in trials if trial["state"] == "complete"]
    best = min(complete, key=lambda trial: sign * trial["value"])
    folder = outputs / "sweep" / model
    write_csv(folder / "trials.csv", trials)
    write_csv(folder / "curves.csv", curves)
    write_json(folder / "summary.json", {
        "study": f"{model}-tpe-6f2c91", "fingerprint": "6f2c91d07be4a3558be05a1f0a2f", "search": "tpe",
        "n_trials": n_trials, "best_number": best["number"], "best_value": best["value"], "metric": metric,
        "states": {state: sum(trial["state"] == state for trial in trials) for state in ("complete", "pruned", "fail")},
        "direction": "minimize" if regression else "maximize",
        "distributions": {name: distribution_to_json(kind) for name, kind in SPACE.items()},
    })  # fmt: skip
    seconds = {str(t["number"]): {"run_id": f"{t['number']:032x}", "seconds": 0.05 * t["epochs"]} for t in trials}
    write_json(folder / "timing.json", {
        "wall_s": 18.4 + n_trials / 10, "train_s": 14.0, "tracking_s": 2.1, "trials_per_minute": 150.0,
        "mlflow_run_id": "a3f1c2d4e5b60718293a4b5c6d7e8f90", "trials": seconds,
    })  # fmt: skip
    rates = np.geomspace(1e-6, 3.0, 90)
    falling = 2.3 - 1.9 / (1 + np.exp(-2.2 * (np.log10(rates) + 2.4)))
    loss = falling + np.maximum(np.log10(rates) + 0.7, 0) ** 2 * 25 + rng.normal(0, 0.01, 90)
    write_json(outputs / "lr_range" / model / "lr_range.json", {
        "suggested_lr": 0.0082, "base_lr": 0.0011, "max_lr": 0.17, "diverged_at": 0.93,
        "curve": [{"lr": float(lr), "loss": float(v), "accuracy": None if regression else float(1 / (0.8 + v))}
                  for lr, v in zip(rates, loss, strict=True)],
    })  # fmt: skip


def write_outputs(
    root: Path, regression: bool = False, models: tuple[str, ...] = ("mlp", "cnn"), n_trials: int = 64
) -> None:
    """`outputs/` and `prepared/` as the stages leave them, with made-up numbers of a realistic shape."""
    rng = np.random.default_rng(3)
    outputs, n_test = root / "outputs", 360
    for seed, model in enumerate(models):
        write_sweep(outputs, model, regression, n_trials, seed)
        members = {"model": model, "members": "seeds", "task": "regression" if regression else "classification"}
        write_json(
            outputs / "train" / model / "members.json",
            members | {"sha256": "9d5ed678fe57bcca610140957afab571", "items": []},
        )
    if regression:
        truth = rng.gamma(4, 52_000, n_test)
        output, single = (truth * 0.93 + 14_000 + rng.normal(0, s, n_test) for s in (44_000, 47_000))
        scores = [{"rmse": float(np.sqrt(np.mean((o - truth) ** 2))), "mae": float(np.mean(abs(o - truth))),
                   "r2": float(1 - np.var(o - truth) / np.var(truth))} for o in (output, single)]  # fmt: skip
    else:
        truth = rng.integers(0, 10, n_test)
        output, single = (probabilities(rng, truth, wrong) for wrong in (0.022, 0.04))
        scores = [{"accuracy": float(np.mean(o.argmax(1) == truth)), "nll": float(-np.log(o[range(n_test), truth]).mean()),
                   "ece": 0.0123} for o in (output, single)]  # fmt: skip
    other = {
        name: value * 1.01 if name in ("nll", "rmse", "mae") else value * 0.995 for name, value in scores[0].items()
    }
    write_json(outputs / "ensemble" / "metrics.json", {
        "val": scores[0], "test": scores[0], "best_single": {"val": scores[1], "test": scores[1]},
        "ensembles": {"seeds+average": {"val": other, "test": other}, "seeds+greedy": {"val": scores[0], "test": scores[0]}},
    })  # fmt: skip
    np.savez(outputs / "ensemble" / "predictions.npz", y_test=truth, test=output, best_single=single)
    write_json(root / "prepared" / "meta.json", {
        "name": "california_housing" if regression else "digits", "task": "regression" if regression else "classification",
        "n_train": 1150, "n_val": 287, "n_test": n_test, "input_shape": [8] if regression else [1, 8, 8],
        "n_classes": 0 if regression else 10, "class_names": [] if regression else DIGITS, "source": "scikit-learn",
        "sha256": "9d5ed678fe57bcca610140957afab571448709560147ce1f703b0944955c7dc5",
    })  # fmt: skip


def probabilities(rng: np.random.Generator, truth: np.ndarray, wrong: float) -> np.ndarray:
    """Softmax outputs that miss about the share `wrong` of the rows."""
    seen = np.where(rng.random(len(truth)) < wrong, rng.integers(0, 10, len(truth)), truth)
    logits = rng.normal(0, 1, (len(truth), 10))
    logits[range(len(truth)), seen] += 7
    exponential = np.exp(logits)
    return exponential / exponential.sum(1, keepdims=True)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
