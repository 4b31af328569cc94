"""From a bundle to answers: predictions are those of scikit-learn's model, wherever and however the bundle is loaded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression

from src.data.dataset import load, load_test, raw_example
from src.data.preparing import prepare
from src.ensembles.mixture import Weighted
from src.models.building import build
from src.serving.bundle import read_bundle, write_bundle
from src.serving.pyfunc import Ensemble
from src.serving.registration import scores_on_newer_rows
from src.system.errors import UserError
from src.tracking.record import RunRecord
from src.tracking.tracker import Tracker
from tests.support.loopback import free_port
from tests.support.training import config

ROOT = Path(__file__).parents[2]
LINEAR = config("linear")

# MLflow's own, on import
pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning",
    "ignore::DeprecationWarning:mlflow",
    "ignore:.*Any type hint:UserWarning",
)


def conf(name: str, **values: Any) -> dict[str, Any]:
    group = yaml.safe_load((ROOT / "conf" / "data" / f"{name}.yaml").read_text())
    return {key: value for key, value in group.items() if key != "defaults"} | values


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    prepare(conf("digits"), folder)
    return folder


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression on two numbers and a word."""
    folder = tmp_path_factory.mktemp("prices")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"a": rng.normal(size=400), "b": rng.normal(size=400), "word": rng.choice(["red", "green"], 400)}
    )
    rows["price"] = 100 + 20 * rows["a"] - 5 * rows["b"] + 7 * (rows["word"] == "red") + rng.normal(size=400)
    rows.to_csv(folder / "t.csv", index=False)
    prepare(conf("csv", root=str(folder), file="t.csv", target="price", task="regression"), folder / "prepared")
    return folder / "prepared"


def softmax_regression(prepared: Path, c: float) -> tuple[LogisticRegression, dict[str, torch.Tensor]]:
    """scikit-learn's fit, and the same as the weights of `linear`."""
    data = load(prepared)
    fit = LogisticRegression(C=c, max_iter=200, tol=1e-2).fit(data.x_train.reshape(len(data.x_train), -1), data.y_train)
    names = build(LINEAR.model, data.meta).state_dict()
    values = {(10, 64): fit.coef_, (10,): fit.intercept_}
    return fit, {name: torch.tensor(values[tuple(like.shape)], dtype=torch.float32) for name, like in names.items()}


def digits_bundle(folder: Path, prepared: Path) -> tuple[Path, list[LogisticRegression]]:
    """Two softmax regressions, at 3 to 1."""
    (one, first), (two, second) = softmax_regression(prepared, 1.0), softmax_regression(prepared, 0.001)
    mixture = Weighted([0.75, 0.25])
    write_bundle(folder / "bundle", load(prepared).meta, [(LINEAR, first), (LINEAR, second)], prepared, mixture)
    return folder / "bundle", [one, two]


def raw_images() -> np.ndarray[Any, Any]:
    from sklearn.datasets import load_digits

    return load_digits().images[:, None].astype(np.uint8)


def expected_probabilities(fits: list[LogisticRegression], prepared: Path) -> np.ndarray[Any, Any]:
    """Of the whole data set, standardised as `prepare` does: by the pixels' one mean and deviation in the training rows."""
    x = raw_images().reshape(-1, 64)
    raw_train = _raw_training_rows(prepared)
    z = (x - raw_train.mean()) / raw_train.std()
    return np.asarray(0.75 * fits[0].predict_proba(z) + 0.25 * fits[1].predict_proba(z))


def _raw_training_rows(prepared: Path) -> np.ndarray[Any, Any]:
    """The raw pixels of the prepared training rows: pixels are 0 to 16, so the standardised ones count up from the least."""
    x = np.asarray(load(prepared).x_train, np.float64)
    step = np.min(np.diff(np.unique(x.round(4))))
    return np.round((x - x.min()) / step)


def test_an_ensemble_is_the_weighted_mean_of_its_members(digits: Path, tmp_path: Path) -> None:
    bundle, fits = digits_bundle(tmp_path, digits)
    answer = Ensemble(bundle).predict(raw_images())
    expected = expected_probabilities(fits, digits)
    assert list(answer.columns) == ["prediction", *(f"p_{name}" for name in range(10))]
    np.testing.assert_allclose(answer.iloc[:, 1:].to_numpy(), expected, atol=2e-5)
    sure = np.sort(expected)[:, -1] - np.sort(expected)[:, -2] > 1e-3
    assert (answer["prediction"].astype(str).to_numpy()[sure] == expected.argmax(axis=1).astype(str)[sure]).all()


