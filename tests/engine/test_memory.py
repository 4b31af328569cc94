"""The memory of the machine, or of the control group of the process."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.engine import memory as module
from src.engine.memory import memory

GIB = 2**30
GROUP = Path("/sys/fs/cgroup/memory/lockstep_test")


@pytest.mark.parametrize(
    ("line", "file", "limit", "bound"),
    [
        ("0::/docker/a", "docker/a/memory.max", str(GIB), GIB),
        ("0::/docker/a", "memory.max", str(GIB), GIB),  # a container sees its own group as the root
        ("0::/docker/a", "docker/a/memory.max", "max", None),
        ("7:cpu,memory:/b", "memory/b/memory.limit_in_bytes", str(GIB), GIB),
        ("7:pids:/b", "memory/b/memory.limit_in_bytes", str(GIB), None),
    ],
)
def test_a_container_has_the_memory_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, file: str, limit: str, bound: int | None
) -> None:
    machine = memory()
    (tmp_path / "fs" / file).parent.mkdir(parents=True)
    (tmp_path / "fs" / file).write_text(f"{limit}\n")
    (tmp_path / "groups").write_text(f"{line}\n")
    monkeypatch.setattr(module, "GROUPS", tmp_path / "fs")
    monkeypatch.setattr(module, "OF_PROCESS", tmp_path / "groups")
    assert memory() == (bound or machine)


def test_a_real_group_is_seen() -> None:
    try:
        GROUP.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        (GROUP / "memory.limit_in_bytes").write_text(str(GIB))
        enter = f"open('{GROUP}/cgroup.procs', 'w').write('0')"
        code = f"{enter}; from src.engine.memory import memory; print(memory())"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert int(found.stdout) == GIB
    finally:
        GROUP.rmdir()
