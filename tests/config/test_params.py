"""`params.yaml` is words: what is not is refused before a shell sees it, and unknown keys are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from src.config import params
from src.system.errors import UserError
from tests.support.running import ROOT


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: '0; touch ran'", "params.yaml, seed: should be a word"),
        ("data: $(touch ran)", "params.yaml, data: should be a word"),
        ("models: [mlp, '`touch ran`']", "params.yaml, models: should be a word"),
        ("data: -h", "params.yaml, data: should be a word"),
        ("device: null", "params.yaml, device: should be a word"),
        ("search: {name: tpe}", "params.yaml, search: should be a word"),
        ("optimiser: adam", "params.yaml, optimiser: no such key; did you mean optimizer?"),
        ("prior: lr_range", "params.yaml, prior: this key is rate_prior now"),
        ("- 3", "params.yaml: should be lines such as"),
        ("a: [", "params.yaml is no YAML"),
    ],
)
def test_what_is_no_word_is_refused(text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        params.read()
    assert str(refusal.value).startswith(says)
    assert "\n" not in str(refusal.value)


def test_what_is_shipped_is_accepted_and_has_every_key() -> None:
    assert tuple(params.read()) == params.KEYS
    params.refuse_unknown_options(params.read())


@pytest.mark.parametrize(
    ("key", "word", "nearest"),
    [
        ("models", ["cnn", "mpl"], "mlp"),
        ("data", "adlt", "adult"),
        ("optimizer", "adamv", "adam"),
        ("search", "gpp", "gp"),
        ("members", ["top", "sedes"], "seeds"),
        ("combiner", "avrage", "average"),
    ],
)
def test_a_word_that_no_option_has_is_refused_before_dvc_misses_its_file(key: str, word: object, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml, {key}: .* is none of .*did you mean {nearest}\?$"):
        params.refuse_unknown_options(params.read() | {key: word})


@pytest.mark.parametrize("conf", [True, False])
def test_options_are_those_of_the_folder_where_dvc_runs(
    conf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if conf:
        (tmp_path / "conf" / "model").mkdir(parents=True)
        (tmp_path / "conf" / "model" / "mine.yaml").touch()
        params.refuse_unknown_options({"models": ["mine"]})
    with pytest.raises(UserError, match="is none of"):
        params.refuse_unknown_options({"models": ["yours"]})


def test_every_stage_of_dvc_looks_before_a_shell_gets_the_values() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {stage["cmd"][0] for stage in stages.values()} == {"python -m src.config.params"}


@pytest.mark.slow
def test_no_value_of_params_runs(tmp_path: Path) -> None:
    """Through DVC itself: a stage whose command takes a value, as in `dvc.yaml`."""
    stage = {"cmd": ["python -m src.config.params", "echo seed=${seed}"], "outs": []}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": stage}}), encoding="utf-8")
    (tmp_path / "params.yaml").write_text("seed: '0; touch ran'\n", encoding="utf-8")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*dvc, "repro"], cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode != 0
    assert "params.yaml, seed: should be a word" in done.stderr
    assert not (tmp_path / "ran").exists()
