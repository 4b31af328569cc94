"""The Makefile: `make ui` starts what MLflow needs and no more, `make clean` deletes nothing that git or DVC keeps."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.loopback import free_port
from tests.support.running import ROOT, alive


def recipe(target: str) -> str:
    """The commands of a target, which make prints without running them."""
    done = subprocess.run(
        ["make", "-n", "-C", str(ROOT), target, "-o", ".venv/ready"], capture_output=True, text=True, check=True
    )
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("make"))


def test_clean_leaves_what_git_tracks_and_what_is_not_of_runs(tmp_path: Path) -> None:
    folder, outside = tmp_path / "project", tmp_path / "outside"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    outside.mkdir()
    (outside / "precious").write_text("mine")
    for name in (
        "dvc.lock",
        "metrics.json",
        ".dvc/cache/files/x",
        "outputs/sweep/a",
        "data/prepared/d/x",
        "data/raw/d/x",
        "mlflow.db",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content")
    (folder / "report").symlink_to(outside)
    for words in (["init", "-q"], ["add", "-f", "dvc.lock", "metrics.json", "data/raw", "Makefile"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    subprocess.run(["make", "clean"], cwd=folder, check=True, capture_output=True)
    missing = subprocess.run(["git", "ls-files", "--deleted"], cwd=folder, capture_output=True, text=True, check=True)
    assert missing.stdout == ""
    assert (folder / ".dvc/cache/files/x").exists()
    assert (outside / "precious").exists()
    assert not [name for name in ("outputs", "data/prepared", "mlflow.db", "report") if (folder / name).exists()]
    subprocess.run(["git", "rm", "-q", "--cached", "metrics.json"], cwd=folder, check=True)
    subprocess.run(["make", "clean"], cwd=folder, check=True, capture_output=True)
    assert not (folder / "metrics.json").exists(), "nobody tracks it"


@pytest.mark.slow
def test_ui_is_two_processes(tmp_path: Path) -> None:
    port = str(free_port())
    command = recipe("ui").replace("5000", port).partition("\n")[2]
    assert "mlflow ui" in command
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(
        ["bash", "-c", f"exec env {command}"], cwd=tmp_path, env=environment, start_new_session=True
    )
    try:
        for _ in range(240):
            time.sleep(0.5)
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2).read().decode()
                break
            except OSError:
                assert server.poll() is None
        assert re.search("mlflow", page, re.IGNORECASE)
        time.sleep(3)
        assert len(alive(server.pid)) == 2, alive(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
