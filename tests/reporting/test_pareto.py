"""The picture of the Pareto front, from files in the contract's format."""

from pathlib import Path
from typing import Any

import pytest

from src.reporting import page as pages
from src.reporting import pareto, results

POINTS = [(0.9, 5000), (0.8, 2000), (0.85, 6000), (0.95, 40_000), (0.7, 2000), (0.97, 90_000)]  # the last is infeasible
TABLE = [
    {"number": str(n), "state": "complete", "value": str(v), "epochs": "1", "diagnosis": "", "parameters": str(p)}
    for n, (v, p) in enumerate(POINTS)
]
SUMMARY: dict[str, Any] = {
    "metric": "val/accuracy",
    "direction": "maximize",
    "best_number": 3,
    "minimized": ["parameters"],
    "constraints": {"parameters": 50_000},
    "front": [{"number": 3}, {"number": 0}, {"number": 1}],
}


@pytest.fixture
def sweep() -> results.Sweep:
    return results.Sweep("mlp", results.read_study(TABLE, [], SUMMARY), SUMMARY, ([], [], []), {}, {})


def test_the_stair_rises_with_the_measure_and_the_axes_name_their_units(sweep: results.Sweep) -> None:
    figure = pareto.figure(sweep.study, "parameters")
    traces = {trace.name: trace for trace in figure.data}
    (stair,) = (trace for trace in figure.data if trace.line.shape == "hv")
    assert list(zip(stair.x, stair.y, strict=True)) == [(2000, 0.8), (5000, 0.9), (40_000, 0.95), (90_000, 0.95)]
    assert set(traces["Pareto front (3)"].x) == {2000, 5000, 40_000}
    assert list(zip(traces["trials (2)"].x, traces["trials (2)"].y, strict=True)) == [(6000, 0.85), (2000, 0.7)]
    assert list(traces["outside the constraints (1)"].x) == [90_000]
    assert list(traces["at most 50,000"].x) == [50_000, 50_000]
    assert list(traces["best: trial 3"].y) == [0.95]
    assert figure.layout.xaxis.type == "log"
    assert "weights" in figure.layout.xaxis.title.text
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert (ticks["2k"], ticks["50k"]) == (2000, 50_000)


def test_an_infeasible_trial_is_neither_best_so_far_nor_among_the_best(sweep: results.Sweep) -> None:
    tables = pages.trial_tables(sweep)
    assert [trial.number for trial in tables["front"].trials] == [3, 0, 1]
    assert [trial.number for trial in tables["best"].trials] == [3, 0, 2, 1, 4]
    (so_far,) = (trace for trace in pages.sweep_figures(sweep)["history"].data if trace.name == "best so far")
    assert max(so_far.y) == 0.95


def test_the_page_shows_the_front_only_where_there_are_several_objectives(tmp_path: Path) -> None:
    for front, summary in (
        (True, SUMMARY),
        (False, {k: v for k, v in SUMMARY.items() if k not in ("front", "minimized")}),
    ):
        study = results.read_study(TABLE, [], summary)
        sweep = results.Sweep("mlp", study, summary, ([], [], []), {}, {})
        html = pages.render(results.Report([sweep], None, {"task": "classification"}))
        assert ("The Pareto front" in html) == ('id="sweep0-front0"' in html) == front
        assert "1 of 6 complete trials is outside the constraints (parameters at most 50,000)" in html
        assert "best: trial 3" in html or not front
