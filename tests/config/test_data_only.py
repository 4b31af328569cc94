"""A YAML file is data: whatever it says of Hydra's own keys, nothing runs and nothing is written."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal import hydra as internal

from src.config.compose import CONF
from src.config.data_only import WITHIN, install
from src.config.loading import load
from src.system.errors import UserError
from tests.support import warm
from tests.support.running import ROOT

HOSTILE = {
    "callbacks": ("hydra.callbacks", "callbacks: {x: {_target_: subprocess.Popen, args: [touch, ran]}}"),
    "job_logging": ("hydra.job_logging", "job_logging: {handlers: {f: {class: logging.FileHandler, filename: ran}}}"),
    "factory": ("hydra.hydra_logging", "hydra_logging: {formatters: {a: {'()': os.system, command: touch ran}}}"),
    "sweeper": ("hydra.sweeper", "sweeper: {_target_: subprocess.Popen, args: [touch, ran]}"),
    "launcher": ("hydra.launcher", "launcher: {_target_: subprocess.Popen}"),
    "folder": ("hydra.run.dir", "run: {dir: /tmp/ran}"),
    "folder above": ("hydra.sweep.dir", "sweep: {dir: multirun/../../ran}"),
    "folder of the environment": ("hydra.output_subdir", "output_subdir: '${oc.env:HOME}/ran'"),
    "environment": ("hydra.job.env_set", "job: {env_set: {LOCKSTEP_TRUSTED: subprocess}}"),
}


@pytest.mark.parametrize("folder", ["multirun/${now:%Y-%m-%d_%H-%M-%S}", "${hydra.job.num}", ".", "a/b=1,2", "x.y"])
def test_folders_within_the_project_are_a_files_to_name(folder: str) -> None:
    assert WITHIN.fullmatch(folder)


@pytest.mark.parametrize(
    "folder", ["/a", "~/a", "a/../../b", "${now:/a}", "${hydra.job.name}", "${oc.env:HOME}", "${x}"]
)
def test_folders_elsewhere_are_the_command_lines_to_name(folder: str) -> None:
    assert not WITHIN.fullmatch(folder)


@pytest.mark.parametrize("multirun", [[], ["-m"]], ids=["run", "multirun"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hydra_runs_nothing_that_a_file_names(name: str, multirun: list[str], tmp_path: Path) -> None:
    key, text = HOSTILE[name]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "theirs.yaml").write_text(f"# @package _global_\nhydra: {{{text}}}\n", encoding="utf-8")
    words = [*multirun, "--config-dir", str(tmp_path), "experiment=theirs"]
    done = warm.run(tmp_path, "report", *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {key}: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_telemetry_is_off_however_a_verb_is_started() -> None:
    clean = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")}
    code = "import src.show, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["true", "true"]


def test_no_password_is_written_by_a_multirun(tmp_path: Path) -> None:
    """Jobs that fail at once leave what any multirun leaves: its config, and folders named after the choices."""
    (tmp_path / "params.yaml").write_text("models: [mlp]\n", encoding="utf-8")
    secret = "pa/s@s"
    words = ["-m", "seed=1,2", f"storage='postgresql://me:{secret}@host/db','postgresql://me:{secret}@host/other'"]
    done = warm.run(tmp_path, "report", *words)
    assert "4 of 4 jobs failed" in done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "multirun.yaml" for path in written)
    texts = [path.read_text(encoding="utf-8") for path in written] + [str(path) for path in tmp_path.rglob("*")]
    assert not [text for text in texts if secret in text or "pa-s" in text]
    assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: b: c\n", "theirs.yaml, line 1 is no YAML: mapping values are not allowed here"),
        ("a: 'b\n", "theirs.yaml, line 2 is no YAML: found unexpected end of stream"),
        ("a: 1\na: 2\n", "theirs.yaml, line 2 is no YAML: found duplicate key a"),
        ("a: !!python/object/apply:os.getcwd []\n", "theirs.yaml, line 1 is no YAML: could not determine a constructor"),
        ("- a\n", "no such key"),
        ("defaults: 3\n", "conf/ is no config"),
        (b"\xff\xfe\x00", "is no"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_config_is_one_sentence(text: str | bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/theirs.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with ExitStack() as stack:
        stack.callback(setattr, internal, "ConfigLoaderImpl", internal.ConfigLoaderImpl)  # type: ignore[attr-defined]
        install()
        stack.enter_context(initialize_config_dir(str(CONF), version_base="1.3"))
        with pytest.raises(UserError) as caught:
            load([f"hydra.searchpath=[file://{tmp_path}]", "experiment=theirs"], components=False)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("outputs: /tmp/elsewhere", "outputs: a YAML file would write to /tmp/elsewhere; "),
        ("study: {root: ../x}", "study.root: a YAML file would write to ../x; "),
        ("tracking: {uri: http://me:secret@far}", "tracking.uri: a YAML file would write to http://***@far; "),
        ("storage: sqlite:///x.db", "storage: a YAML file would write to "),
        ("store: {url: 's3://far/x'}", "store.url: a YAML file would write to "),
        ("seed: ${oc.env:SECRET}", "SECRET of the environment; "),
        ("seed: ${${word}:SECRET}\nword: oc.env", "SECRET of the environment; "),
    ],
)
def test_a_file_names_no_place_and_reads_no_secret(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "experiment").mkdir(parents=True)
    (tmp_path / "theirs" / "experiment" / "bad.yaml").write_text(f"# @package _global_\n{text}\n", encoding="utf-8")
    done = warm.run(tmp_path, "sweep", "--config-dir", "theirs", "experiment=bad", SECRET="12345")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "12345" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "text", ["executor: {name: dask, address: 'tcp://far:1'}", "defaults: [override /executor: slurm]"]
)
def test_a_file_chooses_no_other_machines(text: str, tmp_path: Path) -> None:
    """Whoever answers at the address of a scheduler can run code here."""
    for group, lines in (("experiment", text), ("executor", "executor: {name: dask, address: 'tcp://mine:1'}")):
        (tmp_path / group).mkdir()
        (tmp_path / group / "some.yaml").write_text(f"# @package _global_\n{lines}\n", encoding="utf-8")
    place = f"hydra.searchpath=[file://{tmp_path}]"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        with pytest.raises(UserError, match=r"^executor: only the command line and params.yaml may choose"):
            load([place, "experiment=some"], components=False)
        assert load([place, "executor=some"], components=False)["executor"]["address"] == "tcp://mine:1"
