"""Train the final members from the best config of a sweep, as one population where they can be.

python -m src.train [model=mlp members=seeds]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import UserError, of_the_machine
from src.stage import ROOT, alone, prepared, stage

if TYPE_CHECKING:
    from src.config import Config
    from src.population.worker import Outcome
    from src.tracking import RunRecord

CODE = (
    "components.py",
    "config.py",
    "data.py",
    "members",
    "models",
    "optim",
    "population",
)  # what can change a member's numbers


@partial(stage, workers=True)
def main(config: Config) -> None:
    """Write `outputs/train/<model>/`: a folder a member, and `members.json`."""
    import json
    import shutil

    import yaml
    from safetensors.torch import save

    from src.data import val_targets
    from src.files import write_bytes, write_json, write_npy, write_text
    from src.metrics import score
    from src.population.engine import Engine
    from src.population.member import State
    from src.population.worker import Bench, Task
    from src.study import code_digests, digest, target_modules
    from src.tracking import Tracker, check

    model, how = config["model"]["name"], config["members"]["name"]
    folder, meta = prepared(config)
    check(config["tracking"]["uri"])
    source = Path(config["outputs"]) / "sweep" / model / "best.yaml"
    if not source.exists():
        raise UserError(f"model: {source} is not there; run python -m src.sweep model={model} first")
    best = yaml.safe_load(source.read_text())
    code = code_digests(ROOT / "src", CODE, target_modules([best, config["members"]]))
    inputs = [best, config["members"], config["seed"], config["device"], code]
    fingerprint = digest(meta["sha256"], json.dumps(inputs, sort_keys=True))[:16]
    kept = Path(config["study"]["root"]) / "members" / fingerprint
    with of_the_machine("the same command goes on from here"), alone(kept / "lock", f"the training of {model}"):
        parts = [*((part["until"], part["config"]) for part in best.pop("earlier", [])), (best["epochs"], best)]
        lines: dict[str, list[Task]] = {}
        for until, part in parts:  # one, or as many as the best trial's lineage has generations
            for k, member in enumerate(config.make("members", config["members"], part, config["seed"])):
                line = lines.setdefault(f"member-{k}", [])
                key = f"member-{k}" if part is best else f"member-{k}-{until}"
                line.append(Task(key, member, until, None, kept / f"{key}.safetensors", lineage=tuple(line)))
        names, tasks = list(lines), [line[-1] for line in lines.values()]
        with (
            Engine(Bench(folder, config["device"], tuple(config["trusted"])), config["workers"]) as engine,
            Tracker(config["tracking"]["uri"], config["data"]["name"]) as tracker,
        ):
            for generation in zip(*lines.values(), strict=True):
                engine.submit(generation)
                outcomes = [outcome for task in generation if (outcome := engine.result(task.key))]
            if failed := [o for o in outcomes if o.error]:
                raise UserError(f"{failed[0].key} of {model} failed: {failed[0].error}\n{failed[0].detail}".strip())
            tracker.level(_records(config, fingerprint, best, meta, outcomes))
            y_val = val_targets(folder)
            out, items = Path(config["outputs"]) / "train" / model, []
            for old in {path.name for path in out.glob("member-*")} - set(names):
                shutil.rmtree(out / old)
            for task in tasks:
                state = State.load(task.checkpoint)
                predictions = state.predictions.numpy()
                write_bytes(out / task.key / "weights.safetensors", save(state.model_weights))
                write_npy(out / task.key / "val.npy", predictions)
                items.append(
                    {
                        "name": task.key,
                        "seed": task.member.seed,
                        "val": score(meta["task"], predictions, y_val),
                        "weights": f"{task.key}/weights.safetensors",
                        "predictions": f"{task.key}/val.npy",
                    }
                )
            write_text(out / "config.yaml", yaml.safe_dump(best))
            head = {"model": model, "members": how, "task": meta["task"], "sha256": meta["sha256"]}
            write_json(out / "members.json", {**head, "class_names": meta["class_names"], "items": items})
            tracker.close()


def _records(
    config: Config, fingerprint: str, best: dict[str, Any], meta: dict[str, Any], outcomes: list[Outcome]
) -> list[RunRecord]:
    from src.tracking import RunRecord

    model, how = config["model"]["name"], config["members"]["name"]
    tags = {"lockstep.stage": "train", "model": model}
    params = {k: v for section in ("model", "optimizer") for k, v in best[section].items()} | {"epochs": best["epochs"]}
    parent = RunRecord("train", fingerprint, f"train {model}", None, "FINISHED", params, tags=tags, dataset=meta)
    return [
        parent,
        *(
            RunRecord(
                outcome.key,
                fingerprint,
                f"{model} {how} {outcome.key}",
                "train",
                "FINISHED",
                params,
                outcome.curves,
                tags=tags | {"lockstep.member": outcome.key},
                dataset=meta,
            )
            for outcome in outcomes
        ),
    ]


if __name__ == "__main__":
    main()
