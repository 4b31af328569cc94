"""All that a command leaves in its folder, thing by thing, so that two runs can be compared: `benchmarks/kills.py`."""

import csv
import hashlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

NEVER_EQUAL = {"timing.json", "registered.json", "SHA256SUMS", "dvc.lock"}  # by a clock, an id, or of such
PICTURES = (".png", ".svg")


def observed(place: Path) -> Counter[tuple[str, str]]:
    """All that a run has left, each thing by its name and content: rows of trials, files, runs of MLflow, versions."""
    seen: Counter[tuple[str, str]] = Counter()
    for path in sorted([*(place / "outputs").rglob("*"), place / "metrics.json"]):
        if path.is_file() and path.name == "trials.csv":
            seen.update((f"trial {row['number']}", json.dumps(row)) for row in csv.DictReader(path.open()))
        if path.is_file() and path.name not in NEVER_EQUAL and path.suffix not in PICTURES:
            seen[f"file {path.relative_to(place)}", hashlib.sha256(path.read_bytes()).hexdigest()] += 1
    if (place / "mlflow.db").exists():
        with closing(sqlite3.connect(f"file:{place}/mlflow.db?mode=ro", uri=True)) as database:
            seen.update(_runs(database, place))
            versions = database.execute("SELECT name, version FROM model_versions").fetchall()
            seen.update((f"version {name} {version}", "") for name, version in versions)
    return seen


def _runs(database: sqlite3.Connection, place: Path) -> list[tuple[str, str]]:
    rows = []
    for run_id, name, status, artifacts in database.execute("SELECT run_uuid, name, status, artifact_uri FROM runs"):
        tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run_id]))
        params = sorted(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", [run_id]))
        points = database.execute(
            "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND key != 'seconds'", [run_id]
        )
        clock = ("seconds", "latency", "timing")
        metrics = sorted(point for point in points if not any(word in point[0] for word in clock))
        model = place / "mlartifacts" / artifacts.partition("/mlartifacts/")[2] / "model"
        files = sorted(path.name for path in model.glob("*"))
        key = f"run {tags.get('lockstep.fingerprint')} {tags.get('lockstep.key', name)}"
        rows.append((key, json.dumps([status, name, params, metrics, files])))
    return rows
