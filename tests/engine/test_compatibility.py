"""A model that cannot take the data, or not in reasonable time, is passed over where the pipeline may go on without it."""

import json
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from src.engine.compatibility import unsuitable
from src.engine.model_size import MOST_NEIGHBOURS
from src.system.passed_over import FILE
from tests.config.test_loading import made
from tests.support.metas import data_meta
from tests.test_architecture import ROOT


@pytest.mark.parametrize(("model", "rows", "why"), [
    ("nca", MOST_NEIGHBOURS, None),
    ("nca", MOST_NEIGHBOURS + 1, "compares every row with all 200,001 training rows"),
    ("mlp", MOST_NEIGHBOURS + 1, None),
    ("cnn", 1000, "needs images"),
])  # fmt: skip
@pytest.mark.parametrize("choice", ["skip", "refuse"])
def test_the_pipeline_passes_over_what_would_take_hours(
    tmp_path: Path, model: str, rows: int, why: str | None, choice: str
) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = made("data=adult", f"model={model}", f"unsuitable={choice}")
    out = tmp_path / model
    out.mkdir()
    assert unsuitable(config, data_meta(8, n_train=rows), out) == (why is not None and choice == "skip")
    assert (out / FILE).exists() == (why is not None and choice == "skip")
    if (out / FILE).exists():
        assert why
        assert why in json.loads((out / FILE).read_text(encoding="utf-8"))["passed_over"]
