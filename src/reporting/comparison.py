"""The sweeps of a multirun side by side: the best value of each strategy over epochs and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from src.reporting import labels, plots
from src.reporting.palette import ACCENT, FAILED, GRID, INK, MUTED, PRUNED, SECOND
from src.system.files import write_json, write_text
from src.system.read_back import read_json
from src.system.tables import csv_text, read_csv

AGAIN = "run the sweep again"

COLOURS = (ACCENT, SECOND, "#2a9d76", FAILED, "#8a5cc2", "#1c9cc0", "#b0851f", MUTED)
ON_PAGES = (ACCENT, SECOND, FAILED, INK, PRUNED, MUTED)  # of the palette that a page turns dark
STYLES = ("-", "--", ":")  # once the colours are used up
AXES = {"epochs": "epochs trained, over all trials", "seconds": "seconds of training, over all workers"}
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Run:
    """One sweep: `best[i]` was its best value after `epochs[i]` epochs of all trials, which took `seconds[i]` of work."""

    strategy: str
    metric: str
    maximize: bool
    epochs: NDArray[np.float64]
    seconds: NDArray[np.float64]
    best: NDArray[np.float64]  # NaN until a trial is complete
    wall_s: float


def read(folder: Path, strategy: str) -> list[Run]:
    """Read the sweeps below a job's folder as runs of its strategy; none where no sweep with a complete trial is there."""
    runs = []
    for path in sorted(folder.glob("sweep/*/progress.csv")):
        rows = read_csv(path, AGAIN)
        summary, timing = (read_json(path.with_name(f"{name}.json"), AGAIN) for name in ("summary", "timing"))
        if summary["best_value"] is not None:
            epochs, best = (np.array([float(row[name] or "nan") for row in rows]) for name in ("epochs", "best"))
            seconds = np.cumsum(timing["segment_s"])
            maximize = summary["direction"] == "maximize"
            runs.append(Run(strategy, summary["metric"], maximize, epochs, seconds, best, timing["wall_s"]))
    return runs


