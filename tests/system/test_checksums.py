"""Checksums beside files: a flipped bit of a file is found, one of the checksums too, and a file without any is believed."""

import json
import random
import subprocess
from pathlib import Path

import pytest

from src.system.checksums import FILE, read_checked, write_checksums
from src.system.errors import UserError
from src.system.files import write_json
from src.system.read_back import read_json, read_yaml
from src.system.tables import read_csv


def test_the_system_reads_them_too(tmp_path: Path) -> None:
    """Hidden files, which are half-written or of others, and those of folders below are none of theirs."""
    write_json(tmp_path / "a.json", {"rate": 0.1})
    (tmp_path / "ä b.csv").write_text("x\n1\n", encoding="utf-8")
    (tmp_path / ".c.tmp").write_text("")
    (tmp_path / "below").mkdir()
    write_checksums(tmp_path)
    write_checksums(tmp_path)
    check = subprocess.run(["sha256sum", "--check", FILE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert check.stdout.splitlines() == ["a.json: OK", "ä b.csv: OK"]
    assert read_checked(tmp_path / "ä b.csv", "") == b"x\n1\n"


def test_a_flipped_bit_is_found_whatever_reads_the_file(tmp_path: Path) -> None:
    """A number that is another number is still JSON, YAML and CSV."""
    contents = {"a.json": b'{"rate": 0.1}', "a.yaml": b"rate: 0.1\n", "a.csv": b"rate\n0.1\n"}
    readers = {"a.json": read_json, "a.yaml": read_yaml, "a.csv": read_csv}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    write_checksums(tmp_path)
    for name, content in contents.items():
        assert json.dumps(readers[name](tmp_path / name, "again")).count("0.1") == 1
        (tmp_path / name).write_bytes(content.replace(b"1", b"3"))
        with pytest.raises(UserError, match=rf"{name} has changed since it was written; again$"):
            readers[name](tmp_path / name, "again")
        (tmp_path / FILE).rename(tmp_path / "away")
        assert json.dumps(readers[name](tmp_path / name, "again")).count("0.3") == 1
        (tmp_path / "away").rename(tmp_path / FILE)


def test_checksums_of_which_a_bit_has_flipped(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    write_checksums(tmp_path)
    whole, draw = (tmp_path / FILE).read_bytes(), random.Random(0)
    refused = 0
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << draw.randrange(8)
        (tmp_path / FILE).write_bytes(content)
        try:
            assert read_checked(tmp_path / "a.json", "again") == b"{}"
        except UserError as error:
            refused += str(error).endswith("a.json has changed since it was written; again")
    assert refused >= 64
