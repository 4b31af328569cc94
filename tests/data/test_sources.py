"""A verb reads the data that it asks for: those prepared, or others prepared beside, never others without a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from src.data.dataset import read_meta
from src.data.prepared import prepared_folder
from src.data.preparing import prepare
from src.data.reader import parse
from src.data.sources import link_files
from src.system.errors import UserError
from tests.data.support import ROOT, conf, csv
from tests.data.test_text_table import text
from tests.support.running import Place


def ask(config: dict[str, Any], base: Path, *typed: str, **values: Any) -> Path:
    return prepared_folder(config | values, {*typed, *values}, base)


def test_what_was_prepared_is_found(tmp_path: Path) -> None:
    config = csv(tmp_path, text())
    with pytest.raises(UserError, match=r"is not prepared; run python -m src\.prepare data=csv first"):
        ask(config, tmp_path / "p")
    prepare(config, tmp_path / "p" / "csv")
    assert ask(config, tmp_path / "p") == tmp_path / "p" / "csv"
    assert ask(config, tmp_path / "p", seed=0) == tmp_path / "p" / "csv"


def test_another_setting_is_prepared_beside(tmp_path: Path) -> None:
    config = csv(tmp_path, text())
    prepare(config, tmp_path / "p" / "csv")
    folders = [ask(config, tmp_path / "p", seed=seed) for seed in (1, 2, 1)]
    assert folders[0] == folders[2] != folders[1]
    assert len({read_meta(folder).sha256 for folder in [*folders, tmp_path / "p" / "csv"]}) == 3
    assert read_meta(ask(config, tmp_path / "p", rows=20)).n_train == 20
    assert read_meta(tmp_path / "p" / "csv").n_train == 36


def test_what_prepare_was_told_holds_for_the_verbs(tmp_path: Path) -> None:
    told = csv(tmp_path, text(), rows=30)
    bare = conf("csv")
    prepare(told, tmp_path / "p" / "csv", ("file", "target", "task", "root", "rows"))
    assert ask(bare, tmp_path / "p") == tmp_path / "p" / "csv"
    beside = read_meta(ask(bare, tmp_path / "p", seed=3))
    assert (beside.n_train, (beside.origin or {})["config"]["seed"]) == (30, 3)


def test_a_yaml_or_a_file_that_changed_is_said(tmp_path: Path) -> None:
    config = csv(tmp_path, text())
    prepare(config, tmp_path / "p" / "csv")
    with pytest.raises(UserError, match=r"data\.val_fraction is 0\.3, not 0\.2.*run python -m src\.prepare data=csv"):
        ask(config | {"val_fraction": 0.3}, tmp_path / "p")
    (tmp_path / "t.csv").write_text(text().replace("rot", "rosa"), encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.csv is another file"):
        ask(config, tmp_path / "p")
    (tmp_path / "t.csv").unlink()
    assert ask(config, tmp_path / "p") == tmp_path / "p" / "csv"  # the arrays are enough


def test_files_are_looked_for_in_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "elsewhere"))
    reader = parse(conf("adult"))
    with pytest.raises(
        UserError, match=r"elsewhere/adult/adult\.data or data/raw/adult/adult\.data.*get it from https"
    ):
        reader.find("adult.data")
    for folder in (tmp_path / "data/raw/adult", tmp_path / "elsewhere/adult"):
        folder.mkdir(parents=True)
        (folder / "adult.data").touch()
        assert reader.find("adult.data").resolve() == folder / "adult.data"


def test_a_copied_yaml_that_kept_its_name_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "conf" / "data").mkdir(parents=True)
    shutil.copy(ROOT / "conf/data/digits.yaml", tmp_path / "conf/data/mine.yaml")
    words = ["--config-dir", str(tmp_path / "conf"), "data=mine"]
    answer = Place(tmp_path).run(*words, verb="prepare", ok=False)
    assert (
        answer.stderr == "error: data.name: mine.yaml says digits, which would overwrite that data set: name it mine\n"
    )
    Place(tmp_path).run(*words, "data.name=digits", verb="prepare")


@pytest.mark.slow
def test_dvc_sees_raw_files_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "project"
    place.mkdir()
    for name in ("conf", "src", "hydra_plugins"):
        (place / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", place)
    (place / "data/raw/mine").mkdir(parents=True)
    (place / "dvc.yaml").write_text(
        "stages:\n  prepare:\n    cmd: python prepare.py\n    deps: [data/raw/mine]\n    outs: [data/prepared/mine]\n",
        encoding="utf-8",
    )
    outside = tmp_path / "outside" / "mine"
    config = csv(tmp_path, text()) | {"name": "mine", "root": None}
    outside.mkdir(parents=True)
    (outside / "t.csv").write_text(text(), encoding="utf-8")
    (place / "prepare.py").write_text(
        "import sys, pathlib\nsys.path.insert(0, '.')\nfrom src.data.preparing import prepare\n"
        "from src.data.reader import parse\nfrom src.data.sources import link_files\n"
        f"prepare({config!r}, pathlib.Path('data/prepared/mine'))\nlink_files(parse({config!r}))\n",
        encoding="utf-8",
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"LOCKSTEP_DATA": str(outside.parent), "PATH": path}

    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
        return run.stdout

    dvc("init", "-q", "--no-scm")
    dvc("repro")
    assert "up to date" in dvc("status")
    before = read_meta(place / "data/prepared/mine").sha256
    (outside / "t.csv").write_text(text().replace("0.37", "0.38"), encoding="utf-8")
    assert "changed" in dvc("status")
    dvc("repro")
    assert read_meta(place / "data/prepared/mine").sha256 != before
    assert "up to date" in dvc("status")


def test_links_follow_the_files(tmp_path: Path) -> None:
    reader = parse(csv(tmp_path / "far", text()))
    link_files(reader, tmp_path / "raw")
    (link,) = (tmp_path / "raw/csv/linked").iterdir()
    assert link.read_text(encoding="utf-8") == text()
    link_files(parse(csv(tmp_path / "raw/csv", text())), tmp_path / "raw")
    assert not (tmp_path / "raw/csv/linked").exists()


def test_a_key_that_a_yaml_lacks_is_named_without_the_rest(tmp_path: Path) -> None:
    for key in ("source", "val_fraction", "scaling"):
        config = csv(tmp_path, text())
        del config[key]
        with pytest.raises(UserError, match=rf"^data\.{key}: a value is needed") as refused:
            parse(config)
        assert len(str(refused.value)) < 100
    long = csv(tmp_path, text()) | {"rows": ["much"] * 1000}
    with pytest.raises(UserError, match=r"^data\.rows=") as refused:
        parse(long)
    assert len(str(refused.value)) < 300
