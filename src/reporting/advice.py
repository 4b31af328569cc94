"""Advice on the space of a sweep from the diagnoses of its trials: how many of each kind, where they lie, what to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.distributions import FloatDistribution, IntDistribution

from src.diagnosis.rules import KINDS
from src.reporting import labels, palette, plots

COLOURS = {
    **dict.fromkeys(("diverged", "unstable", "dead units", "vanishing gradients"), palette.FAILED),
    **dict.fromkeys(("overfitting", "too slow", "underfitting"), palette.SECOND),
    **dict.fromkeys(("still improving", "plateaued"), palette.PRUNED),
    "healthy": palette.ACCENT,
}
MANY = 0.25  # of the trials
MOST = 0.8  # of the trials beyond a bound
NEAR = 0.1  # of a range, from its end
FEW = 4  # trials say nothing


@dataclass(frozen=True)
class DiagnosedTrial:
    """A trial's kind of diagnosis, its parameters with their distributions, and its value (None: not complete)."""

    kind: str
    params: dict[str, Any]
    distributions: dict[str, Any]
    value: float | None


def counts(trials: Sequence[DiagnosedTrial]) -> list[tuple[str, int]]:
    """Count the trials of each kind, the commonest first."""
    numbers = Counter(trial.kind for trial in trials if trial.kind in KINDS)
    return sorted(numbers.items(), key=lambda item: (-item[1], KINDS.index(item[0])))


def advise(trials: Sequence[DiagnosedTrial], maximize: bool) -> list[str]:
    """Name the changes to the space or to the epochs that the diagnoses speak for, one sentence each.

    `maximize` says whether a higher value of `trials` is better.
    """
    diagnosed = [trial for trial in trials if trial.kind in KINDS]
    if len(diagnosed) < FEW:
        return []
    sentences = []
    for name in dict.fromkeys(name for trial in diagnosed for name in trial.params):
        having = [trial for trial in diagnosed if name in trial.params]
        if isinstance(having[0].distributions[name], FloatDistribution | IntDistribution) and len(having) >= FEW:
            sentences += [*_too_wide(name, having, maximize), *_at_an_end(name, having, maximize)]
    share = {kind: count / len(diagnosed) for kind, count in counts(diagnosed)}
    words = {
        "still improving": "train for more epochs",
        "overfitting": "search stronger dropout and weight decay, or set training.early_stopping.patience",
        "underfitting": "search larger models, or weaker dropout and weight decay",
        "dead units": "search model.activation and model.norm too",
        "vanishing gradients": "search fewer layers, model.activation and model.norm",
    }
    return sentences + [
        f"{share[k]:.0%} of the trials are {k}: {text}." for k, text in words.items() if share.get(k, 0) >= MANY
    ]


def _best(trials: Sequence[DiagnosedTrial], maximize: bool) -> list[DiagnosedTrial]:
    """The best tenth of the complete trials, at least three."""
    complete = sorted((t for t in trials if t.value is not None), key=lambda t: t.value or 0.0, reverse=maximize)
    return complete[: max(3, len(complete) // 10)]


def _too_wide(name: str, trials: Sequence[DiagnosedTrial], maximize: bool) -> list[str]:
    """Ends of the range of the rate beyond which almost all go wrong, and none is among the best."""
    if labels.leaf(name) != "optimizer.lr":
        return []
    sentences = []
    for bad, end, beyond in (
        (("diverged", "unstable"), "high", "above"),
        (("too slow",), "low", "below"),
    ):
        best_rates = [float(t.params[name]) for t in _best(trials, maximize)]
        outside = [
            t
            for t in trials
            if not best_rates
            or (t.params[name] > max(best_rates) if end == "high" else t.params[name] < min(best_rates))
        ]
        bound = _bound([(float(t.params[name]), t.kind in bad) for t in outside], upper=end == "high")
        if bound is not None:
            value, count = bound
            sentences.append(
                f"{count} trials with {labels.leaf(name)} {beyond} {labels.short(value)} are {' or '.join(bad)}: "
                f"set space.{labels.leaf(name)}.{end}={labels.short(value)}."
            )
    return sentences


def _bound(pairs: Sequence[tuple[float, bool]], upper: bool) -> tuple[float, int] | None:
    """The value beyond which at least `MOST` are bad, as far inside as possible, and how many bad ones lie there."""
    ordered = sorted(pairs, reverse=upper)
    bad, best = 0, None
    for count, (value, is_bad) in enumerate(ordered, start=1):
        bad += is_bad
        if is_bad and bad >= max(FEW // 2, MOST * count):
            best = value, bad
    return best


def _at_an_end(name: str, trials: Sequence[DiagnosedTrial], maximize: bool) -> list[str]:
    """Ends of a range at which most of the best trials lie."""
    best, kind = _best(trials, maximize), trials[0].distributions[name]
    if sum(t.value is not None for t in trials) < 2 * FEW or kind.low == kind.high:
        return []
    scale: Callable[[Any], Any] = np.log if kind.log else np.asarray
    places = (scale([t.params[name] for t in best]) - scale(kind.low)) / (scale(kind.high) - scale(kind.low))
    for end, distance, word in (("low", places, "Lower"), ("high", 1 - places, "Raise")):
        if np.median(distance) <= NEAR:
            value = labels.short(getattr(kind, end))
            return [
                f"The best trials lie at the {end} end of {labels.leaf(name)} ({value}): {word.lower()} it, if it can be."
            ]
    return []


def figure(trials: Sequence[DiagnosedTrial]) -> go.Figure | None:
    """Draw the trials over the learning rate, or else over the parameter that most of them have: a row a kind."""
    numeric = [
        name
        for trial in trials
        for name, kind in trial.distributions.items()
        if isinstance(kind, FloatDistribution | IntDistribution)
    ]
    if not numeric or len(kinds := [kind for kind, _ in counts(trials)]) == 0:
        return None
    rates = [name for name in numeric if labels.leaf(name) == "optimizer.lr"]
    shown = labels.leaf(Counter(rates or numeric).most_common(1)[0][0])
    traces = []
    logarithmic = False
    for kind in kinds:
        names = [(t, n) for t in trials if t.kind == kind for n in t.params if labels.leaf(n) == shown]
        logarithmic = logarithmic or any(t.distributions[n].log for t, n in names)
        x = [float(trial.params[name]) for trial, name in names]
        marker = {"color": COLOURS[kind], "size": 9, "opacity": 0.75, "line": {"width": 1, "color": palette.CARD}}
        hover = f"{kind}: %{{x:.3g}}<extra></extra>"
        traces.append(go.Scatter(x=x, y=[kind] * len(x), mode="markers", marker=marker, hovertemplate=hover))
    xaxis = {
        "title": labels.text(shown),
        **({"type": "log", "exponentformat": "power", "dtick": 1} if logarithmic else {}),
    }
    yaxis = {"autorange": "reversed", "tickfont": {"color": palette.INK}, "ticksuffix": "  ", "type": "category"}
    return plots.figure(90 + 30 * len(kinds), *traces, showlegend=False, xaxis=xaxis, yaxis=yaxis)
