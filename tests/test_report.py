"""The report: from files in the contract's format to a page that a browser shows without an error or the network."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    FloatDistribution,
)
from optuna.trial import TrialState, create_trial

from src.report import report
from src.reporting import page as pages
from src.reporting import palette, plots, results
from src.system.errors import UserError
from tests.support.made_outputs import (
    DIGITS,
    write_csv,
    write_json,
    write_outputs,
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def housing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("housing"), regression=True, models=("mlp",))


def build(root: Path, models: tuple[str, ...] = ("mlp", "cnn"), **kinds: Any) -> Path:
    write_outputs(root, models=models, **kinds)
    report(root / "outputs", list(models), root / "report", root / "prepared")
    return root


def page(root: Path, models: tuple[str, ...] = ("mlp",), prepared: str = "prepared") -> str:
    report(root / "outputs", list(models), root / "report", root / prepared)
    return (root / "report" / "index.html").read_text(encoding="utf-8")


def without_scripts(html: str) -> str:
    return re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)


def test_page_is_one_file_of_moderate_size(digits: Path) -> None:
    html = (digits / "report" / "index.html").read_text(encoding="utf-8")
    assert len(html.encode()) < 6e6
    assert html.count("* plotly.js v") == 1
    assert not re.findall(r"""(?:src|href)=["'](?!\#|data:)""", without_scripts(html))


