"""Small tables as files, with their configs, and what `prepare` makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.data.preparing import prepare
from src.system.data_meta import DataMeta

ROOT = Path(__file__).parents[2]


def conf(name: str, **values: Any) -> dict[str, Any]:
    """conf/data/<name>.yaml as Hydra composes it, with `values` set."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        group = OmegaConf.to_container(compose(f"data/{name}").data)
    assert isinstance(group, dict)
    return {**{str(key): value for key, value in group.items()}, **values}


def csv(folder: Path, content: pd.DataFrame | str | bytes, name: str = "t.csv", **values: Any) -> dict[str, Any]:
    """The config of a CSV file that holds `content`."""
    folder.mkdir(exist_ok=True)
    if isinstance(content, pd.DataFrame):
        content = content.to_csv(index=False)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return conf("csv", root=str(folder), **{"file": name, "target": "y", "task": "classification", **values})


def one_column(folder: Path, cells: list[str], **values: Any) -> DataMeta:
    """What `prepare` says of a table of a column `c` with these cells, a column of numbers, and a class `y`."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"b": rng.standard_normal(len(cells)), "c": cells, "y": np.arange(len(cells)) % 2})
    return prepare(csv(folder, table, **values), folder / "out")


def line(meta: DataMeta, column: str = "c") -> dict[str, Any]:
    """A column's line of the profile."""
    (found,) = [each for each in meta.profile if each["column"] == column]
    return found
