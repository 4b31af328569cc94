"""Figures of an ensemble, from `judged.json`: calibration, how its members differ, what more of them and their cost buy."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from src.reporting.labels import text
from src.reporting.palette import ACCENT, CARD, FAINT, HIGH, INK, MUTED, SCALE, SECOND
from src.reporting.plots import figure, line

Judged = Mapping[str, Any]
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
MAX_MEMBERS = 40  # of the heat map
MEASURES = {"disagreement": "disagreement", "q": "Q", "double_fault": "double fault", "correlation": "correlation"}


def figures(judged: Judged) -> dict[str, go.Figure]:
    """Draw every figure, by its name; those that mean nothing for one member or for a regression are left out."""
    charts = {"frontier": frontier(judged)}
    if "reliability" in judged:
        charts["reliability"] = reliability(judged)
    if len(judged["growth"]) > 1:
        charts["growth"] = growth(judged)
    if len(judged["members"]) > 1:
        charts |= {"diversity": diversity(judged), "members": members(judged)}
    return charts


def reliability(judged: Judged) -> go.Figure:
    """Draw accuracy over confidence in bins; the size of a mark is the share of the rows."""
    traces = [line([0, 1], [0, 1], MUTED, 1.5, hoverinfo="skip", line_dash="dot", showlegend=False)]
    for key, name, colour in (("single", "best single model", SECOND), ("chosen", "chosen ensemble", ACCENT)):
        bins = judged["reliability"][key]
        rows = np.array([b["rows"] for b in bins])
        marker = {"size": (6 + 22 * np.sqrt(rows / rows.sum())).round(1).tolist(), "color": colour, "opacity": 0.85}
        x, y = ([round(b[axis], 4) for b in bins] for axis in ("confidence", "accuracy"))
        tip = "confidence %{x:.3f}, accuracy %{y:.3f}, %{customdata} rows<extra></extra>"
        style = {
            "mode": "lines+markers",
            "marker": marker | {"line": {"width": 1, "color": CARD}},
            "hovertemplate": tip,
        }
        traces.append(
            go.Scatter(x=x, y=y, name=name, line={"color": colour, "width": 1.5}, customdata=rows.tolist(), **style)
        )
    axis = {"range": [-0.03, 1.03]}
    return figure(
        340, *traces, showlegend=True, xaxis={"title": "confidence"} | axis, yaxis={"title": "accuracy"} | axis
    )


def diversity(judged: Judged) -> go.Figure:
    """Draw the disagreement of each pair of members as a heat map, of the first `MAX_MEMBERS` where there are more."""
    pairs = judged["diversity"]
    n = min(len(judged["members"]), MAX_MEMBERS)
    names = [text(member["name"]) for member in judged["members"][:n]]
    z = [[pairs["disagreement"][i][j] if i != j else None for j in range(n)] for i in range(n)]
    hover = [["<br>".join(_pair_lines(pairs, i, j)) for j in range(n)] for i in range(n)]
    heat = go.Heatmap(
        z=z, x=names, y=names, text=hover, xgap=1, ygap=1, colorscale=SCALE, hoverongaps=False,
        hovertemplate="%{y}, %{x}<br>%{text}<extra></extra>", colorbar={"thickness": 10, "outlinewidth": 0, "nticks": 5},
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False, "tickfont": {"color": INK, "size": 11}}
    yaxis = axis | {"autorange": "reversed", "ticksuffix": " "}
    return figure(_height(judged), heat, xaxis=axis | {"tickangle": -60}, yaxis=yaxis)


def _height(judged: Judged) -> int:
    """Height in pixels of the heat map, and of the map that stands beside it."""
    return 120 + 22 * max(11, min(len(judged["members"]), MAX_MEMBERS))


def _pair_lines(pairs: Mapping[str, Any], i: int, j: int) -> list[str]:
    values = {words: pairs[name][i][j] for name, words in MEASURES.items() if name in pairs}
    return [f"{words} {'not defined' if value is None else f'{value:.3g}'}" for words, value in values.items()]


def members(judged: Judged) -> go.Figure:
    """Draw members as points by their predictions; the size of a mark is the share in the chosen ensemble."""
    traces = []
    every_member = judged["members"]
    most = max(member["share"] for member in every_member) or 1.0
    for place, model in enumerate(dict.fromkeys(member["model"] for member in every_member)):
        group = [member for member in every_member if member["model"] == model]
        colours = [ACCENT if member["share"] else FAINT for member in group]
        sizes = [round(8 + 14 * member["share"] / most, 1) for member in group]
        symbol = SYMBOLS[place % len(SYMBOLS)]
        marker = {"size": sizes, "color": colours, "symbol": symbol, "line": {"width": 1, "color": CARD}}
        hover = [f"{text(member['name'])}: share {member['share']:.3g}" for member in group]
        x, y = ([round(member["at"][axis], 4) for member in group] for axis in (0, 1))
        traces.append(
            go.Scatter(x=x, y=y, name=text(model), mode="markers", marker=marker, hovertext=hover, hoverinfo="text")
        )
    at, star = judged["at"], {"size": 15, "color": SECOND, "symbol": "star", "line": {"width": 1, "color": CARD}}
    style = {"mode": "markers", "marker": star, "hoverinfo": "name"}
    traces.append(go.Scatter(x=[round(at[0], 4)], y=[round(at[1], 4)], name="chosen ensemble", **style))
    titles = [f"component {k + 1} ({share:.0%})" for k, share in enumerate(judged["axes"])]
    axis = {"showticklabels": False}
    return figure(
        _height(judged), *traces, showlegend=True, xaxis=axis | {"title": titles[0]}, yaxis=axis | {"title": titles[1]}
    )


def growth(judged: Judged) -> go.Figure:
    """Draw the value of an average of n members of the chosen group over n, and the best single model."""
    points = judged["growth"]
    x = [point["n"] for point in points]
    band = [point["low"] for point in points] + [point["high"] for point in reversed(points)]
    between = {"fill": "toself", "fillcolor": FAINT, "opacity": 0.45, "line": {"width": 0}, "hoverinfo": "skip"}
    single = min(point["value"] for point in judged["frontier"]["points"] if point["kind"] == "member")
    traces = [
        go.Scatter(x=x + x[::-1], y=band, name="8 of 10 choices", mode="lines", **between),
        line(x, [point["value"] for point in points], ACCENT, 2.5, name="average of n"),
        line([x[0], x[-1]], [single, single], SECOND, 1.5, name="best single model", line_dash="dash"),
    ]
    return figure(
        340, *traces, showlegend=True, xaxis={"title": "members", "nticks": 8}, yaxis={"title": f"val {judged['by']}"}
    )


def frontier(judged: Judged) -> go.Figure:
    """Draw value over cost, with the line of those that no other beats in both.

    The smallest whose value is within a standard error of the best one is marked.
    """
    data = judged["frontier"]
    traces = []
    for kind, colour, symbol in (
        ("member", MUTED, "circle"),
        ("best few", FAINT, "circle"),
        ("ensemble", ACCENT, "diamond"),
    ):
        group = [point for point in data["points"] if point["kind"] == kind]
        hover = [f"{text(p['name'])}<br>{p['parameters']:,} parameters: {p['value']:.4g}" for p in group]
        marker = {"size": 8, "color": colour, "symbol": symbol, "line": {"width": 1, "color": CARD}}
        x, y = [p["parameters"] for p in group], [round(p["value"], 6) for p in group]
        words = {"member": "single models", "best few": "the best few together", "ensemble": "ensembles"}[kind]
        if group:
            traces.append(
                go.Scatter(x=x, y=y, name=words, mode="markers", marker=marker, hovertext=hover, hoverinfo="text")
            )
    front = sorted((p["parameters"], p["value"]) for p in data["points"] if p["on_front"])
    traces.append(
        line(
            [p[0] for p in front], [p[1] for p in front], HIGH, 1.5, name="frontier", line_shape="hv", hoverinfo="skip"
        )
    )
    marked = next(point for point in data["points"] if point["name"] == data["smallest"])
    ring = {"size": 18, "color": "rgba(0,0,0,0)", "line": {"width": 2.5, "color": SECOND}}
    style = {"mode": "markers", "marker": ring, "hovertext": text(marked["name"]), "hoverinfo": "text"}
    traces.append(go.Scatter(x=[marked["parameters"]], y=[marked["value"]], name="smallest within 1 SE", **style))
    sizes = [point["parameters"] for point in data["points"]]
    ends = [min(sizes), max(sizes)]
    traces.append(line(ends, [data["limit"]] * 2, SECOND, 1, line_dash="dot", showlegend=False, hoverinfo="skip"))
    xaxis = {"title": "parameters", "type": "log", "dtick": "D2" if max(sizes) < 30 * min(sizes) else 1}
    return figure(340, *traces, showlegend=True, xaxis=xaxis, yaxis={"title": f"val {judged['by']}"})


def picture(pixels: Sequence[Any]) -> str:
    """Encode a row's image, grey [H, W] or colour [H, W, 3] from 0 to 255, as a PNG in a `data:` address."""
    from matplotlib.image import imsave

    array, file = np.asarray(pixels, np.uint8), io.BytesIO()
    colour = array if array.ndim == 3 else array[..., None].repeat(3, 2)
    imsave(file, colour, format="png", metadata={"Software": ""})
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