@pytest.mark.slow
def test_same_inputs_give_the_same_bytes_in_any_process(digits: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from src.report import report
        root, out = map(Path, sys.argv[1:])
        report(root / "outputs", ["mlp", "cnn"], out, root / "prepared")
    """
    for seed in ("1", "2"):  # of Python's hashes, which order sets
        out = digits / f"again{seed}"
        subprocess.run(
            [sys.executable, "-c", code, digits, out], check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for path in sorted((digits / "report").rglob("*.*")):
            assert (out / path.relative_to(digits / "report")).read_bytes() == path.read_bytes(), path.name


def test_names_of_the_user_stay_text(digits: Path) -> None:
    html = (digits / "report" / "index.html").read_text(encoding="utf-8")
    assert "<b>nine" not in html
    assert "\\u003cb>nine" not in html  # as Plotly would show it bold
    assert "&lt;b&gt;nine" in html


def test_study_is_rebuilt_with_types_conditions_and_curves(digits: Path) -> None:
    study = results.read(digits / "outputs", ["mlp"]).sweeps[0].study
    with (digits / "outputs/sweep/mlp/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(study.trials) == len(rows)
    for trial, row in zip(study.trials, rows, strict=True):
        told = {name.removeprefix("params."): cell for name, cell in row.items() if name.startswith("params.") and cell}
        assert {name: str(value) for name, value in trial.params.items()} == told
        assert type(trial.params["model.width"]) is type(trial.params["model.depth"]) is int
        assert len(trial.intermediate_values) == int(row["epochs"])
        if row["state"] == "pruned":
            assert trial.value == trial.intermediate_values[int(row["epochs"])]
        if row["state"] == "complete":
            assert trial.value == float(row["value"]) == trial.intermediate_values[int(row["epochs"])]


def test_settings_are_compared_at_one_epoch_where_few_trials_complete() -> None:
    study = optuna.create_study(direction="maximize")
    rate = FloatDistribution(0.0, 1.0)
    for number in range(40):  # rungs at 2, 4 and 8 epochs; every other trial goes on
        epochs = 8 if number % 8 == 0 else 4 if number % 4 == 0 else 2
        values = {epoch: number / 40 + epoch / 100 for epoch in range(1, epochs + 1)}
        state = TrialState.COMPLETE if epochs == 8 else TrialState.PRUNED
        trial = {"params": {"x": number / 40}, "distributions": {"x": rate}, "intermediate_values": values}
        study.add_trial(create_trial(state=state, value=values[epochs], **trial))
    view = results.comparable(study)
    assert view.user_attrs["epoch"] == 4
    compared = {trial.number: trial.value for trial in plots.trials(view, "COMPLETE")}
    assert compared == {number: number / 40 + 0.04 for number in range(0, 40, 4)}
    assert results.comparable(view) is view  # enough are complete


def test_headline_is_what_the_predictions_say(digits: Path) -> None:

    found = results.read(digits / "outputs", ["mlp", "cnn"], digits / "prepared")
    with np.load(digits / "outputs/ensemble/predictions.npz") as saved:
        ours, theirs = (saved[name].argmax(1) == saved["y_test"] for name in ("test", "best_single"))
    b, c = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    told = pages.paired(found)
    assert told is not None
    assert (told["wins"], told["losses"], told["rows"]) == (b, c, 360)
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert told["p"] == pytest.approx(min(1.0, 2 * tail))  # McNemar's exact test
    text = without_scripts((digits / "report/index.html").read_text(encoding="utf-8"))
    assert f"<b>{ours.mean():.2%}</b> of 360" in text
    assert f"{(ours.mean() - theirs.mean()) * 100:.2f} points better" in text
    assert ">128<" in text  # trials of both sweeps
    assert re.search(r"seeds\+greedy<span[^>]*>chosen", text)


@pytest.mark.parametrize(
    ("regression", "words"), [(False, "Both are right on the same ones."), (True, "Both are as close")]
)
def test_headline_where_the_ensemble_and_the_single_model_say_the_same(
    tmp_path: Path, regression: bool, words: str
) -> None:
    write_outputs(tmp_path, regression, ("mlp",), 8)
    with np.load(tmp_path / "outputs/ensemble/predictions.npz") as saved:
        same = dict(saved) | {"best_single": saved["test"]}
    np.savez(tmp_path / "outputs/ensemble/predictions.npz", **same)
    text = without_scripts(page(tmp_path))
    assert words in text
    assert "chance" not in text


def test_trials_that_went_wrong_are_listed_with_their_diagnosis(digits: Path) -> None:
    sweep = results.read(digits / "outputs", ["mlp"]).sweeps[0]
    tables = pages.trial_tables(sweep)
    values = [trial.value for trial in tables["best"].trials]
    assert values == sorted((t.value for t in sweep.trials if t.state.name == "COMPLETE"), reverse=True)[:20]
    wrong = {trial.number for trial in tables["wrong"].trials}
    assert {trial.number for trial in sweep.trials if trial.state.name == "FAIL"} <= wrong
    assert not wrong & {trial.number for trial in tables["best"].trials}
    assert tables["best"].settings(tables["best"].trials[0]).keys() >= {"optimizer.lr", "model.depth"}


def test_plots_data(digits: Path, housing: Path) -> None:
    history = read_csv(digits / "report/plots/history.csv")
    values = [float(row["value"]) for row in history]
    assert [float(row["best"]) for row in history] == [max(values[: n + 1]) for n in range(len(values))]
    assert {row["model"] for row in history} == {"mlp", "cnn"}
    confusion = read_csv(digits / "report/plots/confusion.csv")
    with np.load(digits / "outputs/ensemble/predictions.npz") as saved:
        names = [DIGITS[index].replace("<", "‹").replace(">", "›") for index in saved["y_test"]]
    assert [row["actual"] for row in confusion] == names
    assert "‹b›nine‹/b› & co" in names  # DVC's page of plots would run a script in it
    tenths = [int(row["actual"]) for row in read_csv(housing / "report/plots/confusion.csv")]
    assert np.bincount(tenths)[1:].tolist() == [36] * 10
    falling = [float(row["best"]) for row in read_csv(housing / "report/plots/history.csv")]
    assert falling == sorted(falling, reverse=True)
    assert [int(row["epoch"]) for row in read_csv(housing / "report/plots/curves.csv")] == list(range(1, 21))


def test_regression_page(housing: Path) -> None:
    html = (housing / "report/index.html").read_text(encoding="utf-8")
    assert "root mean squared error" in html
    assert all(f'id="{name}"' in html for name in ("predicted", "residuals"))
    assert 'id="confusion"' not in html


@pytest.mark.parametrize(
    ("gone", "note"),
    [
        ("outputs/sweep/mlp/timing.json", "timing.json is not there"),
        ("outputs/sweep/mlp/curves.csv", "The search"),
        ("outputs/sweep/mlp/summary.json", "The search"),
        ("outputs/lr_range", "lr_range.json is not there"),
        ("outputs/train", "classification"),
        ("outputs/ensemble", "No ensemble yet"),
        ("outputs/ensemble/predictions.npz", "predictions.npz is not there"),
        ("prepared", "Report"),
    ],
)
def test_what_is_missing_is_left_out(tmp_path: Path, gone: str, note: str) -> None:
    write_outputs(tmp_path, models=("mlp",), n_trials=12)
    target = tmp_path / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert note in page(tmp_path)


@pytest.mark.parametrize("n_trials", [0, 1, 5])
@pytest.mark.parametrize("state", ["fail", "pruned"])
def test_no_complete_trial(tmp_path: Path, state: str, n_trials: int) -> None:
    write_outputs(tmp_path, models=("mlp",), n_trials=12)
    path = tmp_path / "outputs/sweep/mlp/trials.csv"
    rows = read_csv(path)
    kept = [row | {"state": state, "value": "nan", "diagnosis": "diverged"} for row in rows[:n_trials]]
    write_csv(path, kept or rows[:1])
    if not kept:
        path.write_text(path.read_text().splitlines()[0] + "\n")
    html = page(tmp_path)
    assert "No trial of mlp completed" in html
    assert ("the commonest diagnosis is “diverged”" in html) == (n_trials > 0)
    assert (tmp_path / "report/plots/history.csv").read_text().count("\n") == 1


def test_numbers_that_are_not_finite_do_no_harm(tmp_path: Path) -> None:
    write_outputs(tmp_path, models=("mlp",), n_trials=30)
    folder = tmp_path / "outputs/sweep/mlp"
    rows = read_csv(folder / "trials.csv")
    for row, value in zip(rows, ("nan", "inf", "-inf", ""), strict=False):
        row |= {"state": "complete", "value": value}
    write_csv(folder / "trials.csv", rows)
    write_csv(
        folder / "curves.csv",
        [row | {"val/loss": "nan", "val/accuracy": "inf"} for row in read_csv(folder / "curves.csv")],
    )
    metrics = json.loads((tmp_path / "outputs/ensemble/metrics.json").read_text())
    metrics["ensembles"]["seeds+average"]["test"] = {"accuracy": None, "nll": math.nan}
    write_json(tmp_path / "outputs/ensemble/metrics.json", metrics)
    data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page(tmp_path), re.S)
    assert data
    for figure in data:
        json.loads(figure, parse_constant=lambda name: pytest.fail(f"{name} is no JSON for a browser"))


def test_a_sweep_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_outputs(tmp_path, models=("mlp",), n_trials=12)
    with pytest.raises(UserError, match=r"sweep/cnn/trials\.csv is not there.*drop 'cnn' from models"):
        page(tmp_path, ("mlp", "cnn"))
    with pytest.raises(UserError, match="models is empty"):
        page(tmp_path, ())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (7.31, "7.3 s"),
        (9.99, "10 s"),
        (41.2, "41 s"),
        (59.7, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert pages.duration(seconds) == words


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        pytest.skip("chromium and chromedriver are not on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-sync", "window-size=1400,14000", "enable-unsafe-swiftshader",
                 f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):  # fmt: skip
        options.add_argument(f"--{flag}")
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["digits", "housing"])
def test_page_in_a_browser(browser: Any, kind: str, request: pytest.FixtureRequest) -> None:
    browser.get((request.getfixturevalue(kind) / "report/index.html").as_uri())
    undrawn = (
        "return [...document.querySelectorAll('.chart')].filter(c => !c.querySelector('.main-svg')).map(c => c.id)"
    )
    assert eventually(browser, undrawn, []) == []
    sections = "return [...document.querySelectorAll('section')].map(s => [s.id, s.querySelectorAll('.chart').length])"
    charts = dict(browser.execute_script(sections))
    assert charts["results"] >= 1
    assert all(count >= 9 for name, count in charts.items() if name.startswith("sweep"))
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) == 0

    for scheme, colour in (("light", palette.MUTED), ("dark", palette.PALETTE[palette.MUTED])):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        tick = "return getComputedStyle(document.querySelector('#sweep0-history .xtick text')).fill"
        assert eventually(browser, tick, rgb(colour)) == rgb(colour)

    head = "document.querySelectorAll('#sweep0 .sortable')[0].tHead.rows[0].cells[1]"
    column = (
        "return [...document.querySelectorAll('#sweep0 .sortable')[0].tBodies[0].rows].map(r => +r.cells[1].dataset.v)"
    )
    browser.execute_script(f"{head}.click()")
    assert (down := browser.execute_script(column)) == sorted(down, reverse=True)
    browser.execute_script(f"{head}.click()")
    assert browser.execute_script(column) == sorted(down)

    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    urls = [params["request"]["url"] for params in asked if params["documentURL"].startswith("file:")]
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def eventually(browser: Any, script: str, wanted: Any, seconds: float = 60) -> Any:
    """What the script returns once that is as wanted, or at the end of the patience."""
    deadline = time.monotonic() + seconds
    while (found := browser.execute_script(script)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_the_profile_of_the_data_shows_warnings_first_and_names_as_text(tmp_path: Path) -> None:
    write_outputs(tmp_path, regression=True, models=("mlp",))
    path = tmp_path / "prepared" / "meta.json"
    lines = [
        {"column": "area", "kind": "number", "read_as": "number", "distinct": 1234, "missing": 5, "note": ""},
        {"column": "<i>id</i>", "kind": "id", "read_as": "left out", "distinct": 9000, "missing": 0, "note": "an id"},
    ]
    meta = json.loads(path.read_text(encoding="utf-8")) | {
        "profile": lines,
        "warnings": ["half of the rows are copies"],
    }
    path.write_text(json.dumps(meta), encoding="utf-8")
    section = page(tmp_path).partition('<section id="data">')[2].partition("</section>")[0]
    assert section.index("half of the rows") < section.index("&lt;i&gt;id&lt;/i&gt;") < section.index("area")
    assert "1,234" in section
    assert "an id" in section
    assert "<i>id" not in section
    write_outputs(tmp_path / "older", regression=True, models=("mlp",))
    assert 'id="data"' not in page(tmp_path / "older")


def test_baselines_stand_beside_the_results_with_a_verdict(tmp_path: Path) -> None:
    write_outputs(tmp_path, models=("mlp",))
    file = tmp_path / "outputs" / "ensemble" / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    metrics["baselines"] = {"boosting": {"val": {"accuracy": 0.9123}, "test": {"accuracy": 0.9012}}}
    metrics["best_baseline"] = {"name": "boosting", "verdict": "the nets were worth it: 97 % against 90 %"}
    write_json(file, metrics)
    write_json(file.with_name("timing.json"), {"baseline_seconds": {"boosting": 3.21}})
    html = page(tmp_path)
    assert re.search(r"<td>baseline: boosting\s.*?90\.12%.*?91\.23%", html, flags=re.S)
    assert "<p>The nets were worth it: 97 % against 90 %." in html
    assert "3.2 s (boosting)" in html
