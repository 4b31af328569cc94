"""An ensemble whose nets look up training rows carries them: served from raw rows, and as a file of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from src.data.dataset import load
from src.data.preparing import prepare
from src.engine.fusing import rows
from src.engine.task import WorkerSetup
from src.ensembles.final_member import FinalMember
from src.ensembles.mixture import Weighted
from src.population.member import Member
from src.serving.bundle import read_bundle, write_bundle
from src.serving.export import export
from src.serving.pyfunc import Ensemble
from tests.serving.test_ensemble_module import conf
from tests.support.training import config, trained


@pytest.fixture(scope="module", params=["classification", "regression"])
def prepared(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300), "w": rng.choice(["red", "green"], 300)})
    table["y"] = 1e6 + 2e5 * table["a"] * table["b"] + 7e4 * (table["w"] == "red")
    if request.param == "classification":
        table["y"] = np.where(table["a"] * table["b"] > 0, "up", "down")
    table.to_csv(folder / "t.csv", index=False)
    prepare(conf("data", "csv", root=str(folder), file="t.csv", target="y", task=request.param), folder / "prepared")
    return folder


def test_it_answers_from_raw_rows_and_leaves_as_a_file(prepared: Path, tmp_path: Path) -> None:
    """Two members, of which one knows a bag of the rows: as many as there are, but fewer different ones."""
    data = rows(WorkerSetup(prepared / "prepared", "cpu"))
    bag = np.random.default_rng(0).integers(len(data.x_train), size=len(data.x_train))
    members = [Member(config("nca", batch_size=32), 1), Member(config("nca", batch_size=32), 2, rows=bag)]
    finals = [FinalMember.trained("x", one, trained([one], data, 2)[0], data) for one in members]
    parts = [(one.member.config, one.checkpoint.model_weights) for one in finals]
    write_bundle(tmp_path / "bundle", data.meta, parts, prepared / "prepared", Weighted(np.array([0.5, 0.5])))
    expected = np.mean([one.val_predictions for one in finals], 0)

    ensemble = Ensemble(tmp_path / "bundle")
    x_val = load(prepared / "prepared").x_val
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ensemble.outputs(np.array(x_val)), expected, rtol=1e-4, atol=1e-5 * scale)
    served = ensemble.predict(pd.read_csv(prepared / "t.csv").drop(columns="y"))
    assert len(served) == 300
    assert served["prediction"].nunique() > 1

    module = read_bundle(tmp_path / "bundle").module()
    assert len({len(net.get_buffer("rows.x")) for net in module.nets}) == 2
    x = torch.from_numpy(np.array(x_val))
    onnx = data.classification  # one is enough: it takes seconds
    assert export(module, x, tmp_path, {"pt2": True, "onnx": onnx}) == []
    program = torch.export.load(str(tmp_path / "model.pt2")).module()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx") if onnx else None
    for count in (1, len(x)):
        others = [session.run(None, {"x": x[:count].numpy()})[0]] if session else []
        for answer in (program(x[:count]), *others):
            np.testing.assert_allclose(answer, module(x[:count]), rtol=1e-4, atol=1e-5 * scale)
