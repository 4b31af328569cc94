"""Files of the stage `ensemble`, and what it says on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.ensembles import report_data
from src.ensembles.comparison import Comparison, FinalScores
from src.ensembles.pool import latency
from src.metrics.listing import default_selection
from src.models.building import n_parameters
from src.system.checksums import write_checksums
from src.system.files import write_json, write_npz


def write(
    out: Path,
    comparison: Comparison,
    scores: FinalScores,
    x_test: NDArray[np.float32],
    y_test: NDArray[Any],
    y_val: NDArray[Any],
    baseline_seconds: Mapping[str, float],
) -> None:
    """Write the figures that the report draws, the seconds that were measured, and predictions for the test rows.

    Args:
        out: the folder of the ensemble.
        comparison: of all candidates.
        scores: on the test rows.
        x_test: these rows, prepared [N, ...].
        y_test: their targets [N].
        y_val: targets of the validation rows [N].
        baseline_seconds: that each baseline took.
    """
    task, pool = comparison.task, comparison.pool
    sizes = [n_parameters(member.net()) for member in pool]
    on_validation = report_data.on_validation(
        task, default_selection(task), pool, comparison.candidates, comparison.chosen, y_val, sizes
    )
    write_json(out / "judged.json", on_validation | scores.report_data)
    ms = [latency(member, x_test) for member in pool]  # measured: apart from what is the same every time
    times = {name: sum(ms[k] for k in each.used) for name, each in comparison.candidates.items()}
    ms_per_row = {m.title: t for m, t in zip(pool, ms, strict=True)} | times
    write_json(out / "timing.json", {"ms_per_row": ms_per_row, "baseline_seconds": baseline_seconds})
    predictions = {"y_test": y_test, "test": scores.ensemble, "best_single": scores.single}
    write_npz(out / "predictions.npz", predictions)


def finish(files: Sequence[Path], metrics: Mapping[str, Any], registered_file: Path, registered: Any) -> None:
    """Write the metrics, which stand only when all else does, and say what was chosen.

    Args:
        files: of the metrics.
        metrics: the scores.
        registered_file: of the registration.
        registered: name, version, alias and address of the registered model.
    """
    write_json(registered_file, registered)
    for file in files:
        write_json(file, metrics)
    write_checksums(registered_file.parent)
    for note in metrics["notes"]:
        print(note)
    which = "members refitted on the validation rows too" if metrics["refit"] else "the members that were judged"
    print(f"{metrics['chosen']}, served by {which}: {_figures(metrics['test'])}")
    if "best_baseline" in metrics:
        print(metrics["best_baseline"]["verdict"])
    print(f"the best single model, {metrics['best_single']['name']}: {_figures(metrics['best_single']['test'])}")
    print(f"{registered['name']} version {registered['version']} is {registered['alias']}: {registered['reason']}")


def _figures(scores: Mapping[str, float]) -> str:
    return ", ".join(f"test {name} {value:.4f}" for name, value in scores.items())
