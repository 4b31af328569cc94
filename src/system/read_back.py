"""Files that stages write and others read back: one that is not as it was written is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.system.arrays import UNREADABLE
from src.system.checksums import read_checked, unchecked
from src.system.errors import UserError, first_line

DAMAGE = (*UNREADABLE, TypeError, AttributeError, LookupError, ArithmeticError)


@contextmanager
def intact(path: Path, advice: str) -> Iterator[None]:
    """Turn the errors of reading a file whose content is not as a stage wrote it into one sentence.

    Args:
        path: of the file.
        advice: the end of the sentence.

    Raises:
        UserError: the block could not make sense of it.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; {advice}") from error
    except DAMAGE as error:
        raise UserError(f"{path} is not as it was written ({first_line(error)[:120]}); {advice}") from error


@contextmanager
def intact_below(folders: Iterable[Path], advice: str) -> Iterator[None]:
    """Turn the errors of showing what the files below folders say into one sentence, unless all are as they were written.

    Args:
        folders: that stages have filled.
        advice: the end of the sentence.

    Raises:
        UserError: one has changed, or has no checksum, and the block could not make sense of them. Else it is a bug of the
            block, whose error goes through.
    """
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        if (path := next(filter(None, map(unchecked, folders)), None)) is None:
            raise
        raise UserError(f"{path} may not be as it was written ({first_line(error)[:120]}); {advice}") from error


def read_json(path: Path, advice: str, kind: type[Any] = dict) -> Any:
    """Read the JSON file at `path`, whose content is of a `kind`; the sentence of an error ends with `advice`.

    Raises:
        UserError: it is not there, has changed since it was written, is no JSON, or of another kind.
    """
    with intact(path, advice):
        content = json.loads(read_checked(path, advice).decode())
        if not isinstance(content, kind):
            raise TypeError(f"it holds no {'object' if kind is dict else 'list'}")
        return content


def read_yaml(path: Path, advice: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; the sentence of an error ends with `advice`.

    Raises:
        UserError: it is not there, has changed since it was written, is no YAML, or no mapping.
    """
    import yaml

    with intact(path, advice):
        try:
            content = yaml.safe_load(read_checked(path, advice).decode())
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error
        if not isinstance(content, dict):
            raise TypeError("it holds no mapping")
        return content
