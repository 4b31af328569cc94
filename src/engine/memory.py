"""The memory of this machine."""

import os


def memory() -> int:
    """Return its bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
