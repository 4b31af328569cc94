"""The panels of the learning-rate range test, one for each of its forms, and their picture as a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.reporting.labels import short
from src.reporting.palette import ACCENT, FAILED, GRID, INK, MUTED, SECOND

Curve = Sequence[Mapping[str, float | None]]
MARKS = {
    "suggested_lr": ("suggested", ACCENT, "solid"),
    "valley_lr": ("valley", MUTED, "dash"),
    "steepest_lr": ("steepest", MUTED, "dot"),
    "parallel_lr": ("best side by side", MUTED, "dashdot"),
    "base_lr": ("begins to rise", ACCENT, "dash"),
    "max_lr": ("slows, ragged or falls", SECOND, "dash"),
    "diverged_at": ("diverged", FAILED, "dot"),
}  # key of lr_range.json: (words, colour, dash)
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}  # Matplotlib's


@dataclass(frozen=True)
class Panel:
    """One curve of lr_range.json over its rates: of `figures` the first that it has is drawn, with `marks` at rates."""

    key: str
    title: str
    figures: tuple[str, ...]
    log: bool
    marks: tuple[str, ...]

    def points(self, result: Mapping[str, Any]) -> tuple[str, list[float], list[float]]:
        """Read the figure to draw, its rates and its values, at the steps that have it: most have no accuracy."""
        curve: Curve = result[self.key]
        good = next((g for g in self.figures if any(point.get(g) is not None for point in curve)), self.figures[0])
        points = [(point["lr"] or 0.0, value) for point in curve if (value := point.get(good)) is not None]
        return good, [rate for rate, _ in points], [value for _, value in points]

    def marked(self, result: Mapping[str, Any]) -> list[tuple[float, str, str, str]]:
        """List the marks as (rate, words, colour, dash); of rules that agree, the first."""
        rates = {mark: float(result[mark]) for mark in reversed(self.marks) if result.get(mark) is not None}
        first = {rate: mark for mark, rate in rates.items()}
        return [(r, f"{MARKS[m][0]} {short(r)}", *MARKS[m][1:]) for m, r in rates.items() if first[r] == m][::-1]


PANELS = (
    Panel("curve", "exponential ramp", ("loss",), True, ("suggested_lr", "valley_lr", "steepest_lr", "diverged_at")),
    Panel("linear", "linear ramp", ("accuracy", "r2"), False, ("base_lr", "max_lr")),
    Panel("parallel", "side by side", ("loss",), True, ("suggested_lr", "parallel_lr")),
)


def write_png(result: Mapping[str, Any], path: Path) -> None:
    """Write the panels as a PNG: the same bytes for the same numbers."""
    from matplotlib.figure import Figure

    panels = [panel for panel in PANELS if result.get(panel.key)]
    picture = Figure(figsize=(5 * len(panels), 4), dpi=120, layout="constrained")
    for k, panel in enumerate(panels):
        good, rates, values = panel.points(result)
        axes = picture.add_subplot(1, len(panels), k + 1, title=panel.title, xlabel="learning rate", ylabel=good)
        axes.set(xscale="log" if panel.log else "linear", ylim=y_range(values, good))
        if len(rates) > 1:
            axes.set_xlim(min(rates) if panel.log else 0.0, max(rates))
        axes.plot(rates, values, color=INK, linewidth=1.8)
        for rate, name, colour, dash in panel.marked(result):
            axes.axvline(rate, color=colour, linestyle=DASHES[dash], label=name)
        axes.grid(color=GRID)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
    picture.savefig(path, metadata={"Software": None})


def y_range(values: Sequence[float], good: str) -> tuple[float, float] | None:
    """Find a range of the axis that the divergence at the end does not squash."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    best = min(finite) if good == "loss" else max(finite)
    span = max(abs(finite[0] - best), 0.05 * abs(finite[0]), 1e-9)
    if good == "loss":
        return best - 0.1 * span, finite[0] + 0.6 * span
    return finite[0] - 0.1 * span, best + 0.1 * span