def prices_bundle(folder: Path, prices: Path) -> Path:
    """scikit-learn's least squares on the features of `linear`."""
    data = load(prices)
    model = build(LINEAR.model, data.meta)
    features = model.features(torch.from_numpy(np.array(data.x_train))).detach().numpy()  # type: ignore[operator]
    fit = LinearRegression().fit(features, data.y_train)
    shapes = {(1, features.shape[1]): fit.coef_[None], (1,): np.array([fit.intercept_])}
    weights = {
        name: torch.tensor(shapes[tuple(like.shape)], dtype=torch.float32) if name.startswith("output") else like
        for name, like in model.state_dict().items()
    }
    write_bundle(folder / "b", data.meta, [(LINEAR, weights)], prices)
    return folder / "b"


def test_a_regression_answers_in_the_targets_unit(prices: Path, tmp_path: Path) -> None:
    bundle = Ensemble(prices_bundle(tmp_path, prices))
    raw = pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 0.0], "word": ["green", "red"]})
    answer = bundle.predict(raw)["prediction"].to_numpy()
    np.testing.assert_allclose(answer, [100.0, 127.0], atol=6.0)
    x, y = load_test(prices)
    rest = bundle.outputs(np.array(x))
    assert np.sqrt(np.mean((rest - y) ** 2)) < 0.25 * y.std()


def test_the_same_members_give_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    one, _ = digits_bundle(tmp_path / "one", digits)
    two, _ = digits_bundle(tmp_path / "two", digits)
    assert {file.name: file.read_bytes() for file in one.iterdir()} == {
        file.name: file.read_bytes() for file in two.iterdir()
    }


def test_a_trials_model_comes_back_in_one_line(digits: Path, tmp_path: Path) -> None:
    import mlflow

    bundle, fits = digits_bundle(tmp_path, digits)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Tracker(uri, "digits") as tracker:
        tracker.project(RunRecord("trial-0", "f", "trial 0", None, "FINISHED", model=bundle))
        run_id = tracker.close()["trial-0"]
    mlflow.set_tracking_uri(uri)
    try:
        answer = mlflow.pyfunc.load_model(f"runs:/{run_id}/model").predict(raw_images())
        module = read_bundle(Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model"))).module()
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    np.testing.assert_allclose(answer.iloc[:, 1:].to_numpy(), expected_probabilities(fits, digits), atol=2e-5)
    assert [net.training for net in module.nets] == [False, False]


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bundle\.json"):
        read_bundle(tmp_path)


# Serving


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, pd.DataFrame]:
    """A bundle of a classifier whose labels are -1, 5 and 10, its prepared data, and the table."""
    folder = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.normal(size=400), "word": rng.choice(["red", "green"], 400)})
    rows["code"] = np.select([rows["a"] > 0.5, rows["a"] < -0.5], [10, -1], 5)
    rows.to_csv(folder / "t.csv", index=False)
    prepare(conf("csv", root=str(folder), file="t.csv", target="code", task="classification"), folder / "prepared")
    data = load(folder / "prepared")
    torch.manual_seed(0)
    weights = build(LINEAR.model, data.meta).state_dict()
    write_bundle(folder / "b", data.meta, [(LINEAR, weights)], folder / "prepared", with_code=True)
    return folder / "b", folder / "prepared", rows


def test_labels_keep_the_type_that_they_have_in_the_data(codes: Any) -> None:
    bundle, _, rows = codes
    predictions = Ensemble(bundle).predict(rows)["prediction"]
    assert predictions.dtype.kind == "i"
    assert set(predictions) <= {-1, 5, 10}


def invocations(model: Any, body: str, kind: str) -> Any:
    """What MLflow's scoring server makes of a request."""
    from mlflow.pyfunc import scoring_server

    answer = scoring_server.invocations(body, kind, model, model.metadata.get_input_schema())
    assert answer.status == 200
    return json.loads(answer.response)["predictions"]


@pytest.fixture
def registered(codes: Any, tmp_path: Path) -> Any:
    """The classifier as it is registered, loaded."""
    import mlflow

    bundle, prepared, _ = codes
    shelf = Shelf(f"sqlite:///{tmp_path}/mlflow.db", bundle, raw_example(prepared))
    shelf.add(1.0, "a")
    mlflow.set_tracking_uri(shelf.uri)
    yield mlflow.pyfunc.load_model("models:/digits@champion")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_csv_and_an_empty_request_are_answered(registered: Any, codes: Any) -> None:
    _, _, rows = codes
    table = rows[["a", "word"]].head(3)
    expected = registered.predict(table)["prediction"].tolist()
    answer = invocations(registered, table.to_csv(index=False), "text/csv")
    assert [row["prediction"] for row in answer] == expected
    assert invocations(registered, "a,word\n1,\n,red\n", "text/csv"), "a whole number and missing cells"
    assert invocations(registered, "a,word\n", "text/csv") == []
    body = json.dumps({"dataframe_split": {"columns": ["a", "word"], "data": []}})
    assert invocations(registered, body, "application/json") == []


