"""What the README says of the ensemble, done as it says, on a small pipeline in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import warm
from tests.support.loopback import free_port
from tests.support.running import ROOT, Place, end_all

pytestmark = pytest.mark.slow

AROUND = """
import json, mlflow, src.data.dataset, torch
from pathlib import Path
rows = src.data.dataset.raw_example(Path("data/prepared/digits"))
{blocks}
served = answer.filter(like="p_").to_numpy()
print(json.dumps({{"raw": served.tolist(), "prepared": probabilities.tolist()}}))
"""


def blocks(language: str) -> list[str]:
    """The code of the section on the ensemble."""
    section = (ROOT / "README.md").read_text().partition("The ensemble is registered")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where `dvc repro` has run, so to speak, with the least budgets."""
    here = Place(tmp_path_factory.mktemp("work"))
    here.run("data=digits", verb="prepare")
    here.run("model=mlp", "search=random", "search.pruner=none", "n_trials=2", "epochs=2", "workers=1")
    here.run("model=mlp", "members=seeds", "members.n=3", "workers=1", verb="train")
    here.run("models=[mlp]", "combiner=average", "export.onnx=true", verb="ensemble")
    yield here
    end_all()


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | more


@pytest.fixture(scope="module")
def from_python(place: Place) -> dict[str, np.ndarray]:
    """Probabilities of the example rows: of the registered model, and of the file for PyTorch alone."""
    script = AROUND.format(blocks="".join(blocks("python")))
    command, pipes = [sys.executable, "-c", script], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with warm.Popen(command, cwd=place.folder, env=environment(), text=True, **pipes) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return {name: np.array(values) for name, values in json.loads(out.splitlines()[-1]).items()}


def test_the_file_for_pytorch_alone_answers_as_the_registered_model(from_python: dict[str, np.ndarray]) -> None:
    assert from_python["raw"].shape == (5, 10)
    np.testing.assert_allclose(from_python["raw"].sum(1), 1.0)
    np.testing.assert_allclose(from_python["prepared"], from_python["raw"], atol=1e-5)


def test_curl_is_answered_as_python_is(place: Place, from_python: dict[str, np.ndarray]) -> None:
    port = str(free_port())
    serve, curl = (block.replace("5001", port) for block in blocks("sh"))
    assert "mlflow models serve" in serve
    server = subprocess.Popen(
        ["bash", "-c", serve],
        cwd=place.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        patient = curl.replace("curl", "curl -sS --fail --retry 90 --retry-delay 1 --retry-connrefused")
        done = subprocess.run(["bash", "-c", patient], cwd=place.folder, capture_output=True, text=True, timeout=180)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)["predictions"]
    found = np.array([[answer[f"p_{digit}"] for digit in range(10)] for answer in answers])
    np.testing.assert_allclose(found, from_python["raw"], atol=1e-9)
    assert [answer["prediction"] for answer in answers] == [str(digit) for digit in found.argmax(1)]


def test_the_files_answer_for_the_test_rows_what_was_judged(place: Place) -> None:
    import onnxruntime
    import torch

    out, x = (
        place.folder / "outputs" / "ensemble",
        np.load(place.folder / "data" / "prepared" / "digits" / "x_test.npy"),
    )
    judged = np.load(out / "predictions.npz")["test"]
    program = torch.export.load(out / "model.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(x)), judged, atol=1e-5)
    session = onnxruntime.InferenceSession(out / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"x": x})[0], judged, atol=1e-5)
