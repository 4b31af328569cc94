"""Join the members of all models, choose on validation, read the test rows once, and register what was chosen.

python -m src.ensemble [models=[mlp,cnn] combiner=[average,greedy]]
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.command_line import stage
from src.engine.compatibility import prepared

if TYPE_CHECKING:
    from src.config.loading import Config
    from src.ensembles.row_folds import Fit
from src.serving.registration import register


@partial(stage, several=("combiner",))
def main(config: Config) -> None:
    """Write `outputs/ensemble/` and `metrics.json`."""
    import numpy as np
    import torch

    from src.data.dataset import load_test, train_targets, val_targets
    from src.ensembles import report_data
    from src.ensembles.evaluation import intervals, judge
    from src.ensembles.metrics import selection
    from src.ensembles.pool import latency, parameters, predict, read_pool
    from src.ensembles.selection import compare_combiners
    from src.serving.bundle import load_product
    from src.serving.export import check, export
    from src.system.files import write_json, write_npz

    check(config["export"])
    folder, meta = prepared(config)
    outputs, task, by = Path(config["outputs"]), meta["task"], selection(meta["task"])
    pool, y_val = read_pool(outputs, config["models"], meta), val_targets(folder)
    compared = compare_combiners(pool, combiners(config), y_val, train_targets(folder))
    val_MNC, alone_1 = np.stack([member.val for member in pool]), np.ones(1)
    val = {name: judge(task, c.val, y_val, val_MNC[c.places], c.shares) for name, c in compared.items()}
    winner = min(val, key=lambda name: val[name][by])
    singles = [judge(task, member.val, y_val, member.val[None], alone_1) for member in pool]
    single = min(range(len(pool)), key=lambda k: singles[k][by])
    judged = report_data.on_validation(
        task, by, pool, compared, winner, y_val, [parameters(member, meta) for member in pool]
    )

    x_test, y_test = load_test(folder)  # the only place where they are read
    test_MNC = np.stack([predict(member, meta, x_test) for member in pool])
    joined = {name: each.mixture.predict(test_MNC[each.places]) for name, each in compared.items()}
    test = {n: judge(task, joined[n], y_test, test_MNC[c.places], c.shares) for n, c in compared.items()}
    ensembles = {name: {"val": val[name], "test": test[name]} for name in compared}
    chosen, ours, theirs = compared[winner], joined[winner], test_MNC[single]
    metrics: dict[str, Any] = {
        "chosen": winner,
        "refit": any(pool[k].refit for k in chosen.used),
        **ensembles[winner],
        "interval": intervals(task, ours, y_test),
        "gain": intervals(task, ours, y_test, theirs),
        "best_single": {
            "name": pool[single].title,
            "val": singles[single],
            "test": judge(task, theirs, y_test, theirs[None], alone_1),
            "interval": intervals(task, theirs, y_test),
        },
        "ensembles": ensembles,
    }
    judged |= report_data.on_test(task, pool, chosen, test_MNC, ours, theirs, x_test, y_test)
    out = outputs / "ensemble"
    ms = [latency(member, meta, x_test) for member in pool]  # measured: apart from what is the same every time
    times = {name: sum(ms[k] for k in each.used) for name, each in compared.items()}
    write_json(out / "judged.json", judged)
    write_json(out / "timing.json", {"ms_per_row": {m.title: t for m, t in zip(pool, ms, strict=True)} | times})
    write_npz(out / "predictions.npz", {"y_test": y_test, "test": ours, "best_single": theirs})
    lock = Path(config["study"]["root"]) / "locks" / "register"
    register(
        config["tracking"]["uri"],
        config["data"]["name"],
        lock,
        config["models"],
        folder,
        meta,
        pool,
        chosen,
        metrics,
        out,
    )
    for complaint in export(load_product(out / "model"), torch.from_numpy(x_test[:64]), out, config["export"]):
        print(complaint)
    write_json(out / "metrics.json", metrics)
    write_json(Path("metrics.json") if config["outputs"] == "outputs" else outputs / "metrics.json", metrics)
    print(f"{winner}: " + ", ".join(f"test {name} {value:.4f}" for name, value in metrics["test"].items()))


def combiners(config: Config) -> Iterator[tuple[str, Fit, bool]]:
    """Each combiner of the command line or params.yaml, where asked for with a temperature; and whether `held` is set."""
    from src.ensembles.temperature import calibrated

    for section in config.several["combiner"]:
        fit = partial(config.make, "combiner", section)
        if section["temperature"] is not True:
            yield section["name"], fit, section.get("held", False)
        if section["temperature"]:
            yield f"{section['name']}+temperature", partial(calibrated, fit), section.get("held", False)


if __name__ == "__main__":
    main()
