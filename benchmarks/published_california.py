"""California with the columns and the split on which published figures stand, as a table for `data=csv`.

    python benchmarks/published_california.py houses.csv
    python benchmarks/pipeline.py +data.file=$PWD/houses.csv +data.target=value +data.split_column=split \
        +data.task=regression --data csv --models nca --values 0

Columns are averages of a block's households, without `ocean_proximity`; values are in 100,000 dollars. The split is that of
Gorishniy et al. 2022 (tabular-dl-num-embeddings, bin/datasets.py), which TabR and TabM have too.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split


def main() -> None:
    """Write the table to the path that the command line gives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    root = Path(os.environ.get("LOCKSTEP_DATA", "data/raw"))
    published(pd.read_csv(root / "california_housing" / "housing.csv")).to_csv(parser.parse_args().table, index=False)


def published(blocks: pd.DataFrame) -> pd.DataFrame:
    """Compute the published columns and the split of the blocks, which stand in the order of StatLib's file."""
    rest, test = train_test_split(np.arange(len(blocks)), test_size=0.2, random_state=0)
    _, val = train_test_split(rest, test_size=0.2, random_state=1)
    split = np.full(len(blocks), "train", dtype=object)
    split[test], split[val] = "test", "val"
    return pd.DataFrame(
        {
            "MedInc": blocks["median_income"],
            "HouseAge": blocks["housing_median_age"],
            "AveRooms": blocks["total_rooms"] / blocks["households"],
            "AveBedrms": blocks["total_bedrooms"] / blocks["households"],
            "Population": blocks["population"],
            "AveOccup": blocks["population"] / blocks["households"],
            "Latitude": blocks["latitude"],
            "Longitude": blocks["longitude"],
            "value": blocks["median_house_value"] / 1e5,
            "split": split,
        }
    )


if __name__ == "__main__":
    main()
