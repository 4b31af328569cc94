"""Files that are whole or not there: written under a temporary name, synced, renamed."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from src.system.errors import UserError


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
    """Yield a fresh folder to fill, which becomes `path` when the block ends well and vanishes when it does not.

    Each writer has temporary names of its own, so that of two at once the later one's folder stays, whole. What a writer
    that was killed has left is removed by the next one.
    """
    _remove_leftovers(path)
    mark = f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    temporary, old = path.with_name(f"{mark}.new"), path.with_name(f"{mark}.old")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync_folder(temporary)
        _put_in_place(temporary, path, old)
        sync_folder(path.parent)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _put_in_place(temporary: Path, path: Path, old: Path) -> None:
    while True:
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            temporary.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(old, ignore_errors=True)  # another writer was faster: its folder is replaced in turn


def entries(folder: Path) -> list[Path]:
    """List what is right in a folder, so that it can be tidied; nothing of a link, which may lead to another's files."""
    return [] if folder.is_symlink() else list(folder.glob("*"))


def _remove_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f".{path.name}.*"):
        mark = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.[0-9a-f]{{8}}\.(new|old)", leftover.name)
        if mark and not _is_alive(int(mark[1])):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, as fsync of a file does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(key: str, folder: Path, size: int = 0) -> None:
    """Refuse a folder that cannot be written or has no room, before any work is done.

    Args:
        key: the config key that names the folder, for the message.
        folder: which is made if it is not there.
        size: bytes that will be written at least.

    Raises:
        UserError: it names the folder and what would help.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".tmp") as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        raise UserError(
            f"{key}: {folder} cannot be written ({error.strerror}); name another folder, or free it"
        ) from error
    if (free := shutil.disk_usage(folder).free) < size:
        raise UserError(
            f"{key}: {folder} has {free:,} bytes free and needs {size:,}; free some, or name another folder"
        )


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file of bytes."""
    atomic_write(path, data)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, in UTF-8."""
    atomic_write(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write valid JSON with the keys in their given order: NaN and infinities become null, NumPy's numbers plain ones."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, (text + "\n").encode())


def write_npy(path: Path, array: Any) -> None:
    """Write an array as `.npy`."""
    import numpy as np

    atomic_write(path, lambda file: np.save(file, array, allow_pickle=False))


@contextmanager
def npy_rows(path: Path, count: int) -> Iterator[Callable[[Any], None]]:
    """Yield what writes the next rows of an array into a `.npy` file of `count` rows, which is never in memory as a whole.

    The bytes are those of `write_npy`. Raises OSError that names `path`, for instance when the disk is full.
    """
    import numpy as np

    left = count

    def write(rows: Any) -> None:
        nonlocal left
        if left == count:
            shape = (count, *rows.shape[1:])
            header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(rows).data)
        left -= len(rows)

    try:
        with path.open("xb") as file:
            yield write
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    if left:
        raise RuntimeError(f"{path} lacks {left} of {count} rows")


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name as `.npz`."""
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
