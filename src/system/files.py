"""Files that are whole or not there: written under a temporary name, synced, renamed."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def atomic_write(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Put `data`, bytes or what a function writes into a file, at `path`; until it is all there, the old file stays.

    Raises OSError that names `path`, for instance when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A fresh folder to fill, which becomes `path` when the block ends well and vanishes when it does not.

    One writer at a time: what a killed one left is removed by the next.
    """
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync_folder(temporary)
        with suppress(FileNotFoundError):
            path.rename(old)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, as fsync of a file does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    atomic_write(path, data)


def write_text(path: Path, text: str) -> None:
    atomic_write(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Valid JSON with the keys in their given order: NaN and infinities become null, NumPy's numbers plain ones."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, (text + "\n").encode())


def write_npy(path: Path, array: Any) -> None:
    import numpy as np

    atomic_write(path, lambda file: np.save(file, array, allow_pickle=False))


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    atomic_write(path, lambda file: np.savez(file, **arrays))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars, torch's tensors
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value
