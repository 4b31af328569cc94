"""The memory of this machine."""

import os


def memory() -> int:
    """Return the bytes of memory that this machine has, used or not."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