def test_whole_numbers_are_numbers_however_the_rows_come(registered: Any, tmp_path: Path) -> None:
    """MLflow's own types would refuse them in a column that has fractions."""
    from mlflow.pyfunc import scoring_server

    rows = pd.DataFrame({"a": [2, -3], "word": ["red", "green"]})
    expected = registered.predict(rows.astype({"a": float}))["prediction"].tolist()
    assert registered.predict(rows)["prediction"].tolist() == expected
    rows.to_csv(tmp_path / "in.csv", index=False)
    scoring_server._predict("models:/digits@champion", str(tmp_path / "in.csv"), str(tmp_path / "out.json"), "csv")
    answer = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["predictions"]
    assert [row["prediction"] for row in answer] == expected


def test_a_bad_row_is_status_400_and_one_sentence(registered: Any) -> None:
    from mlflow.exceptions import MlflowException

    body = json.dumps({"dataframe_split": {"columns": ["a", "word"], "data": [[1.0, "red"], [1e999, "red"]]}})
    with pytest.raises(MlflowException) as refused:
        invocations(registered, body, "application/json")
    assert refused.value.get_http_status_code() == 400
    sentence = json.loads(refused.value.serialize_as_json())["message"]
    assert sentence == (
        "column 'a', row 2: the value is infinite: it must be finite; correct it and send the rows again"
    )
    with pytest.raises(MlflowException) as refused:
        invocations(registered, "a,word\nx,red\n", "text/csv")
    assert refused.value.get_http_status_code() == 400
    sentence = json.loads(refused.value.serialize_as_json())["message"]
    assert sentence == "column 'a', row 1: 'x' is not a number; correct it and send the rows again"


@pytest.mark.filterwarnings("ignore")
def test_mlflow_evaluates_classifiers_and_regressors(registered: Any, codes: Any, prices: Path, tmp_path: Path) -> None:
    import mlflow

    _, _, rows = codes
    result = mlflow.models.evaluate(
        lambda table: registered.predict(table)["prediction"],
        rows,
        targets="code",
        model_type="classifier",
        evaluator_config={"log_model_explainability": False},
    )
    expected = (registered.predict(rows[["a", "word"]])["prediction"] == rows["code"]).mean()
    assert result.metrics["accuracy_score"] == pytest.approx(expected)
    shelf = Shelf(mlflow.get_tracking_uri(), prices_bundle(tmp_path, prices), raw_example(prices))
    shelf.add(1.0, "b", higher=False, table="another1")
    table = pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 0.0], "word": ["green", "red"], "price": [100.0, 127.0]})
    result = mlflow.models.evaluate(
        "models:/digits-another1@champion", table, targets="price", model_type="regressor", evaluators="regressor"
    )
    assert result.metrics["root_mean_squared_error"] < 6


