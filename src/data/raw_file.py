"""Bytes of raw files: unpacked where they are compressed, and refused by what they would take before that is taken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from src.system.errors import UserError

PACKED: dict[str, type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
OTHERS = (".zip", ".zst", ".7z", ".tar", ".tgz", ".rar", ".xlsx", ".xls", ".ods")
CHUNK = 1 << 22
BOMB = 1 << 25  # bytes, from which the ratio of unpacked to packed is looked at
RATIO = 150  # of unpacked to packed bytes; text has about 10
MOST_COLUMNS = 20_000
OBJECTS = 8  # bytes of memory that a byte of text takes once it is cells


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a file, unpacked by its suffix: .gz, .bz2 or .xz.

    Args:
        path: the file.
        most: how many bytes at most; None: as fit into memory.

    Raises:
        UserError: it is damaged, cannot be read, would not fit into memory, or unpacks to far more than it is.
    """
    budget = available_memory() // OBJECTS if most is None else most
    size, is_packed = path.stat().st_size, path.suffix.lower() in PACKED
    with opened(path) as file:
        if not is_packed:
            check_size(path, size, budget)
            return file.read()
        chunks, total = [], 0
        for chunk in _unpacked(path, file):
            chunks.append(chunk)
            total += len(chunk)
            check_size(path, total, budget)
        return b"".join(chunks)


def _unpacked(path: Path, file: BinaryIO) -> Iterator[bytes]:
    total, size = 0, path.stat().st_size
    while chunk := file.read(CHUNK):
        total += len(chunk)
        if total > BOMB and total > RATIO * size:
            raise UserError(
                f"{path} unpacks to more than {RATIO} times its {size} bytes: unpack it by hand if it is right"
            )
        yield chunk


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked by its suffix: .gz, .bz2 or .xz.

    Raises:
        UserError: it is damaged or cannot be read.
    """
    if path.suffix.lower() in OTHERS:
        raise UserError(f"{path} is no text file: save it as .csv (.gz, .bz2 and .xz are unpacked)")
    kind = path.suffix.lower()
    try:
        with PACKED[kind](path) if kind in PACKED else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if kind not in PACKED:
            raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
        name = "gzip" if kind == ".gz" else kind.removeprefix(".")
        raise UserError(f"{path} is not a whole {name} file: fetch it again") from None


def may_have_more_bytes(path: Path, most: int) -> bool:
    """Tell whether a file may have more bytes than `most` once it is unpacked, without reading it."""
    return path.stat().st_size * (RATIO if path.suffix.lower() in PACKED else 1) > most


def has_more_lines(path: Path, most: int) -> bool:
    """Tell whether a file of text has more lines than `most`, without reading on once it has.

    Raises:
        UserError: it is damaged or cannot be read.
    """
    count = 0
    with opened(path) as file:
        for chunk in _unpacked(path, file):
            count += max(chunk.count(b"\n"), chunk.count(b"\r"))
            if count > most:
                return True
    return False


def check_size(path: Path, size: int, budget: int) -> None:
    """Refuse a file of `size` bytes, unpacked, where `path` may have `budget` at most.

    Raises:
        UserError: it is larger.
    """
    if size > budget:
        raise UserError(
            f"{path} has {size / 1e9:.1f} GB or more, but only {budget / 1e9:.1f} GB fit here: "
            "give it fewer rows or columns, or use a machine with more memory"
        )


def available_memory() -> int:
    """Return the bytes of memory that this machine can still give."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
