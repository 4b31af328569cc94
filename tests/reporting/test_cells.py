"""Pictures of cells: every edge with its operation, a line for every weight of a supernet's mixture."""

import re
from pathlib import Path

import pytest

from src.reporting import palette
from src.reporting.cells import mixture, svg
from src.reporting.results import read_sweep
from src.system.cell_string import NAMES, cell_string
from tests.support.made_outputs import write_csv, write_json

EDGES = dict(zip(NAMES, ("none", "a<b", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"), strict=True))


def test_a_cell_is_drawn_with_the_operation_on_each_edge() -> None:
    drawn = svg(EDGES)
    texts = re.findall("<text[^>]*>([^<]*)</text>", drawn)
    assert sorted(texts) == sorted(
        ["a&lt;b", *(name for name in EDGES.values() if name != "a<b"), "input", "1", "2", "output"]
    )
    assert drawn.count("<path") == 6
    assert drawn.count("stroke-dasharray") == 1, "what carries nothing is dashed"


def test_every_weight_of_a_mixture_is_a_line_in_the_panel_of_its_edge() -> None:
    curves = {f"outer/architecture/{edge}/{name}": [0.5, 0.1] for edge in NAMES for name in ("none", "skip_connect")}
    figure = mixture(curves | {"val/loss": [1.0, 2.0]})
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["none", "skip_connect"] * 6
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3", "x4", "x5", "x6"}
    assert {trace.line.color for trace in figure.data} <= set(palette.PALETTE)
    assert mixture({"val/loss": [1.0]}) is None


@pytest.mark.parametrize("written", [EDGES, cell_string(EDGES)])
def test_the_cell_of_the_best_trial_is_read_with_the_curves_of_its_supernet(tmp_path: Path, written: object) -> None:
    folder = tmp_path / "sweep" / "supernet"
    folder.mkdir(parents=True)
    ending = f"supernet: its cell is {cell_string(EDGES)}"
    rows = [
        {"number": 0, "state": "pruned", "value": "", "epochs": 2, "diagnosis": "supernet: its cell is another"},
        {"number": 1, "state": "pruned", "value": "", "epochs": 2, "diagnosis": ending},
        {"number": 2, "state": "complete", "value": 0.9, "epochs": 2, "diagnosis": ""},
    ]
    write_csv(folder / "trials.csv", rows)
    curves = [
        {"number": n, "epoch": e, "outer/architecture/x/none": n + e / 10 if n < 2 else ""}
        for n in range(3)
        for e in (1, 2)
    ]
    write_csv(folder / "curves.csv", curves)
    write_json(folder / "summary.json", {"best_number": 2})
    write_json(folder / "best.yaml", {"model": {"name": "cell", "operations": written}})
    sweep = read_sweep(tmp_path, "supernet")
    assert sweep.cell == EDGES
    assert sweep.supernet["outer/architecture/x/none"] == [1.1, 1.2]