@pytest.mark.slow
def test_a_trials_model_loads_outside_of_the_project(codes: Any, tmp_path: Path) -> None:
    """A process in another folder, without the project on its path."""
    bundle, _, rows = codes
    rows[["a", "word"]].head(5).to_csv(tmp_path / "rows.csv", index=False)
    program = (
        "import mlflow, pandas, sys\n"
        f"model = mlflow.pyfunc.load_model({str(bundle)!r})\n"
        "print(model.predict(pandas.read_csv('rows.csv'))['prediction'].tolist())\n"
        "print(sys.modules['src.serving'].__file__)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer, file = done.stdout.splitlines()
    assert json.loads(answer) == Ensemble(bundle).predict(rows[["a", "word"]].head(5))["prediction"].tolist()
    assert "code.zip" in file


# The registry


def record(key: str = "ensemble", fingerprint: str = "f") -> RunRecord:
    return RunRecord(key, fingerprint, key, None, "FINISHED", metrics={"val/accuracy": 0.9})


class Shelf:
    """A registry with versions of one model."""

    def __init__(self, uri: str, bundle: Path, example: Any) -> None:
        self.uri, self.bundle, self.example = uri, bundle, example
        self.answer: Any = Ensemble(bundle).predict(example)

    def add(
        self, value: float, fingerprint: str, sha256: str = "d1", higher: bool = True, **changes: Any
    ) -> dict[str, Any]:
        from src.tracking.champion import Contender
        from src.tracking.registry import register

        contender = Contender(value, "score", higher, sha256, **{"table": "t1", "rows": 100, **changes})
        run = record(fingerprint=fingerprint)
        return register(self.uri, "digits", run, self.bundle, self.example, self.answer, "digits", contender)

    def aliases(self) -> dict[str, str]:
        from mlflow.tracking import MlflowClient

        return {
            name: str(n) for name, n in MlflowClient(self.uri, self.uri).get_registered_model("digits").aliases.items()
        }


@pytest.fixture
def shelf(digits: Path, tmp_path: Path) -> Shelf:
    bundle, _ = digits_bundle(tmp_path, digits)
    return Shelf(f"sqlite:///{tmp_path}/mlflow.db", bundle, raw_example(digits))


def test_the_champion_is_the_best_on_the_same_data(shelf: Shelf) -> None:
    from mlflow.tracking import MlflowClient

    assert shelf.add(0.90, "a")["alias"] == "champion"
    assert shelf.add(0.89, "b")["alias"] == "challenger"
    assert shelf.add(0.99, "c", sha256="d2")["alias"] == "challenger"
    assert shelf.add(float("nan"), "d")["alias"] == "challenger"
    assert shelf.add(0.95, "e")["alias"] == "champion"
    assert shelf.aliases() == {"champion": "5", "challenger": "4"}
    again = [shelf.add(0.90, "a"), shelf.add(0.95, "e")]
    assert [each["version"] for each in again] == ["1", "5"]
    assert shelf.aliases() == {"champion": "5", "challenger": "4"}
    client = MlflowClient(shelf.uri, shelf.uri)
    assert len(client.search_model_versions("name = 'digits'")) == 5
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}
    history = [point for run in runs for point in client.get_metric_history(run.info.run_id, "val/accuracy")]
    assert len(history) == 5


def test_a_registered_model_whose_files_were_deleted_comes_back(shelf: Shelf, tmp_path: Path) -> None:
    import mlflow

    first = shelf.add(0.90, "a")
    shutil.rmtree(tmp_path / "mlartifacts")
    again = shelf.add(0.90, "a")
    assert {key: again[key] for key in ("version", "alias", "run_id")} == {
        key: first[key] for key in ("version", "alias", "run_id")
    }
    with mlflow.tracking._tracking_service.utils._use_tracking_uri(shelf.uri):
        answer = mlflow.pyfunc.load_model("models:/digits@champion").predict(shelf.example)
    assert answer["prediction"].tolist() == shelf.answer["prediction"].tolist()


def test_every_version_says_why_it_has_its_alias(shelf: Shelf) -> None:
    assert shelf.add(0.90, "a")["reason"] == "it is the first of these data"
    assert shelf.add(0.89, "b")["reason"] == "its score 0.89 does not beat 0.9 of version 1 on the same validation rows"
    assert shelf.add(0.95, "c")["reason"] == "its score 0.95 beats 0.9 of version 1 on the same validation rows"
    assert shelf.add(0.95, "c")["reason"].startswith("its score 0.95 beats 0.9"), "asked again, it says the same"
    refused = shelf.add(0.99, "d", refusal="it is worse")
    assert (refused["alias"], refused["reason"]) == ("challenger", "it is worse")


def test_another_table_of_the_same_name_has_a_line_of_its_own(shelf: Shelf) -> None:
    from mlflow.tracking import MlflowClient

    assert shelf.add(0.90, "a")["name"] == "digits"
    other = shelf.add(0.10, "b", sha256="d2", table="0123456789abcdef")
    assert (other["name"], other["version"], other["alias"]) == ("digits-01234567", "1", "champion")
    assert shelf.add(0.20, "c", sha256="d2", table="0123456789abcdef")["version"] == "2"
    assert shelf.aliases() == {"champion": "1"}
    aliases = MlflowClient(shelf.uri, shelf.uri).get_registered_model("digits-01234567").aliases
    assert {name: str(number) for name, number in aliases.items()} == {"champion": "2"}


def test_data_that_grew_are_judged_on_the_newer_rows(shelf: Shelf) -> None:
    """The champion is asked for them as it is registered."""
    asked: list[Any] = []

    def on_newer_rows(champion: Any, n_before: int) -> tuple[float, float]:
        asked.append((len(champion(raw_images()[:7])), n_before))
        return 0.5, 0.6

    shelf.add(0.90, "a")
    grown = shelf.add(0.80, "b", sha256="d2", rows=150, on_newer_rows=on_newer_rows)
    assert asked == [(7, 100)]
    assert grown["alias"] == "champion"
    assert grown["reason"] == "its score 0.6 beats 0.5 of version 1 on the newer validation rows"
    assert "was judged on other rows" in shelf.add(0.99, "c", sha256="d3", rows=150)["reason"]


