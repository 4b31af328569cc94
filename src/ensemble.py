"""Join the members of all models, choose on validation, read the test rows once, and register what was chosen.

python -m src.ensemble [models=[mlp,cnn] combiner=[average,greedy]]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.command_line import stage

if TYPE_CHECKING:
    from src.config.loading import Config


@partial(stage, several=("combiner",))
def main(config: Config) -> None:
    """Write `outputs/ensemble/` and `metrics.json`."""
    import torch

    from src.data.dataset import load_test, train_targets, val_targets
    from src.engine.compatibility import prepared
    from src.ensembles import results
    from src.ensembles.comparison import compare, final_scores
    from src.ensembles.pool import read_pool
    from src.ensembles.selection import combiners, compare_combiners
    from src.metrics.listing import selection
    from src.serving import registration
    from src.serving.bundle import read_bundle
    from src.serving.export import check, export
    from src.tracking.uri import check as check_uri

    check(config["export"])
    check_uri(config["tracking"]["uri"])
    folder, meta = prepared(config)
    outputs, out = Path(config["outputs"]), Path(config["outputs"]) / "ensemble"
    pool, y_val = read_pool(outputs, config["models"], meta), val_targets(folder)
    candidates = compare_combiners(pool, combiners(config), y_val, train_targets(folder))
    comparison = compare(selection(meta["task"], config["ensemble"]["select_by"]), pool, candidates, y_val)
    x_test, y_test = load_test(folder)  # the only place where they are read
    scores = final_scores(comparison, x_test, y_test)
    results.write(out, comparison, scores, x_test, y_test, y_val)
    registration.write_served(out / "model", comparison, folder)
    for complaint in export(read_bundle(out / "model").module(), torch.from_numpy(x_test[:64]), out, config["export"]):
        print(complaint)
    lock = Path(config["study"]["root"]) / "locks" / "register"
    registered = registration.register(
        config["tracking"]["uri"],
        config["tracking"]["experiment"],
        config["data"]["name"],
        lock,
        out / "model",
        folder,
        comparison,
        scores.metrics,
    )
    metrics = Path("metrics.json") if config["outputs"] == "outputs" else outputs / "metrics.json"
    results.finish([out / "metrics.json", metrics], scores.metrics, out / "registered.json", registered)


if __name__ == "__main__":
    main()
