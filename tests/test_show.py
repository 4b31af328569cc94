"""`show` prints every number whole, however narrow the terminal, and says what it has left out."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import ROOT

CLASSES = {"accuracy": 0.9375, "nll": 0.123456, "ece": 0.0211, "brier": 0.0987, "macro_f1": 0.91112, "roc_auc": 0.98765}
VALUES = {"rmse": 48211.123, "mae": 31002.9, "r2": 0.81234, "crps": 22987.6}
LABELS = ("mlp:seeds+average", "all:all+stacking+temperature")


def results(scores: dict[str, float | None], **more: Any) -> dict[str, Any]:
    """The content of a `metrics.json` in which every entry has these scores."""
    entry = {"val": scores, "test": scores}
    single = {"name": "mlp seeds-3", **entry}
    return {"chosen": LABELS[0], **entry, "best_single": single, "ensembles": dict.fromkeys(LABELS, entry), **more}


def shown(folder: Path, width: int, metrics: dict[str, Any]) -> str:
    """What a person sees in a terminal so many columns wide."""
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": str(width), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "src.show"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("width", [200, 80, 60, 40])
def test_every_number_is_whole(tmp_path: Path, width: int) -> None:
    text = shown(tmp_path, width, results(dict(CLASSES)))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("93.75%") == 3, "the first metric of three rows"
    assert text.count("0.1235") in (3, 6), "that of the validation rows, by which one is chosen, in any case"
    left_out = re.findall(r"test (\w+)", " ".join(text.partition("too narrow for")[2].split()))
    columns = text.partition("\n│")[2].partition("\n")[0].count("│") - 1
    assert columns == len(CLASSES) - len(left_out) + 1, "and the one of the validation rows"
    assert left_out == list(CLASSES)[len(CLASSES) - len(left_out) :], "from the end"
    assert bool(left_out) is (width < 200)


@pytest.mark.parametrize("width", [80, 60])
def test_large_values_are_whole_too(tmp_path: Path, width: int) -> None:
    text = shown(tmp_path, width, results(dict(VALUES)))
    assert text.count("48,211") == 6, "RMSE of test and validation rows"
    assert "…" not in text


def test_the_chosen_one_is_marked_and_the_names_are_whole(tmp_path: Path) -> None:
    text = shown(tmp_path, 200, results(dict(CLASSES)))
    assert [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")] == [
        "mlp:seeds+average ← chosen",
        "all:all+stacking+temperature",
        "best single: mlp seeds-3",
    ]


def test_names_are_shown_as_they_are_and_are_no_commands_to_a_terminal(tmp_path: Path) -> None:
    metrics = results(dict(CLASSES))
    metrics["ensembles"]["[/red] =cmd \x1b[31m"] = metrics["ensembles"][LABELS[1]]
    assert r"[/red] =cmd \x1b[31m" in shown(tmp_path, 200, metrics)


def test_what_is_undefined_is_a_dash_and_the_metric_that_chose_is_the_last(tmp_path: Path) -> None:
    text = shown(tmp_path, 200, results(CLASSES | {"roc_auc": None}, chosen_by="macro_f1"))
    row = next(line for line in text.splitlines() if "chosen" in line)
    assert [cell.strip() for cell in row.split("│")[-3:-1]] == ["–", "0.9111"]


def test_without_results_one_sentence_says_what_to_run(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "src.show"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: metrics.json is not there; run dvc repro first\n"


def test_baselines_are_rows_behind_the_best_single_model(tmp_path: Path) -> None:
    scores = {"accuracy": 0.8765, "nll": 0.31}
    text = shown(tmp_path, 200, results(dict(CLASSES), baselines={"boosting": {"val": scores, "test": scores}}))
    row = next(line for line in text.splitlines() if "baseline: boosting" in line)
    assert "87.65%" in row
    assert "–" in row, "where it has no such metric"


def test_metrics_that_changed_since_they_were_written_are_refused(tmp_path: Path) -> None:
    """The stage's checksum or DVC's tells; after `git checkout` alone DVC's still does."""
    content = json.dumps(results(dict(CLASSES))).encode()
    changed = content.replace(b"0.9375", b"0.9475")
    lock = f"outs:\n- path: metrics.json\n  md5: {hashlib.md5(content).hexdigest()}\n"
    sums = f"{hashlib.sha256(content).hexdigest()}  metrics.json\n"
    (tmp_path / "outputs" / "ensemble").mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for path, text in ((tmp_path / "dvc.lock", lock), (tmp_path / "outputs" / "ensemble" / "SHA256SUMS", sums)):
        path.write_text(text, encoding="utf-8")
        for metrics, said in ((content, ""), (changed, "error: metrics.json has changed since it was written; ")):
            (tmp_path / "metrics.json").write_bytes(metrics)
            command = [sys.executable, "-m", "src.show"]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8")
            assert (done.returncode, done.stderr.partition("run dvc")[0]) == (bool(said), said)
        path.unlink()
