"""A file is the old one or the new one, whatever happens on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from src.system.files import atomic_folder, atomic_write, entries, write_json, write_npy


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    atomic_write(path, b"old")
    atomic_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.bin"]


def test_write_does_not_reach_through_a_link(tmp_path: Path) -> None:
    """DVC may link a workspace file to its cache, which must never change."""
    cached, linked = tmp_path / "cached", tmp_path / "linked"
    cached.write_bytes(b"cached")
    linked.symlink_to(cached)
    atomic_write(linked, b"new")
    assert (cached.read_bytes(), linked.read_bytes()) == (b"cached", b"new")


def test_failing_writer_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_no_room_keeps_the_old_file_and_names_it(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the kernel refuses the write half-way."""
    path = tmp_path / "a.npy"
    np.save(path, np.arange(3))
    code = f"""
        import resource
        from pathlib import Path
        import numpy as np
        from src.system.files import write_npy
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            write_npy(Path({str(path)!r}), np.zeros(10_000))
        except OSError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert str(path) in run.stdout
    assert np.load(path).tolist() == [0, 1, 2]
    assert names(tmp_path) == ["a.npy"]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name in ("first", "second"):
        with atomic_folder(folder) as temporary:
            (temporary / name).touch()
            assert name not in (names(folder) if folder.exists() else [])
        assert names(folder) == [name]
    assert names(tmp_path) == ["out"]


def test_failing_folder_keeps_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").touch()

    def fail() -> None:
        with atomic_folder(folder) as temporary:
            (temporary / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["out"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from src.system.files import atomic_folder
        with atomic_folder(Path({str(tmp_path / "out")!r})) as temporary:
            (temporary / "torn").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert not (tmp_path / "out").exists()
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "whole").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["whole"]


def test_json_is_valid_whatever_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"z": np.float32(0.5), "a": [np.int64(3), float("nan"), np.inf], "p": Path("x/y"), "t": (1, True, None)}
    write_json(path, value)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read == {"z": 0.5, "a": [3, None, None], "p": "x/y", "t": [1, True, None]}
    assert list(read) == ["z", "a", "p", "t"]
    assert path.read_text().endswith("}\n")


def test_npy_can_be_memory_mapped(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((5, 3))
    write_npy(tmp_path / "a.npy", array)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), array)


def test_of_two_writers_of_a_folder_the_later_one_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as first:
        (first / "a").touch()
        with atomic_folder(tmp_path / "out") as second:
            (second / "b").touch()
        assert names(tmp_path / "out") == ["b"]
    assert names(tmp_path / "out") == ["a"]
    assert names(tmp_path) == ["out"]


def test_what_a_link_leads_to_is_nobodys_to_tidy(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/thesis.txt").write_text("")
    (tmp_path / "weights").symlink_to(tmp_path / "theirs")
    assert [path.name for path in entries(tmp_path / "theirs")] == ["thesis.txt"]
    assert entries(tmp_path / "weights") == entries(tmp_path / "nowhere") == []
