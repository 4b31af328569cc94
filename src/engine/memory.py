"""The memory that this process may take."""

import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OF_PROCESS = Path("/proc/self/cgroup")
LIMITS = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # of control groups, version 2 and 1


def memory() -> int:
    """Return the bytes of memory that this machine has, used or not, or that its control group (a container's) may have."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])


def _limits() -> list[int]:
    """Read the limits of the control groups of this process, and of the whole of what it sees of them."""
    limits = []
    try:
        lines = OF_PROCESS.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if (name := "memory" if "memory" in controllers.split(",") else controllers) in LIMITS:
            for folder in (GROUPS / name, GROUPS / name / path.lstrip("/")):
                try:
                    text = (folder / LIMITS[name]).read_text(encoding="ascii").strip()
                except OSError:
                    continue
                limits += [int(text)] if text.isdigit() else []
    return limits
