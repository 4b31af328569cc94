"""The MLflow UI over a real sweep, as a person would look at it: driven in a headless Chromium."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support import warm
from tests.support.mlflow_server import mlflow_server

ROOT = Path(__file__).parents[1]
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed (Debian: chromium-driver)"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small sweep of two models and a registered ensemble."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "params.yaml").write_text("models: [linear]\n")
    for words in (
        ["prepare"],
        ["sweep", "model=linear", "n_trials=6", "epochs=3"],
        ["train", "model=linear", "members.n=2"],
        ["ensemble", "baselines=[]", "export.pt2=false"],
    ):
        warm.run(folder, *words).check_returncode()
    return folder


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    with mlflow_server(project, "--backend-store-uri", "sqlite:///mlflow.db") as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1900,1200",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


def text_with(browser: webdriver.Chrome, *words: str) -> str:
    """The page's text once it has all of the words."""

    def shown(driver: webdriver.Chrome) -> str | None:
        text = driver.find_element(By.TAG_NAME, "body").text
        return text if all(word in text for word in words) else None

    found = WebDriverWait(browser, 60, ignored_exceptions=[Exception]).until(shown)
    assert found
    return str(found)


def run_names(browser: webdriver.Chrome) -> list[str]:
    """The names in the table of runs, from top to bottom."""
    script = "return [...document.querySelectorAll('[role=row] a[href*=\"/runs/\"]')].map(a => a.textContent)"
    return list(browser.execute_script(script))


def test_trials_are_nested_under_their_sweep(server: str, browser: webdriver.Chrome) -> None:
    browser.get(f"{server}/#/experiments/1/runs")
    text_with(browser, "sweep digits-linear", "train linear")
    assert not any(name.startswith("linear ") for name in run_names(browser))
    for button in browser.find_elements(By.XPATH, "//*[@role='row']//button[not(@role)]"):
        with contextlib.suppress(WebDriverException):
            button.click()
    WebDriverWait(browser, 30).until(lambda b: {f"linear {k}" for k in range(6)} <= set(run_names(b)))


def test_runs_sort_by_validation_accuracy(project: Path, server: str, browser: webdriver.Chrome) -> None:
    query = """select r.name, m.value from runs r join latest_metrics m on m.run_uuid = r.run_uuid
               where m.key = 'val/accuracy' and r.name like 'linear _'"""
    with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as database:
        accuracy = dict(database.execute(query).fetchall())
    browser.get("about:blank")
    browser.get(f"{server}/#/experiments/1/runs?orderByKey=metrics.%60val%2Faccuracy%60&orderByAsc=false")
    text_with(browser, "linear 0", "linear 5")
    shown = [accuracy[name] for name in run_names(browser) if name in accuracy]
    assert len(shown) == 6
    assert shown == sorted(shown, reverse=True)


def test_a_trial_has_its_curves(project: Path, server: str, browser: webdriver.Chrome) -> None:
    run_id = json.loads((project / "outputs/sweep/linear/timing.json").read_text())["trials"]["0"]["run_id"]
    browser.set_window_size(1400, 4000)  # what is not in sight is not drawn
    browser.get(f"{server}/#/experiments/1/runs/{run_id}/model-metrics")
    text_with(browser, "linear 0 (train/loss)", "linear 0 (val/accuracy)")
    WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .scatterlayer path"))


def test_the_ensemble_is_registered_as_champion(server: str, browser: webdriver.Chrome) -> None:
    browser.get(f"{server}/#/models/digits")
    assert "champion" in text_with(browser, "Version 1", "champion")
