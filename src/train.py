"""Train the final members from the best config of a sweep, as one population where they can be: for the combiners to
judge on the validation rows, and then again on these rows too, for use.

python -m src.train [model=mlp members=[seeds,bagging]]
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import UserError, of_the_machine
from src.stage import ROOT, alone, prepared, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from src.config import Config
    from src.members.item import Given, Item
    from src.members.making import Making
    from src.population.engine import Engine
    from src.population.worker import Bench
    from src.tracking import RunRecord

CODE = (
    "components.py",
    "config.py",
    "data.py",
    "members",
    "models",
    "optim",
    "population",
    "schema.py",
)  # what can change a member's numbers


@partial(stage, workers=True, several=("members",))
def main(config: Config) -> None:
    """Write `outputs/train/<model>/`: a folder a member, and `members.json`."""
    import shutil

    import yaml

    from src.files import write_json, write_text
    from src.population.member import one_thread
    from src.population.worker import Bench
    from src.tracking import Tracker, check

    model = config["model"]["name"]
    folder, meta = prepared(config)
    check(config["tracking"]["uri"])
    sweep, out = (Path(config["outputs"]) / verb / model for verb in ("sweep", "train"))
    if not (sweep / "best.yaml").exists():
        raise UserError(f"model: {sweep}/best.yaml is not there; run python -m src.sweep model={model} first")
    best = yaml.safe_load((sweep / "best.yaml").read_text())
    one_thread()
    bench = Bench(folder, config["device"], tuple(config["trusted"]))
    refit = config["refit"] and not _reads_validation(config, best)
    lines: list[dict[str, Any]] = []
    held: dict[str, Any] = {}
    with (
        of_the_machine("the same command goes on from here"),
        Tracker(config["tracking"]["uri"], config["data"]["name"]) as tracker,
    ):
        for making, items in _made(config, best, bench, sweep):
            found = _held_score(making.given, items)
            held |= {making.how: found} if found else {}
            tracker.level(_records(model, making, items, found))
            lines += [_write(out, making, item) for item in items]
        if refit:
            for making, items in _made(config, best, replace(bench, whole=True), sweep):
                _write_refit(out, making, items, [line for line in lines if line["members"] == making.how])
        for old in {path.name for path in out.iterdir() if path.is_dir()} - {line["name"] for line in lines}:
            shutil.rmtree(out / old)
        for torn in out.rglob(".*.tmp"):  # by a kill
            torn.unlink()
        write_text(out / "config.yaml", yaml.safe_dump({k: v for k, v in best.items() if k != "earlier"}))
        head = {"model": model, "members": [s["name"] for s in config.several["members"]], "task": meta["task"]}
        head |= {"sha256": meta["sha256"], "class_names": meta["class_names"]}
        write_json(out / "members.json", {**head, "held": held, "items": lines})
        tracker.close()
    for how, found in held.items():
        print(f"{how}, on training rows not seen: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))


def _reads_validation(config: Config, best: dict[str, Any]) -> bool:
    """Whether training by this config looks at the validation rows, which it then cannot learn from."""
    from src.optim.schedules import watched
    from src.population.stopping import stops

    return stops(best) or any(name.startswith("val/") for name in watched(config.make("schedule", best["schedule"])))


def _made(config: Config, best: dict[str, Any], bench: Bench, sweep: Path) -> Iterator[tuple[Making, list[Item]]]:
    """Every way with its items, from the training rows of `bench`."""
    import numpy as np

    from src.data import train_targets, val_targets
    from src.members.item import Given
    from src.population.engine import Engine
    from src.population.worker import rows

    y_train, y_val = train_targets(bench.data), val_targets(bench.data)
    y_train = np.concatenate([y_train, y_val]) if bench.whole else y_train
    given = Given(rows(replace(bench, device="cpu", trusted=())), y_train, y_val, sweep)
    with Engine(bench, config["workers"]) as engine:
        for section in config.several["members"]:
            making = _making(config, section, best, given, engine)
            with alone(making.folder / "lock", f"the training of {config['model']['name']}"):
                yield making, making.items(config.make("members", section, making.best, config["seed"], given))


def _making(config: Config, section: dict[str, Any], best: dict[str, Any], given: Given, engine: Engine) -> Making:
    """One way to make members, in the folder that its inputs name."""
    import json

    from src.members.making import Making
    from src.study import code_digests, digest, target_modules

    code = code_digests(ROOT / "src", CODE, target_modules([best, section]))
    inputs = [best, section, config["seed"], config["device"], code, engine.bench.whole]
    fingerprint = digest(given.rows.meta["sha256"], json.dumps(inputs, sort_keys=True))[:16]
    last = {k: v for k, v in best.items() if k != "earlier"}
    earlier = [(part["until"], part["config"]) for part in best.get("earlier", [])]
    kept = Path(config["study"]["root"]) / "members" / fingerprint
    return Making(section["name"], engine, given, kept, last, earlier)


def _write(out: Path, making: Making, item: Item) -> dict[str, Any]:
    """A folder with the member's files; returns its line of members.json."""
    from safetensors.torch import save

    from src.files import write_bytes, write_npy
    from src.metrics import score

    name, state = item.trained.key, item.trained.state
    predictions = state.predictions.numpy()
    write_bytes(out / name / "weights.safetensors", save(state.model_weights))
    write_npy(out / name / "val.npy", predictions)
    line = {
        "name": name,
        "members": making.how,
        "seed": item.trained.member.seed,
        "val": score(making.given.rows.meta["task"], predictions, making.given.y_val),
        "weights": f"{name}/weights.safetensors",
        "predictions": f"{name}/val.npy",
        "weight": item.weight,
    }
    if item.held is not None:
        write_npy(out / name / "held.npy", item.held)
        line["held"] = f"{name}/held.npy"
    if item.trained.member.config != making.best:
        line["config"] = item.trained.member.config
    return line


