"""Readers of raw data: a reader is a class with the keys of its `conf/data/*.yaml` and `read()`, one a file in `readers/`.

The file's name is the reader's (`reader: csv`: the class `Csv` of `readers/csv.py`). A reader of tables derives from
`TableReader`, one of images from `ImageReader`: that alone decides how its rows are preprocessed.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.config.components import component
from src.config.unknown_key import unknown_key
from src.data.raw import Raw
from src.system.errors import UserError, shortened

if TYPE_CHECKING:
    from src.data.inference import Hints
    from src.data.preprocessing import Preprocessor


FOLDERS = ("data/raw", "data/import")  # of all data sets, after that of LOCKSTEP_DATA
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Reader(BaseModel):
    """The keys that every data set has; their defaults stand in `conf/data` alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    reader: str
    source: str
    root: str | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    val_fraction: Fraction
    test_fraction: Fraction | None
    rows: Annotated[int, Field(ge=1)] | None

    @abstractmethod
    def read(self) -> Raw:
        """Read the raw files into rows with their targets.

        Raises:
            UserError: it names the file, column or row that is wrong and what would be right.
        """

    @abstractmethod
    def preprocessor(self, raw: Raw, train: NDArray[np.intp]) -> Preprocessor:
        """Fit what turns raw rows into the inputs of a model, on the training rows `train` of `raw` alone."""

    @property
    def files(self) -> list[str]:
        """The names of the raw files that `read` reads."""
        return []

    @property
    def folders(self) -> list[Path]:
        """The folders in which a raw file is looked for, in this order."""
        if self.root is not None:
            return [Path(self.root)]
        return [Path(base) / self.name for base in (os.environ.get("LOCKSTEP_DATA"), *FOLDERS) if base]

    def find(self, file: str) -> Path:
        """Return the path of a raw file.

        Raises:
            UserError: it is not there; the sentence says where to get it.
        """
        paths = [folder / file for folder in self.folders]
        present = [path for path in paths if path.is_file()]
        if present:
            return present[0]
        pointers = [pointer for path in paths if (pointer := path.with_name(f"{path.name}.dvc")).is_file()]
        fetch = f"get it from {self.source}" if self.source else "put it there"
        if pointers:
            fetch = f"`dvc --cd {pointers[0].parent} update {pointers[0].name}` fetches it"
        places = " or ".join(str(path) for path in paths)
        raise UserError(
            f"{places} is not there: {fetch}, or set data.root to the folder that has it, "
            f"or the environment variable LOCKSTEP_DATA to the folder that has {self.name}/"
        )


class TableReader(Reader):
    """The keys of every table."""

    scaling: Literal["quantile", "standard", "robust"]

    def preprocessor(self, raw: Raw, train: NDArray[np.intp]) -> Preprocessor:
        """Fit the preprocessor of tables."""
        from src.data.preprocessing import TablePreprocessor

        return TablePreprocessor.fit(raw.x.take(train, axis=0), self.hints(raw.separator), self.scaling, self.seed)

    def hints(self, separator: str) -> Hints:
        """Collect what the config says of columns.

        Args:
            separator: of the file's cells.
        """
        from src.data.inference import Hints

        return Hints(separator=separator)


class ImageReader(Reader):
    """The keys of every set of images: none of its own."""

    def preprocessor(self, raw: Raw, train: NDArray[np.intp]) -> Preprocessor:
        """Fit the preprocessor of images."""
        from src.data.preprocessing import ImagePreprocessor

        return ImagePreprocessor.fit(raw.x.take(train, axis=0))


def parse(config: Mapping[str, Any]) -> Reader:
    """Make the reader that a config's `reader` names, with its keys checked.

    Raises:
        UserError: a key is unknown, missing or wrong; the sentence names it and what would be right.
    """
    kind: type[Reader] = component("data", config)  # type: ignore[assignment]
    for key, value in config.items():
        if value == "???":
            raise UserError(f"data.{key} must be given: {kind.model_fields[key].description}")
        if key not in kind.model_fields:
            raise unknown_key(f"data.{key}", [f"data.{name}" for name in kind.model_fields])
    try:
        reader = kind.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise UserError(f"data.{key}: a value is needed; other files of conf/data say what it is") from None
        raise UserError(f"data.{key}={shortened(first['input'])}: {first['msg']}") from None
    if reader.val_fraction + (reader.test_fraction or 0) >= 1:
        raise UserError("data.val_fraction and data.test_fraction add up to 1 or more: training needs rows too")
    return reader
