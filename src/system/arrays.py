"""Files of arrays that are read back: one of which a byte has changed is found, and said in a sentence."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from src.system.checksums import read_checked
from src.system.errors import UserError

UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, struct.error, zlib.error)


def read_npy(path: Path, advice: str) -> NDArray[Any]:
    """Read an array.

    Args:
        path: of the `.npy` file.
        advice: the end of the sentence.

    Raises:
        UserError: the file is not there, is torn or has changed.
    """
    content = read_checked(path, advice)
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read; {advice}") from error


def read_npz(path: Path, name: str, advice: str) -> NDArray[Any]:
    """Read one array of an archive.

    Args:
        path: of the `.npz` file.
        name: of the array.
        advice: the end of the sentence.

    Raises:
        UserError: the file is not there, is torn, has changed or lacks the array.
    """
    content = read_checked(path, advice)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read, or has changed since it was written; {advice}") from error