def _write_refit(out: Path, making: Making, items: list[Item], lines: list[dict[str, Any]]) -> None:
    """The weights from all rows in the place of those that are judged, if the way has made the same members of them."""
    from safetensors.torch import save

    from src.files import write_bytes

    if not making.outcomes:  # they come from the sweep as they are
        return
    if [item.trained.key for item in items] != [line["name"] for line in lines]:
        print(f"{making.how}: of all rows {len(items)} members come, {len(lines)} of the training rows: those stay")
        return
    for item, line in zip(items, lines, strict=True):
        write_bytes(out / line["weights"], save(item.trained.state.model_weights))
        line["refit"] = True
        if item.trained.member.config != making.best:
            line["config"] = item.trained.member.config


def _held_score(given: Given, items: list[Item]) -> dict[str, float]:
    """What the members together are worth on the training rows that some of them have not seen, each asked of those."""
    import numpy as np

    from src.members.item import held_mean
    from src.metrics import score

    held = [item.held for item in items if item.held is not None]
    if not held:
        return {}
    mean = held_mean(held)
    there = np.isfinite(mean.reshape(len(mean), -1)).all(1)
    return score(given.rows.meta["task"], mean[there], given.y_train[there]) | {"rows": float(there.mean())}


def _records(model: str, making: Making, items: list[Item], held: dict[str, float]) -> list[RunRecord]:
    """The runs of one way, under one of its own."""
    from src.tracking import RunRecord

    fingerprint, meta, how = making.folder.name, making.given.rows.meta, making.how
    tags = {"lockstep.stage": "train", "model": model, "lockstep.members": how}
    figures = {f"held/{name}": value for name, value in held.items()}
    title = f"train {model} {how}"
    records = [RunRecord("train", fingerprint, title, None, "FINISHED", metrics=figures, tags=tags, dataset=meta)]
    ready = {item.trained.key: item.trained.member.config for item in items}
    for key, config in (ready | making.configs).items():
        outcome = making.outcomes.get(key)
        sections = ("model", "optimizer", "schedule", "training", "regularization", "augment")
        params = {f"{section}.{k}": v for section in sections for k, v in config.get(section, {}).items()}
        params |= {key: config[key] for key in ("batch_size", "epochs")}
        records.append(
            RunRecord(
                key,
                fingerprint,
                f"{model} {key}",
                "train",
                "FAILED" if outcome and outcome.error else "FINISHED",
                params,
                outcome.curves if outcome else {},
                tags=tags | {"lockstep.member": key},
                dataset=meta,
            )
        )
    return records


if __name__ == "__main__":
    main()
