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


@partial(stage, several=("combiner",), output="ensemble")
def main(config: Config) -> None:
    """Write the chosen ensemble into `outputs/ensemble/`, its scores into `metrics.json`, and register it."""
    import torch

    from src.baselines.evaluation import evaluate
    from src.data.dataset import load, load_test, train_targets, val_targets
    from src.engine.compatibility import prepared
    from src.ensembles import results
    from src.ensembles.comparison import compare, final_scores, predict_members
    from src.ensembles.majority import majority_notes
    from src.ensembles.pool import read_notes, read_pool
    from src.ensembles.selection import combiners, compare_combiners
    from src.metrics.listing import selection
    from src.serving.acceptance import Inputs, write_accepted
    from src.serving.bundle import read_bundle
    from src.serving.export import check, export
    from src.serving.registration import register
    from src.system.cores import n_workers
    from src.system.files import require_writable
    from src.system.passed_over import passed_over
    from src.tracking.uri import check as check_uri

    check(config["export"])
    check_uri(config["tracking"]["uri"])
    folder, meta = prepared(config)
    outputs, out = Path(config["outputs"]), Path(config["outputs"]) / "ensemble"
    require_writable("outputs", out)
    unsuited = passed_over(outputs / "train", config["models"])
    models = [model for model in config["models"] if model not in unsuited]
    pool, y_val = read_pool(outputs, models, meta), val_targets(folder)
    candidates, left_out = compare_combiners(pool, combiners(config), y_val, train_targets(folder))
    metric = selection(meta.task, config["ensemble"]["select_by"])
    comparison = compare(metric, pool, candidates, y_val)
    x_test, y_test = load_test(folder)  # the only place where they are read
    on_test = predict_members(pool, x_test)
    inputs = Inputs(load(folder).x_val, y_val, x_test)
    accepted = write_accepted(out / "model", folder, comparison, on_test, inputs)
    scores = final_scores(accepted.comparison, on_test, x_test, y_test)
    refitted = accepted.comparison.ensemble.refit_mixture is not None
    baselines = evaluate(
        config["baselines"], folder, (x_test, y_test), metric, refitted, config["seed"], n_workers(config["workers"])
    )
    figures = scores.metrics | baselines.figures(metric, scores.ensemble, y_test)
    results.write(out, accepted.comparison, scores, x_test, y_test, y_val, baselines.seconds)
    for complaint in export(read_bundle(out / "model").module(), torch.from_numpy(x_test[:64]), out, config["export"]):
        print(complaint)
    lock = Path(config["study"]["root"]) / "locks" / "register"
    addresses = config["tracking"]["uri"], config["tracking"]["experiment"], config["data"]["name"]
    registered = register(*addresses, lock, out / "model", folder, config["data"], accepted, figures)
    metrics = Path("metrics.json") if config["outputs"] == "outputs" else outputs / "metrics.json"
    notes = [*read_notes(outputs, models), *left_out, *comparison.notes, *accepted.notes, *baselines.notes]
    if meta.classification:
        classes = train_targets(folder), meta.class_names
        notes += majority_notes(scores.ensemble, y_test, *classes, scores.metrics["test"])
    results.finish([out / "metrics.json", metrics], figures | {"notes": notes}, out / "registered.json", registered)


if __name__ == "__main__":
    main()
