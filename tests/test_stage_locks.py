"""No stage runs twice at once into one folder: the second is refused in one sentence."""

import os
from pathlib import Path

import pytest

from src.system.locks import exclusive, output_lock
from tests.support.running import Place

FOLDERS = {"lr_range": "lr_range/linear", "train": "train/linear", "ensemble": "ensemble", "report": "report"}


@pytest.mark.parametrize("verb", FOLDERS)
def test_the_second_is_refused_in_one_sentence(tmp_path: Path, verb: str) -> None:
    """This process is the first one: the lock is that of the folder, seen from the folder where the stage runs."""
    place = Place(tmp_path)
    lock = output_lock(tmp_path / ".lockstep", tmp_path / "outputs" / FOLDERS[verb])
    with exclusive(lock, verb):
        refused = place.run("model=linear", ok=False, verb=verb)
    sentence = f"error: {verb} into outputs/{FOLDERS[verb]} is running already (process {os.getpid()})"
    assert refused.stderr == f"{sentence}; wait for it or stop it\n"
    freed = place.run("model=linear", ok=False, verb=verb)
    assert "is not prepared" in freed.stderr, "the lock falls with who holds it"


def test_another_folder_has_another_lock(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with exclusive(output_lock(tmp_path / ".lockstep", tmp_path / "outputs" / "train" / "linear"), "train"):
        assert "is not prepared" in place.run("model=mlp", ok=False, verb="train").stderr
        assert "is not prepared" in place.run("model=linear", "outputs=other", ok=False, verb="train").stderr
