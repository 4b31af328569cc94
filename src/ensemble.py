"""Join the members of all models, choose on validation, read the test rows once, and register what was chosen.

python -m src.ensemble [models=[mlp,cnn] combiner=average]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import UserError
from src.stage import alone, prepared, stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from src.config import Config


@dataclass(frozen=True)
class Trained:
    """A final member of one of the models."""

    model: str
    how: str
    name: str
    config: dict[str, Any]
    weights: Path
    val: NDArray[np.float32]


@stage
def main(config: Config) -> None:
    """Write `outputs/ensemble/` and `metrics.json`."""
    import numpy as np
    import torch

    from src.data import load_test, val_targets
    from src.files import write_json, write_npz
    from src.metrics import score, selection
    from src.portable import check, export
    from src.serving import load_product

    check(config["export"])
    folder, meta = prepared(config)
    outputs, task, combiner = Path(config["outputs"]), meta["task"], config["combiner"]["name"]
    pool = [member for model in config["models"] for member in read_members(outputs / "train" / model, model, meta)]
    y_val = val_targets(folder)
    by = selection(task)

    chosen: dict[str, tuple[list[int], NDArray[np.float64]]] = {}
    for name, places in candidates(pool).items():
        val_MNC = np.stack([pool[k].val for k in places])
        chosen[f"{name}+{combiner}"] = places, config.make("combiner", config["combiner"], val_MNC, y_val)
    val = {n: score(task, joined([pool[k].val for k in ks], w), y_val) for n, (ks, w) in chosen.items()}
    winner = min(val, key=lambda name: val[name][by])
    singles = [score(task, member.val, y_val) for member in pool]
    single = min(range(len(pool)), key=lambda k: singles[k][by])

    x_test, y_test = load_test(folder)  # the only place where they are read
    test = [predict(member, meta, x_test) for member in pool]
    ensembles = {
        name: {"val": val[name], "test": score(task, joined([test[k] for k in places], weights), y_test)}
        for name, (places, weights) in chosen.items()
    }
    best_single = {
        "name": f"{pool[single].model} {pool[single].name}",
        "val": singles[single],
        "test": score(task, test[single], y_test),
    }
    places, weights = chosen[winner]
    metrics: dict[str, Any] = {
        "chosen": winner,
        **ensembles[winner],
        "best_single": best_single,
        "ensembles": ensembles,
    }
    out = outputs / "ensemble"
    predictions = {"y_test": y_test, "test": joined([test[k] for k in places], weights), "best_single": test[single]}
    write_npz(out / "predictions.npz", predictions)
    _register(config, folder, meta, [pool[k] for k in places], weights, metrics, out)
    for complaint in export(load_product(out / "model"), torch.from_numpy(x_test[:64]), out, config["export"]):
        print(complaint)
    write_json(out / "metrics.json", metrics)
    write_json(Path("metrics.json") if config["outputs"] == "outputs" else outputs / "metrics.json", metrics)
    print(f"{winner}: " + ", ".join(f"test {name} {value:.4f}" for name, value in metrics["test"].items()))


def candidates(pool: list[Trained]) -> dict[str, list[int]]:
    """Which members are tried together: those of each model, and all."""
    models = list(dict.fromkeys(member.model for member in pool))
    how = pool[0].how
    apart = {f"{model}:{how}": [k for k, member in enumerate(pool) if member.model == model] for model in models}
    return apart if len(models) == 1 else {**apart, f"all:{how}": list(range(len(pool)))}


def joined(predictions: list[Any], weights: Any) -> Any:
    """The weighted mean over members."""
    import numpy as np

    return np.tensordot(weights, np.stack(predictions).astype(np.float64), 1)


def predict(member: Trained, meta: dict[str, Any], x: Any) -> Any:
    """Probabilities [N, C] or values [N] of one member."""
    import torch
    from safetensors.torch import load_file

    from src.models import build
    from src.population.member import one_thread

    one_thread()
    module = build(member.config["model"], meta)
    module.load_state_dict(load_file(member.weights))
    module.eval()
    with torch.no_grad():
        output = torch.cat([module(part) for part in torch.split(torch.from_numpy(x), 2048)])
    if meta["task"] == "classification":
        return output.softmax(1).numpy()
    return (output[:, 0] * meta["target_std"] + meta["target_mean"]).numpy()


def read_members(folder: Path, model: str, meta: dict[str, Any]) -> list[Trained]:
    """The members that `train` left in `folder`.

    Raises:
        UserError: one is missing, or they were trained on other data or classes.
    """
    import json

    import numpy as np
    import yaml

    if not (folder / "members.json").exists():
        raise UserError(f"models: {folder}/members.json is missing; run python -m src.train model={model} first")
    found = json.loads((folder / "members.json").read_text())
    if found["class_names"] != meta["class_names"]:
        raise UserError(f"models: {model} was trained for other classes than {meta['name']} has; train it again")
    if found["sha256"] != meta["sha256"]:
        raise UserError(f"models: {model} was trained on data of another digest than {meta['name']}; train it again")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for item in found["items"]:
        for file in (item["weights"], item["predictions"]):
            if not (folder / file).exists():
                raise UserError(f"models: {folder / file} of {model} is missing; train it again")
    return [
        Trained(model, found["members"], i["name"], config, folder / i["weights"], np.load(folder / i["predictions"]))
        for i in found["items"]
    ]


def _register(
    config: Config,
    folder: Path,
    meta: dict[str, Any],
    members: list[Trained],
    weights: Any,
    metrics: dict[str, Any],
    out: Path,
) -> None:
    import json

    from src.data import raw_example
    from src.files import write_json
    from src.metrics import selection
    from src.serving import write_bundle
    from src.study import digest
    from src.tracking import RunRecord, check
    from src.tracking.registry import register

    uri, by = config["tracking"]["uri"], selection(meta["task"])
    check(uri)
    bundle = out / "model"
    write_bundle(
        bundle,
        meta,
        [{"config": m.config, "weights": m.weights, "weight": w} for m, w in zip(members, weights, strict=True)],
        folder,
    )
    figures = {f"{part}/{name}": value for part in ("val", "test") for name, value in metrics[part].items()}
    record = RunRecord(
        "ensemble",
        digest(meta["sha256"], json.dumps(metrics, sort_keys=True))[:16],
        f"ensemble {metrics['chosen']}",
        None,
        "FINISHED",
        {"combiner": config["combiner"]["name"], "models": ", ".join(config["models"]), "members": len(members)},
        metrics=figures,
        tags={"lockstep.stage": "ensemble"},
        dataset=meta,
    )
    with alone(Path(config["study"]["root"]) / "locks" / "register", "the registration of a model"):
        registered = register(
            uri,
            config["data"]["name"],
            record,
            bundle,
            raw_example(folder),
            config["data"]["name"],
            metrics["val"][by],
            higher_is_better=False,
            sha256=meta["sha256"],
        )
    write_json(out / "registered.json", registered)


if __name__ == "__main__":
    main()
