"""Raw data → arrays, split and encoded: `data/prepared/<data>/`.

python -m src.prepare [data=digits]
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from src.config.command_line import stage

if TYPE_CHECKING:
    from src.config.loading import Config


@partial(stage, components=False)
def main(config: Config) -> None:
    """Prepare the data set of the config."""
    from hydra.core.hydra_config import HydraConfig

    from src.config.data_defaults import PREPARED
    from src.data.preparing import prepare
    from src.data.profile import lines
    from src.data.reader import parse
    from src.data.sources import check_name, link_files

    reader, typed = parse(config["data"]), config.typed("data")
    check_name(reader.name, HydraConfig.get().runtime.choices["data"], typed)
    meta = prepare(config["data"], PREPARED / reader.name, typed)
    link_files(reader)
    sizes = f"{meta.n_train} train, {meta.n_val} val, {meta.n_test} test"
    print(f"{meta.name}: {meta.task}, {sizes} rows of shape {list(meta.input_shape)}")
    for line in lines(meta):
        print(line)


if __name__ == "__main__":
    main()
