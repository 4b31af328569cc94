"""Every command of a stage that the README and the pages of `docs/` print is one that the config understands."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """The lines of shell blocks that run a stage once; a multirun's grid is for the tests of multiruns."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    blocks = [block for text in texts for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in dict.fromkeys(lines) if line.startswith("python -m src.") and " -m " not in line[12:]]


def test_there_are_some() -> None:
    assert len(commands()) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_command_composes_as_printed(command: str, tmp_path: Path) -> None:
    words = [sys.executable, *shlex.split(command)[1:], "--cfg", "job"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
