"""A metric that one file adds, and a kind of data that one file and one YAML add, on their way through all stages."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.metrics.listing import formatted
from tests.support.running import Place

METRIC = "val/macro_f1"
DATA = ("data=parquet", "data.file=mine.parquet", "data.target=y", "data.task=classification")
SMALL = ("model=linear", "models=[linear]", "workers=1")


def write_table(path: Path) -> None:
    """Three classes of unequal numbers, which two columns tell apart in most rows; the third is of words."""
    draw = np.random.default_rng(0)
    y = draw.choice(3, 400, p=[0.6, 0.3, 0.1])
    x = draw.normal(size=(400, 2)) + 1.5 * np.eye(3)[y, :2]
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": draw.choice(["u", "v"], 400), "y": y}).to_parquet(path)


@pytest.mark.slow
def test_a_metric_and_a_reader_are_everywhere(tmp_path: Path) -> None:
    """Macro F1 is in curves, trials, MLflow, metrics.json, `show` and the report, and sweep and ensemble select by it."""
    place = Place(tmp_path)
    write_table(tmp_path / "mine.parquet")
    place.run(*DATA, verb="prepare")
    words = (f"objective.minimize=[{METRIC}]", "n_trials=4", "epochs=3", "search=random", "objective.candidates=1")
    assert "best" in place.run(*DATA, *SMALL, *words).stderr
    place.run(*DATA, *SMALL, "members.n=2", verb="train")
    ensemble = ("ensemble.select_by=macro_f1", "baselines=[]", "export.pt2=false")
    place.run(*DATA, "models=[linear]", *ensemble, verb="ensemble")
    place.run(*DATA, "models=[linear]", verb="report")

    sweep = tmp_path / "outputs/sweep/linear"
    curves, trials = pd.read_csv(sweep / "curves.csv"), pd.read_csv(sweep / "trials.csv")
    assert curves[METRIC].notna().sum() == 4 * 3
    last = curves[curves["epoch"] == 3].set_index("number")[METRIC]
    assert list(trials["value"]) == list(trials[METRIC]) == list(last)
    assert (trials["value"] != trials["val/accuracy"]).any()
    summary = json.loads((sweep / "summary.json").read_text())
    assert (summary["metric"], summary["direction"]) == (METRIC, "maximize")
    assert summary["best_number"] == trials["value"].idxmax()

    steps = place.query(f"SELECT count(*) FROM metrics WHERE key = '{METRIC}' GROUP BY run_uuid")
    assert steps.count((3,)) >= 4, "of each trial, every epoch"
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["chosen_by"] == "macro_f1"
    assert 0 < metrics["test"]["macro_f1"] < 1
    figure = formatted(metrics["test"]["macro_f1"], "macro_f1")
    shown, page = place.run(verb="show").stdout, (tmp_path / "report" / "index.html").read_text()
    assert "macro" in shown
    assert figure in shown
    assert METRIC in page, "on the axes of the sweep"
    assert figure in page
