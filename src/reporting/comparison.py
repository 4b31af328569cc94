"""The sweeps of a multirun side by side: what each strategy has found after so many epochs and so much time."""

from __future__ import annotations

import csv
import io
import json
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

COLOURS = (ACCENT, SECOND, "#2a9d76", FAILED, "#8a5cc2", "#1c9cc0", "#b0851f", MUTED)
ON_PAGES = (ACCENT, SECOND, FAILED, INK, PRUNED, MUTED)  # of the palette that a page turns dark
STYLES = ("-", "--", ":")  # once the colours are used up
AXES = {"epochs": "epochs trained, over all trials", "seconds": "seconds of training, over all workers"}
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Run:
    """One sweep. After `epochs[i]` of training in all, which took `seconds[i]` of the workers', `best[i]` was the best."""

    strategy: str
    metric: str
    maximize: bool
    epochs: NDArray[np.float64]
    seconds: NDArray[np.float64]
    best: NDArray[np.float64]  # NaN until a trial is complete
    wall_s: float


def read(folder: Path, strategy: str) -> list[Run]:
    """The sweeps below a job's folder, by its strategy; none where it was another verb's or had no complete trial."""
    found = []
    for path in sorted(folder.glob("sweep/*/progress.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        summary, timing = (json.loads((path.parent / f"{name}.json").read_text()) for name in ("summary", "timing"))
        if summary["best_value"] is not None:
            epochs, best = (np.array([float(row[name] or "nan") for row in rows]) for name in ("epochs", "best"))
            seconds = np.cumsum(timing["segment_s"])
            maximize = summary["direction"] == "maximize"
            found.append(Run(strategy, summary["metric"], maximize, epochs, seconds, best, timing["wall_s"]))
    return found


def strategies(choices: Sequence[Sequence[str]]) -> list[str]:
    """What distinguishes the jobs apart from their seeds, as `search=tpe`."""
    return [", ".join(c.lstrip("+") for c in own if not c.lstrip("+").startswith("seed=")) for own in choices]


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row a strategy, the best median first: best value, epochs to a value, epochs spent, seconds.

    The value is the worst of the median bests, so that every strategy has come to it in half of its runs or more: the
    fastest to it need not be the best in the end. `epochs_to` is a median, and None where it is not reached so often.
    """
    grouped, sign = _grouped(runs), -1 if runs[0].maximize else 1
    level = max(sign * float(np.median([run.best[-1] for run in own])) for own in grouped.values())
    rows = []
    for strategy, own in grouped.items():
        low, median, high = np.quantile([run.best[-1] for run in own], QUARTILES).tolist()
        spent, seconds, wall = np.median([(r.epochs[-1], r.seconds[-1], r.wall_s) for r in own], axis=0).tolist()
        best = {"best_q1": low, "best_median": median, "best_q3": high}
        to = float(np.median([_epochs_to(run, level) for run in own]))
        reached = {"value": sign * level, "epochs_to": to if np.isfinite(to) else None}
        times = {"epochs": spent, "train_s": seconds, "wall_s": wall}
        rows.append({"strategy": strategy, "runs": len(own), **best, **reached, **times})
    return sorted(rows, key=lambda row: (sign * row["best_median"], row["epochs"]))


def _epochs_to(run: Run, level: float) -> float:
    """The epochs after which a run's best, as a loss, is at most `level`; infinite if never."""
    losses = (-1 if run.maximize else 1) * run.best
    reached = np.flatnonzero(losses <= level)
    return float(run.epochs[reached[0]]) if reached.size else float("inf")


def curves(runs: Sequence[Run], over: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on the axis, and there the quartiles [3,·] of the best so far; from where every run has one.

    `over`: `epochs` or `seconds`. A run that has ended keeps its best.
    """
    axes = [getattr(run, over) for run in runs]
    known = [np.isfinite(run.best) for run in runs]
    begin = max(float(axis[k][0]) for axis, k in zip(axes, known, strict=True))
    places = np.unique(np.concatenate([[begin], *axes]))
    places = places[places >= begin]
    steps = [run.best[np.searchsorted(axis, places, side="right") - 1] for axis, run in zip(axes, runs, strict=True)]
    return places, np.quantile(steps, QUARTILES, axis=0)


def write(folder: Path, runs: Sequence[Run]) -> None:
    """`comparison.csv`, a row a strategy; `comparison.json`, the curves behind the picture; `comparison.png`."""
    rows = table(runs)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "comparison.csv", text.getvalue())
    named = _grouped(runs)
    drawn = {
        over: {row["strategy"]: [part.tolist() for part in curves(named[row["strategy"]], over)] for row in rows}
        for over in ("epochs", "seconds")
    }
    about = {"metric": runs[0].metric, "maximize": runs[0].maximize}
    write_json(folder / "comparison.json", {**about, "table": rows, "curves": drawn})
    _draw(folder / "comparison.png", runs[0], rows, drawn)


def figure(found: Mapping[str, Any], over: str) -> go.Figure:
    """One half of the picture for a page, from `comparison.json`."""
    traces = []
    for number, row in enumerate(found["table"]):
        x, (low, median, high) = found["curves"][over][row["strategy"]]
        colour, name = ON_PAGES[number % len(ON_PAGES)], labels.text(row["strategy"])
        thin: dict[str, Any] = {"line_shape": "hv", "showlegend": False, "hoverinfo": "skip", "opacity": 0.6}
        traces += [plots.line(x, bound, colour, 0.6, **thin) for bound in (low, high)]
        traces.append(plots.line(x, median, colour, name=name, line_shape="hv"))
    limits = list(_limits(found["curves"]["epochs"], found["maximize"]))
    yaxis = {"title": f"best {labels.text(found['metric'])}", "range": limits}
    return plots.figure(320, *traces, showlegend=True, xaxis={"title": AXES[over], "rangemode": "tozero"}, yaxis=yaxis)


def _draw(path: Path, one: Run, rows: Sequence[Mapping[str, Any]], drawn: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    for axes, (over, lines) in zip(picture.subplots(1, 2, sharey=True), drawn.items(), strict=True):
        for number, row in enumerate(rows):
            x, (low, median, high) = lines[row["strategy"]]
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
            value = f"{row['best_median']:.4f}" + f" [{row['best_q1']:.4f}, {row['best_q3']:.4f}]" * (row["runs"] > 1)
            label = f"{row['strategy']}: {value}"
            axes.step(x, median, where="post", color=colour, linestyle=style, linewidth=2, label=label)
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
        axes.set_xlabel(AXES[over], color=INK)
        axes.set_xlim(left=0)
        axes.set_ylim(_limits(drawn["epochs"], one.maximize))
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=MUTED)
    left = picture.axes[0]
    left.set_ylabel(f"best {one.metric} so far", color=INK)
    runs = max(row["runs"] for row in rows)
    title = f"median and quartiles over {runs} seeds" if runs > 1 else None
    handles, labels = left.get_legend_handles_labels()
    picture.legend(handles, labels, title=title, frameon=False, loc="outside lower center", ncols=min(3, len(rows)))
    picture.savefig(path, metadata={"Software": None})


def _limits(lines: Mapping[str, Any], maximize: bool) -> tuple[float, float]:
    """From the best down to where the slowest median stands after a quarter of its way: what is before squashes the rest."""
    ends = [value for _, (low, _, high) in lines.values() for value in (low[-1], high[-1])]
    quarter = [median[max(0, int(np.searchsorted(x, x[-1] / 4)) - 1)] for x, (_, median, _) in lines.values()]
    low, high = min(*ends, *quarter), max(*ends, *quarter)
    low, high = (low, max(ends)) if maximize else (min(ends), high)
    margin = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    return low - margin, high + margin


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.strategy, []).append(run)
    return found
