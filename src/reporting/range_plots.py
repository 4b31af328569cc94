"""The learning-rate range test as one figure of the page, a panel for each of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from src.reporting.palette import INK
from src.reporting.plots import figure, line
from src.reporting.range_panels import PANELS, y_range


def lr_range(result: Mapping[str, Any]) -> go.Figure:
    """Draw `lr_range.json` as one figure of up to three panels."""
    panels = [panel for panel in PANELS if result.get(panel.key)]
    traces, axes, width = [], {}, 1 / len(panels)
    named: set[str] = set()
    for k, panel in enumerate(panels):
        here = str(k + 1) if k else ""
        axis_names: dict[str, Any] = {"xaxis": f"x{here}", "yaxis": f"y{here}"}
        good, rates, values = panel.points(result)
        shown = y_range(values, good)
        tip = f"rate %{{x:.3g}}, {good} %{{y:.4g}}<extra></extra>"
        traces.append(line(rates, values, INK, hovertemplate=tip, showlegend=False, **axis_names))
        for rate, name, colour, dash in panel.marked(result) if shown else ():
            assert shown
            style: dict[str, Any] = {
                "line_dash": dash,
                "name": name,
                "hoverinfo": "name",
                "showlegend": name not in named,
            }
            traces.append(line([rate, rate], shown, colour, **style, **axis_names))
            named.add(name)
        axes[f"xaxis{here}"] = {
            "title": f"rate, {panel.title}", "domain": [k * width + 0.06 * bool(k), (k + 1) * width],
            **({"type": "log", "exponentformat": "power", "dtick": 1} if panel.log else {"exponentformat": "power"}),
        }  # fmt: skip
        axes[f"yaxis{here}"] = {"title": good, "range": shown, "anchor": f"x{here}"}
    return figure(320, *traces, **axes)