@pytest.mark.parametrize("rows", [100, 400])
def test_newer_rows_are_validation_rows_behind_those_that_were_there(rows: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=400)})
    table["price"] = 3 * table["a"]
    table.to_csv(tmp_path / "t.csv", index=False)
    data = conf("csv", root=str(tmp_path), file="t.csv", target="price", task="regression")
    meta = prepare(data, tmp_path / "prepared")
    rows_asked: list[Any] = []

    def exact(raw: Any) -> Any:
        rows_asked.append(raw)
        return pd.DataFrame({"prediction": 3 * raw["a"]})

    def off(raw: Any) -> Any:
        return pd.DataFrame({"prediction": 3 * raw["a"] + 1})

    scores = scores_on_newer_rows(data, meta, rows, off, exact)
    if rows == 400:
        assert scores is None
        return
    assert scores == (pytest.approx(1.0, rel=1e-4), pytest.approx(0.0, abs=1e-5))
    positions = table.index[table["a"].round(6).isin(rows_asked[0]["a"].round(6))]
    assert positions.min() >= 100
    assert 30 <= len(positions) < 90


def test_lower_is_better_for_errors_and_a_persons_choice_stands(shelf: Shelf) -> None:
    from mlflow.tracking import MlflowClient

    assert shelf.add(2.0, "a", higher=False)["alias"] == "champion"
    assert shelf.add(3.0, "b", higher=False)["alias"] == "challenger"
    assert shelf.add(1.0, "c", higher=False)["alias"] == "champion"
    MlflowClient(shelf.uri, shelf.uri).set_registered_model_alias("digits", "champion", "1")  # rolled back by hand
    shelf.add(1.0, "c", higher=False)
    assert shelf.aliases()["champion"] == "1"


def test_a_table_as_it_comes(prices: Path, tmp_path: Path) -> None:
    """Whole numbers where there were fractions, unknown and missing words, missing numbers, columns in another order."""
    import mlflow

    shelf = Shelf(f"sqlite:///{tmp_path}/mlflow.db", prices_bundle(tmp_path, prices), raw_example(prices))
    shelf.add(1.0, "a", higher=False)
    mlflow.set_tracking_uri(shelf.uri)
    try:
        model = mlflow.pyfunc.load_model("models:/digits@champion")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    rows = pd.DataFrame({"word": ["green", "red", None, "mauve"], "b": [0, 0, 0, 0], "a": [0, 1, 1, 1]})
    answer = model.predict(rows)["prediction"].to_numpy()
    np.testing.assert_allclose(answer[:2], [100.0, 127.0], atol=6.0)
    assert answer[2] == answer[3]
    assert np.isfinite(model.predict(rows.assign(a=[None, 1.5, 2.5, None]))["prediction"]).all()
    with pytest.raises(mlflow.MlflowException, match="b"):
        model.predict(rows.drop(columns="b"))


def test_a_registration_that_fails_leaves_no_run_running(shelf: Shelf) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    shelf.example = object()  # no example of an input
    with pytest.raises((MlflowException, TypeError)):
        shelf.add(0.9, "a")
    client = MlflowClient(shelf.uri, shelf.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.status == "KILLED"
    assert client.search_model_versions("name = 'digits'") == []


@pytest.mark.slow
def test_the_champion_answers_over_http_far_from_the_project(shelf: Shelf, digits: Path, tmp_path: Path) -> None:
    assert shelf.add(0.9, "a")["alias"] == "champion"
    port = free_port()
    where = ["-m", "models:/digits@champion", "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    (options_that_have := tmp_path / "elsewhere").mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", *where],
        cwd=options_that_have,
        env=os.environ
        | {"MLFLOW_TRACKING_URI": shelf.uri, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        rows = raw_images()[:20]
        answer = _post(f"http://127.0.0.1:{port}/invocations", {"inputs": rows.tolist()}, 240)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    expected = Ensemble(shelf.bundle).predict(rows)
    assert [row["prediction"] for row in answer["predictions"]] == list(expected["prediction"])
    assert answer["predictions"][0]["p_3"] == pytest.approx(expected["p_3"][0], abs=1e-9)


def _post(url: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The answer, once the server is up."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError:
            raise
        except OSError:  # nobody listens yet
            if time.monotonic() > end:
                raise
        time.sleep(0.5)
