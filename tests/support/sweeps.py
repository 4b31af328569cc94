"""Prepared digits for sweeps as a person runs them, and what must hold of every sweep's MLflow runs and outputs."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from src.population.training_statistics import NAMES
from tests.support.running import Place


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Path:
    place = Place(tmp_path_factory.mktemp("prepare"))
    place.run(verb="prepare")
    shutil.copy(empty, place.folder / "mlflow.db")
    return place.folder / "data" / "prepared"


def check_tracking(place: Place) -> None:
    """MLflow shows each trial once, in its state, with each point of its curves once, below the sweep's run.

    Of the statistics of the training and of further metrics it shows the last point, unless that is no number.
    """
    states = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}
    study = json.loads((place.out / "summary.json").read_text())
    tag = "(SELECT value FROM tags WHERE run_uuid = r.run_uuid AND key = '{}')".format
    runs = place.query(
        f"SELECT run_uuid, status, {tag('lockstep.trial')}, {tag('lockstep.state')}, {tag('mlflow.parentRunId')} "
        f"FROM runs r WHERE {tag('lockstep.fingerprint')} = '{study['fingerprint']}'"
    )
    assert Counter(place.query("SELECT status FROM runs"))[("RUNNING",)] == 0
    parents = [run for run in runs if run[2] is None]
    assert [run[1] for run in parents] == ["FINISHED"]
    trials = {int(run[2]): run for run in runs if run[2] is not None}
    assert len(runs) == len(trials) + 1
    assert {int(row["number"]): (states[row["state"]], row["state"], parents[0][0]) for row in place.rows()} == {
        number: (run[1], run[3], run[4]) for number, run in trials.items()
    }
    names = [name for name in place.rows("curves")[0] if name not in ("number", "epoch")]
    points = Counter(place.query("SELECT run_uuid, key, step FROM metrics WHERE key NOT LIKE 'best/%'"))
    assert set(points.values()) == {1}
    shown = {point: count for point, count in points.items() if point[1] in names}
    last = {row["number"]: row["epoch"] for row in place.rows("curves")}
    assert shown == {
        (trials[int(row["number"])][0], name, int(row["epoch"])): 1
        for row in place.rows("curves")
        for name in names
        if row[name] and (_is_curve(name) or (row["epoch"] == last[row["number"]] and row[name] != "nan"))
    }


def _is_curve(name: str) -> bool:
    name = name.removesuffix("_std")
    further = name.startswith("val/") and name not in ("val/loss", "val/accuracy", "val/rmse")
    return name not in NAMES and not further


def check_times(place: Place) -> None:
    """Each trial's run has the times of its training, inside those of the sweep's run; seconds and epochs are figures."""
    times = place.query(
        "SELECT t.value, r.start_time, r.end_time, s.value, e.value FROM runs r "
        "LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'lockstep.trial' "
        "LEFT JOIN latest_metrics s ON s.run_uuid = r.run_uuid AND s.key = 'seconds' "
        "LEFT JOIN latest_metrics e ON e.run_uuid = r.run_uuid AND e.key = 'epochs'"
    )
    ((_, began, ended, *_),) = [run for run in times if run[0] is None]
    timing = json.loads((place.out / "timing.json").read_text())["trials"]
    rows = {row["number"]: row for row in place.rows()}
    trials = [run for run in times if run[0] is not None]
    assert trials
    for number, start, end, seconds, epochs in trials:
        assert began <= start < end <= ended
        assert seconds == timing[number]["seconds"]
        assert seconds <= (end - start) / 1000 + 0.01
        assert epochs == int(rows[number]["epochs"])


def check_outputs(place: Place) -> None:
    """The folder says of the best trial what its files say."""
    summary = json.loads((place.out / "summary.json").read_text())
    rows = place.rows()
    complete = {int(row["number"]): float(row["value"]) for row in rows if row["state"] == "complete"}
    second = {int(n): value for n, value in summary.get("second_values", {}).items()}
    assert list(second) == sorted(complete, key=lambda n: (-complete[n], n))[: len(second)], "the best by their values"
    best = (
        max(second, key=lambda n: complete[n] + second[n]) if second else max(complete, key=lambda n: (complete[n], -n))
    )
    assert summary["best_number"] == best
    assert summary["best_value"] == complete[summary["best_number"]]
    assert summary["states"] == {s: sum(row["state"] == s for row in rows) for s in ("complete", "pruned", "fail")}
    assert sorted(path.name for path in (place.out / "weights").iterdir()) == sorted(
        f"{n}.safetensors" for n in complete
    )
    with np.load(place.out / "predictions.npz") as predictions:
        assert set(predictions) == {str(number) for number in complete}
        y_val = np.load(place.folder / "data" / "prepared" / "digits" / "y_val.npy")
        for number, value in complete.items():
            hits = predictions[str(number)].argmax(1) == y_val
            assert hits.mean() == pytest.approx(value)
    best = yaml.safe_load((place.out / "best.yaml").read_text())
    row = rows[summary["best_number"]]
    assert float(row["params.optimizer.lr"]) == best["optimizer"]["lr"]
    assert int(row["params.batch_size"]) == best["batch_size"]
    hidden = load_file(place.out / "weights" / f"{summary['best_number']}.safetensors")
    assert best["model"]["width"] in {shape for array in hidden.values() for shape in array.shape}
