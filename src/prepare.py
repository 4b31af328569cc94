"""Raw data → arrays, split and encoded: `data/prepared/<data>/`.

python -m src.prepare [data=digits]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.command_line import stage

if TYPE_CHECKING:
    from src.config.loading import Config


@partial(stage, components=False)
def main(config: Config) -> None:
    """Prepare the data set of the config."""
    from src.data.preparing import prepare

    meta = prepare(config["data"], Path("data/prepared") / config["data"]["name"])
    sizes = ", ".join(f"{meta[f'n_{part}']} {part}" for part in ("train", "val", "test"))
    print(f"{meta['name']}: {meta['task']}, {sizes} rows of shape {meta['input_shape']}")


if __name__ == "__main__":
    main()
