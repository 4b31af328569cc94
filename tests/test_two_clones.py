"""What one clone pushes to DVC's remote is all that another needs to look at the results and to serve the model."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.running import ROOT

LEFT = (  # by a run of the pipeline, what a colleague looks at, serves, or goes on from
    *("data/prepared/digits/x_train.npy", "outputs/lr_range/mlp/lr_range.json", "outputs/sweep/mlp/trials.csv"),
    *("outputs/sweep/mlp/predictions.npz", "outputs/sweep/mlp/ranking.json", "outputs/sweep/mlp/weights/0.safetensors"),
    *("outputs/sweep/mlp/best.yaml", "outputs/train/mlp/members.json", "outputs/ensemble/model/MLmodel"),
    *("outputs/ensemble/model/bundle.json", "report/index.html", "report/plots/history.csv", "metrics.json"),
)


def run(folder: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_what_is_pushed_here_is_pulled_there(tmp_path: Path) -> None:
    """With the stages of dvc.yaml, and small files in the place of what they would leave."""
    here, there = tmp_path / "here", tmp_path / "there"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if not name.startswith(("tests/", "docs/", "benchmarks/", "dvc.lock")) and (ROOT / name).is_file():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, here / name)
    params = (here / "params.yaml").read_text().replace("models: [mlp, cnn]", "models: [mlp]")
    (here / "params.yaml").write_text(params)
    for name in LEFT:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(f"made by the test: {name}\n")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")
    run(here, "git", "init", "-q")
    run(here, "dvc", "remote", "add", "-f", "-d", "team", str(tmp_path / "remote"))
    run(here, "dvc", "commit", "-f")
    run(here, "git", "add", ".")
    run(here, *git, "commit", "-q", "-m", "a run")
    run(here, "dvc", "push", "-q")

    run(tmp_path, "git", "clone", "-q", str(here), str(there))
    assert [name for name in LEFT if (there / name).exists()] == ["metrics.json"], "the rest is too large for Git"
    run(there, "dvc", "pull", "-q")
    assert {name: (there / name).read_bytes() for name in LEFT} == {name: (here / name).read_bytes() for name in LEFT}
