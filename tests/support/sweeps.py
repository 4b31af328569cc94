"""Prepared digits for sweeps as a person runs them, and what must hold of every sweep's MLflow runs and outputs."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from src.population.training_statistics import NAMES
from tests.support.running import Place


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("prepare"))
    place.run(verb="prepare")
    return place.folder / "data" / "prepared"


def check_tracking(place: Place) -> None:
    """MLflow shows each trial once, in its state, with each point of its curves once, below the sweep's run.

    Of the statistics of the training it shows the last point.
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
    shown = Counter(
        (uuid, key, step)
        for uuid, key, step in place.query("SELECT run_uuid, key, step FROM metrics")
        if "best/" not in key
    )
    names = [name for name in place.rows("curves")[0] if name not in ("number", "epoch")]
    last = {row["number"]: row["epoch"] for row in place.rows("curves")}
    assert shown == {
        (trials[int(row["number"])][0], name, int(row["epoch"])): 1
        for row in place.rows("curves")
        for name in names
        if row[name] and (name not in NAMES or row["epoch"] == last[row["number"]])
    }


def check_outputs(place: Place) -> None:
    """The folder says of the best trial what its files say."""
    summary = json.loads((place.out / "summary.json").read_text())
    rows = place.rows()
    complete = {int(row["number"]): float(row["value"]) for row in rows if row["state"] == "complete"}
    assert summary["best_value"] == max(complete.values())
    assert summary["best_number"] == min(n for n, value in complete.items() if value == summary["best_value"])
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
