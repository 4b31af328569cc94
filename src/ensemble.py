"""Join the members of all models, choose on validation, read the test rows once, and register what was chosen.

python -m src.ensemble [models=[mlp,cnn] combiner=[average,greedy]]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.stage import alone, prepared, stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from src.combiners.folds import Fit
    from src.combiners.joint import Joint
    from src.config import Config
    from src.pool import Trained


@dataclass(frozen=True)
class Joined:
    """Members and how they are joined: fitted on all validation rows, judged on each by a fit on the others."""

    places: list[int]
    joint: Joint
    val: NDArray[np.float64]


@partial(stage, several=("combiner",))
def main(config: Config) -> None:
    """Write `outputs/ensemble/` and `metrics.json`."""
    import numpy as np
    import torch

    from src.data import load_test, val_targets
    from src.files import write_json, write_npz
    from src.metrics import score, selection
    from src.pool import predict, read_pool
    from src.portable import check, export
    from src.serving import load_product

    check(config["export"])
    folder, meta = prepared(config)
    outputs, task = Path(config["outputs"]), meta["task"]
    pool = read_pool(outputs, config["models"], meta)
    y_val, by = val_targets(folder), selection(task)
    compared = dict(combinations(config, pool, y_val))
    val = {name: score(task, each.val, y_val) for name, each in compared.items()}
    winner = min(val, key=lambda name: val[name][by])
    singles = [score(task, member.val, y_val) for member in pool]
    single = min(range(len(pool)), key=lambda k: singles[k][by])

    x_test, y_test = load_test(folder)  # the only place where they are read
    test = np.stack([predict(member, meta, x_test) for member in pool])
    joined = {name: each.joint.predict(test[each.places]) for name, each in compared.items()}
    ensembles = {name: {"val": val[name], "test": score(task, joined[name], y_test)} for name in compared}
    best_single = {"name": pool[single].title, "val": singles[single], "test": score(task, test[single], y_test)}
    metrics: dict[str, Any] = {
        "chosen": winner,
        **ensembles[winner],
        "best_single": best_single,
        "ensembles": ensembles,
    }
    out = outputs / "ensemble"
    write_npz(out / "predictions.npz", {"y_test": y_test, "test": joined[winner], "best_single": test[single]})
    _register(config, folder, meta, pool, compared[winner], metrics, out)
    for complaint in export(load_product(out / "model"), torch.from_numpy(x_test[:64]), out, config["export"]):
        print(complaint)
    write_json(out / "metrics.json", metrics)
    write_json(Path("metrics.json") if config["outputs"] == "outputs" else outputs / "metrics.json", metrics)
    print(f"{winner}: " + ", ".join(f"test {name} {value:.4f}" for name, value in metrics["test"].items()))


def combinations(config: Config, pool: list[Trained], y_val: NDArray[Any]) -> Iterator[tuple[str, Joined]]:
    """Every group of members with every combiner that is asked for, by `<model>:<members>+<combiner>`."""
    import numpy as np

    from src.combiners.folds import cross_validated
    from src.pool import candidates, says

    for group, places in candidates(pool).items():
        members = [pool[k] for k in places]
        p_MNC, weight_M = np.stack([member.val for member in members]), says(members)
        for combiner, fit in combiners(config):
            val = cross_validated(fit, p_MNC, y_val, weight_M)
            yield f"{group}+{combiner}", Joined(places, fit(p_MNC, y_val, weight_M), val)


def combiners(config: Config) -> Iterator[tuple[str, Fit]]:
    """Each combiner of the command line or params.yaml, and where it is asked for, with a temperature."""
    from src.combiners.temperature import calibrated

    for section in config.several["combiner"]:
        fit = partial(config.make, "combiner", section)
        if section["temperature"] is not True:
            yield section["name"], fit
        if section["temperature"]:
            yield f"{section['name']}+temperature", partial(calibrated, fit)


def _register(
    config: Config,
    folder: Path,
    meta: dict[str, Any],
    pool: list[Trained],
    chosen: Joined,
    metrics: dict[str, Any],
    out: Path,
) -> None:
    import json

    import numpy as np

    from src.data import raw_example
    from src.files import write_json
    from src.metrics import selection
    from src.serving import write_bundle
    from src.study import digest
    from src.tracking import RunRecord, check
    from src.tracking.registry import register

    uri, by = config["tracking"]["uri"], selection(meta["task"])
    check(uri)
    bundle, used = out / "model", np.flatnonzero(chosen.joint.shares)  # who has no share need not be asked
    members = [pool[chosen.places[k]] for k in used]
    entries = [{"config": member.config, **member.nets} for member in members]
    write_bundle(bundle, meta, entries, folder, chosen.joint.of(used))
    figures = {f"{part}/{name}": value for part in ("val", "test") for name, value in metrics[part].items()}
    record = RunRecord(
        "ensemble",
        digest(meta["sha256"], json.dumps(metrics, sort_keys=True))[:16],
        f"ensemble {metrics['chosen']}",
        None,
        "FINISHED",
        {
            "combiner": metrics["chosen"].partition("+")[2],
            "models": ", ".join(config["models"]),
            "members": len(members),
        },
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
