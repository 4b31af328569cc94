"""MLflow's own variables count where the config says nothing."""

from collections.abc import Iterator

import pytest
from hydra import initialize_config_dir

from src.config.compose import CONF, with_force_add
from src.config.loading import load


@pytest.fixture(autouse=True)
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def tracking(*words: str) -> tuple[str, str]:
    section = load([with_force_add(word) for word in words])["tracking"]
    return section["uri"], section["experiment"]


def test_mlflow_stands_beside_the_project_and_is_named_after_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    assert tracking() == ("sqlite:///mlflow.db", "digits")
    assert tracking("data=adult") == ("sqlite:///mlflow.db", "adult")


def test_the_environment_counts_where_the_command_line_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5001")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert tracking() == ("http://127.0.0.1:5001", "mine")
    assert tracking("tracking.uri=sqlite:///x.db", "tracking.experiment=theirs") == ("sqlite:///x.db", "theirs")