def strategies(choices: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by its overrides without the seed, as `search=tpe`."""
    return [
        ", ".join(word.lstrip("+") for word in words if not word.lstrip("+").startswith("seed=")) for words in choices
    ]


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Compare the strategies, a row each, the best median first: best value, epochs to a value, epochs spent, seconds.

    `value` is the worst of the median bests, so that every strategy has reached it in half of its runs or more: the
    fastest to it need not be the best in the end. `epochs_to` is a median, None where it is not reached so often.
    """
    grouped, sign = _grouped(runs), -1 if runs[0].maximize else 1
    level = max(sign * float(np.median([run.best[-1] for run in group])) for group in grouped.values())
    rows = []
    for strategy, group in grouped.items():
        low, median, high = np.quantile([run.best[-1] for run in group], QUARTILES).tolist()
        spent, seconds, wall = np.median([(r.epochs[-1], r.seconds[-1], r.wall_s) for r in group], axis=0).tolist()
        best = {"best_q1": low, "best_median": median, "best_q3": high}
        to = float(np.median([_epochs_to(run, level) for run in group]))
        reached = {"value": sign * level, "epochs_to": to if np.isfinite(to) else None}
        times = {"epochs": spent, "train_s": seconds, "wall_s": wall}
        rows.append({"strategy": strategy, "runs": len(group), **best, **reached, **times})
    return sorted(rows, key=lambda row: (sign * row["best_median"], row["epochs"]))


def _epochs_to(run: Run, level: float) -> float:
    """Count the epochs until a run's best, as a loss, is at most `level`; infinite if never."""
    losses = (-1 if run.maximize else 1) * run.best
    reached = np.flatnonzero(losses <= level)
    return float(run.epochs[reached[0]]) if reached.size else float("inf")


def curves(runs: Sequence[Run], over: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the quartiles of the best so far, from the place on where every run has one.

    `over` is the axis, `epochs` or `seconds`. A run that has ended keeps its best. Returns the places [P] on that axis
    and the quartiles [3, P].
    """
    axes = [getattr(run, over) for run in runs]
    has_best = [np.isfinite(run.best) for run in runs]
    begin = max(float(axis[finite][0]) for axis, finite in zip(axes, has_best, strict=True))
    places = np.unique(np.concatenate([[begin], *axes]))
    places = places[places >= begin]
    steps = [run.best[np.searchsorted(axis, places, side="right") - 1] for axis, run in zip(axes, runs, strict=True)]
    return places, np.quantile(steps, QUARTILES, axis=0)


def write(folder: Path, runs: Sequence[Run]) -> None:
    """Write `comparison.csv` (a row a strategy), `comparison.json` (the curves of the picture) and `comparison.png`."""
    rows = table(runs)
    write_text(folder / "comparison.csv", csv_text(list(rows[0]), rows))
    groups = _grouped(runs)
    lines = {
        over: {row["strategy"]: [part.tolist() for part in curves(groups[row["strategy"]], over)] for row in rows}
        for over in ("epochs", "seconds")
    }
    about = {"metric": runs[0].metric, "maximize": runs[0].maximize}
    write_json(folder / "comparison.json", {**about, "table": rows, "curves": lines})
    _draw(folder / "comparison.png", runs[0], rows, lines)


def figure(comparison: Mapping[str, Any], over: str) -> go.Figure:
    """Draw one half of the picture for a page, from `comparison.json`; `over` is `epochs` or `seconds`."""
    traces = []
    for number, row in enumerate(comparison["table"]):
        x, (low, median, high) = comparison["curves"][over][row["strategy"]]
        colour, name = ON_PAGES[number % len(ON_PAGES)], labels.text(row["strategy"])
        thin: dict[str, Any] = {"line_shape": "hv", "showlegend": False, "hoverinfo": "skip", "opacity": 0.6}
        traces += [plots.line(x, bound, colour, 0.6, **thin) for bound in (low, high)]
        traces.append(plots.line(x, median, colour, name=name, line_shape="hv"))
    limits = list(_limits(comparison["curves"]["epochs"], comparison["maximize"]))
    yaxis = {"title": f"best {labels.text(comparison['metric'])}", "range": limits}
    return plots.figure(320, *traces, showlegend=True, xaxis={"title": AXES[over], "rangemode": "tozero"}, yaxis=yaxis)


def _draw(path: Path, first: Run, rows: Sequence[Mapping[str, Any]], lines: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    for axes, (over, strategy_lines) in zip(picture.subplots(1, 2, sharey=True), lines.items(), strict=True):
        for number, row in enumerate(rows):
            x, (low, median, high) = strategy_lines[row["strategy"]]
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
            value = f"{row['best_median']:.4f}" + f" [{row['best_q1']:.4f}, {row['best_q3']:.4f}]" * (row["runs"] > 1)
            label = f"{row['strategy']}: {value}"
            axes.step(x, median, where="post", color=colour, linestyle=style, linewidth=2, label=label)
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
        axes.set_xlabel(AXES[over], color=INK)
        axes.set_xlim(left=0)
        axes.set_ylim(_limits(lines["epochs"], first.maximize))
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=MUTED)
    left = picture.axes[0]
    left.set_ylabel(f"best {first.metric} so far", color=INK)
    runs = max(row["runs"] for row in rows)
    title = f"median and quartiles over {runs} seeds" if runs > 1 else None
    handles, labels = left.get_legend_handles_labels()
    picture.legend(handles, labels, title=title, frameon=False, loc="outside lower center", ncols=min(3, len(rows)))
    picture.savefig(path, metadata={"Software": None})


def _limits(lines: Mapping[str, Any], maximize: bool) -> tuple[float, float]:
    """Limit the axis to the best values and the medians after a quarter of the way: earlier ones would squash the rest."""
    ends = [value for _, (low, _, high) in lines.values() for value in (low[-1], high[-1])]
    quarter = [median[max(0, int(np.searchsorted(x, x[-1] / 4)) - 1)] for x, (_, median, _) in lines.values()]
    low, high = min(*ends, *quarter), max(*ends, *quarter)
    low, high = (low, max(ends)) if maximize else (min(ends), high)
    margin = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    return low - margin, high + margin


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.strategy, []).append(run)
    return groups
