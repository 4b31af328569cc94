"""Files of arrays that are read back: one of which a byte has changed is found, and said in a sentence."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from src.system.errors import UserError

UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, struct.error, zlib.error)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_npy(path: Path, sha256: str | None, advice: str) -> NDArray[Any]:
    """Read an array that was written with its digest.

    Args:
        path: of the `.npy` file.
        sha256: of the file as it was written; None where an earlier version wrote none.
        advice: the end of the sentence.

    Raises:
        UserError: the file is not there, is torn or has changed.
    """
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{path} has changed since it was written; {advice}")
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read; {advice}") from error


def read_npz(path: Path, name: str, advice: str) -> NDArray[Any]:
    """Read one array of an archive, whose format has a checksum of each.

    Args:
        path: of the `.npz` file.
        name: of the array.
        advice: the end of the sentence.

    Raises:
        UserError: the file is not there, is torn, has changed or lacks the array.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read, or has changed since it was written; {advice}") from error
