"""Readers of raw data, one kind of files each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from src.data.raw import DataConfig
from src.data.readers.csv import CsvConfig
from src.data.readers.digits import DigitsConfig
from src.data.readers.idx import IdxConfig
from src.data.readers.splits import SplitsConfig
from src.system.errors import UserError, did_you_mean

KINDS: dict[Any, type[DataConfig]] = {
    "digits": DigitsConfig,
    "idx": IdxConfig,
    "csv": CsvConfig,
    "splits": SplitsConfig,
}


def parse(config: Mapping[str, Any]) -> DataConfig:
    """The checked config of its reader; UserError says which key is wrong."""
    reader = config.get("reader")
    if reader not in KINDS:
        raise UserError(f"data.reader={reader!r} is not a reader: {did_you_mean(str(reader), KINDS)}")
    kind = KINDS[reader]
    for key, value in config.items():
        if value == "???":
            raise UserError(f"data.{key} must be given: {kind.model_fields[key].description}")
        if key not in kind.model_fields:
            raise UserError(f"data.{key} is not a key of {reader} data: {did_you_mean(key, kind.model_fields)}")
    try:
        parsed = kind.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"data.{key}={first['input']!r}: {first['msg']}") from None
    if parsed.val_fraction + (parsed.test_fraction or 0) >= 1:
        raise UserError("data.val_fraction and data.test_fraction add up to 1 or more: training needs rows too")
    return parsed
