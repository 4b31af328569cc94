"""The picture of the range test marks what was found, whatever the losses are."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.reporting import range_panels, range_plots

CURVE = [
    {"lr": 10 ** (-6 + n / 10), "loss": 2 - n / 50 if n < 55 else 9.0 * (n - 54), "accuracy": None} for n in range(70)
]
FOUND: dict[str, Any] = {
    "suggested_lr": 1e-2, "valley_lr": 1e-2, "steepest_lr": 3e-2, "parallel_lr": 2e-2,
    "base_lr": 1e-4, "max_lr": 0.1, "diverged_at": None, "curve": CURVE,
    "linear": [{"lr": n / 100, "loss": 1.0, "accuracy": None if n % 2 else n / 20} for n in range(20)],
    "parallel": [{"lr": 10.0**-n, "loss": 0.1 + (n - 2) ** 2, "accuracy": 0.5} for n in range(5)],
}  # fmt: skip


def test_it_marks_what_was_found_in_the_panel_of_its_curve() -> None:
    figure = range_plots.lr_range(FOUND)
    marks = {(trace.xaxis, trace.name): trace.x[0] for trace in figure.data if trace.name}
    assert marks == {
        ("x", "suggested 0.01"): 1e-2, ("x", "steepest 0.03"): 3e-2,
        ("x2", "begins to rise 0.0001"): 1e-4, ("x2", "slows, ragged or falls 0.1"): 0.1,
        ("x3", "suggested 0.01"): 1e-2, ("x3", "best side by side 0.02"): 2e-2,
    }  # fmt: skip
    low, high = figure.layout.yaxis.range
    assert low < min(point["loss"] for point in CURVE if point["loss"] is not None)
    assert 2 < high < 9  # the start is in sight, the divergence is not


def test_a_figure_that_few_steps_have_is_one_line() -> None:
    (line,) = [trace for trace in range_plots.lr_range(FOUND).data if trace.xaxis == "x2" and not trace.name]
    assert list(zip(line.x, line.y, strict=True)) == [(n / 100, n / 20) for n in range(0, 20, 2)]


def test_regression_shows_the_share_that_is_explained() -> None:
    linear = [{"lr": n / 100, "loss": 1.0, "accuracy": None, "r2": n / 20} for n in range(20)]
    assert range_plots.lr_range({**FOUND, "linear": linear}).layout.yaxis2.title.text == "r2"


@pytest.mark.parametrize("loss", [None, math.nan, 1.0])
def test_it_survives_any_loss(loss: float | None, tmp_path: Path) -> None:
    curve = [{"lr": 10.0**-n, "loss": loss, "accuracy": 0.5} for n in range(5)]
    assert range_plots.lr_range({"curve": curve}).data
    range_panels.write_png({**FOUND, "curve": curve, "parallel": curve}, tmp_path / "a.png")


def test_png_has_the_same_bytes_and_no_metadata(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        range_panels.write_png(FOUND, tmp_path / name)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert not re.search(rb"tEXt|iTXt|tIME", data)
    assert np.frombuffer(data[16:24], ">u4").tolist()[0] > 1000, "three panels beside each other"
