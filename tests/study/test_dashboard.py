"""optuna-dashboard over our studies: what it shows of a finished one, and of one killed half-way, is what the study says."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.study.study import Study
from tests.support.loopback import free_port
from tests.support.stored import Stored, opened

ROOT = Path(__file__).parents[2]
STATES = {"complete": "Complete", "pruned": "Pruned", "fail": "Fail", "running": "Running", "paused": "Running"}
Ask = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("no_connection_stays")


@pytest.fixture
def url(storage: str, tmp_path: Path, request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("postgres").fresh()) if storage == "postgresql" else None


@pytest.fixture
def dashboard() -> Iterator[Callable[[str], Ask]]:
    """Started on a storage, as a person does; asked by path."""
    started: list[subprocess.Popen[bytes]] = []

    def start(storage: str) -> Ask:
        port = free_port()
        program = Path(sys.executable).with_name("optuna-dashboard")
        words = ["--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref", storage]
        started.append(subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        def ask(path: str) -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=60) as answer:
                return json.load(answer)

        end = time.monotonic() + 60
        while True:
            try:
                ask("meta")
                return ask
            except OSError:
                assert started[-1].poll() is None, "it does not start"
                assert time.monotonic() < end
                time.sleep(0.1)

    yield start
    for process in started:
        process.terminate()
        process.wait()


def killed_half_way(folder: Path, url: str | None) -> Study:
    command = [sys.executable, str(ROOT / "tests" / "support" / "stored.py"), str(folder), url or "", "random"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        for _ in range(20):
            process.stdout.readline()
        process.kill()
    return opened(folder, url)


def finished(folder: Path, url: str | None) -> Study:
    live = Stored(opened(folder, url))
    while live.step():
        pass
    live.study.finish(True)
    return live.study


@pytest.mark.parametrize("storage", ["journal", "postgresql"])
@pytest.mark.parametrize("make", [finished, killed_half_way])
def test_it_shows_what_the_study_says(
    tmp_path: Path, url: str | None, make: Callable[..., Study], dashboard: Callable[[str], Ask]
) -> None:
    study = make(tmp_path, url)
    trials = study.history.trials
    over = {trial.state for trial in trials} <= {"complete", "pruned", "fail"}
    assert over == (make is finished)
    ask = dashboard(url or str(study.folder / "journal.log"))
    (listed,) = ask("studies")["study_summaries"]
    assert listed["study_name"] == study.name
    shown = ask(f"studies/{listed['study_id']}")
    assert shown["objective_names"] == ["loss"]
    assert [trial["state"] for trial in shown["trials"]] == [STATES[trial.state] for trial in trials]
    for theirs, ours in zip(shown["trials"], trials, strict=True):
        values = {point["step"]: point["value"] for point in theirs["intermediate_values"]}
        assert {step: values[step] for step in range(1, ours.epochs + 1)} == dict(enumerate(ours.values, start=1))
        assert {p["name"]: p["param_external_value"] for p in theirs["params"]} == {
            name: str(value) for name, value in ours.params.items()
        }
        diagnosis = [{"key": "diagnosis", "value": ours.reason.text}] if ours.reason else []
        assert theirs["user_attrs"] == diagnosis, "what is of no use to a person stays out of sight"
    assert "code" not in {attribute["key"] for attribute in shown["user_attrs"]}
    (importances,) = ask(f"studies/{listed['study_id']}/param_importances")["param_importances"]
    complete = [trial for trial in trials if trial.state == "complete"]
    if len(complete) > 1:
        names = {item["name"] for item in importances}
        assert "optimizer" in names
        assert names <= {name for trial in trials for name in trial.params}
