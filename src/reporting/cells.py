"""Pictures of cells: the graph with the operation on each edge, and a supernet's weights of operations over its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from src.reporting import palette, plots
from src.system.cell_string import EDGES, NAMES, NONE

PREFIX = "outer/architecture/"  # begins the names of the curves of a supernet's mixture
COLOURS = (palette.PRUNED, palette.SECOND, palette.ACCENT, palette.HIGH, palette.FAILED, palette.MUTED)
STEP, MIDDLE, LEFT = 210, 150, 50  # pixels between nodes, from the top to the nodes, from the left to the first
RISES = {(0, 2): 55, (1, 3): -55, (0, 3): 115}  # how far the edges between nodes that are no neighbours rise


def svg(operations: Mapping[str, str]) -> Markup:
    """Draw a cell as SVG: nodes from left to right, on each edge its operation; what carries nothing is dashed.

    Args:
        operations: the name of the operation on each edge, by the edges' names.
    """
    parts = [
        Markup('<svg viewBox="0 0 {} 225" role="img" style="width:100%;max-width:760px">').format(2 * LEFT + 3 * STEP)
    ]
    for name, (start, end) in zip(NAMES, EDGES, strict=True):
        parts.append(_edge(operations[name], start, end))
    for node, text in enumerate(("input", "1", "2", "output")):
        x = LEFT + STEP * node
        parts.append(
            Markup(
                '<circle cx="{}" cy="{}" r="21" fill="var(--card)" stroke="var(--accent)" stroke-width="2"/>'
                '<text x="{}" y="{}" text-anchor="middle" font-size="11" fill="currentColor">{}</text>'
            ).format(x, MIDDLE, x, MIDDLE + 4, text)
        )
    return Markup("").join([*parts, Markup("</svg>")])


def _edge(operation: str, start: int, end: int) -> Markup:
    left, right, rise = LEFT + STEP * start, LEFT + STEP * end, RISES.get((start, end), 0)
    dashed = Markup('stroke-dasharray="3 6" opacity="0.6"') if operation == NONE else Markup("")
    return Markup(
        '<path d="M {} {} Q {} {} {} {}" fill="none" stroke="currentColor" stroke-width="1.5" {}/>'
        '<text x="{}" y="{}" text-anchor="middle" font-size="12" fill="currentColor">{}</text>'
    ).format(
        left, MIDDLE, (left + right) / 2, MIDDLE - 2 * rise, right, MIDDLE, dashed,
        (left + right) / 2, MIDDLE - rise - 7 if rise >= 0 else MIDDLE - rise + 16, operation,
    )  # fmt: skip


def mixture(curves: Mapping[str, Sequence[float]]) -> go.Figure | None:
    """Draw the weights of the operations on each edge of a supernet over the epochs; None without such curves.

    Args:
        curves: of a trial, by name.
    """
    names = [name for name in curves if name.startswith(PREFIX)]
    if not names:
        return None
    operations = list(dict.fromkeys(name.rpartition("/")[2] for name in names))
    traces, layout = [], dict[str, Any]()
    for place, edge in enumerate(NAMES):
        axis, (row, column) = str(place + 1) if place else "", divmod(place, 3)
        for operation, colour in zip(operations, COLOURS, strict=False):
            weights = curves[f"{PREFIX}{edge}/{operation}"]
            axes: dict[str, Any] = {
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
                "legendgroup": operation,
                "showlegend": not place,
            }
            traces.append(plots.line(range(1, len(weights) + 1), weights, colour, name=operation, **axes))
        across, up = (0.36 * column, 0.36 * column + 0.28), (0.58 - 0.58 * row, 1.0 - 0.58 * row)
        layout[f"xaxis{axis}"] = {"domain": across, "anchor": f"y{axis}", "title": edge.replace("_", " ")}
        layout[f"yaxis{axis}"] = {"domain": up, "anchor": f"x{axis}", "rangemode": "tozero"}
    return plots.figure(430, *traces, **layout)
