"""What the records of search_quality.py say: normalised regret, mean rank, speed-up, as a page and pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tables
from benchmarks.peers import PEERS

DEFAULT = "gp"
OURS = {DEFAULT: "four trials in flight", f"{DEFAULT} slots=1": "one trial after another, as the peers"}
AT = (25, 50, 100)  # full trainings
GRID = np.linspace(1, 100, 199)  # full trainings at which curves are read
RANKED = ("lcbench", "fcnet", "nasbench201")
RESAMPLES = 1000
Curves = dict[str, dict[str, np.ndarray]]  # strategy → task → regret [seeds, GRID]


def write(records: Sequence[Mapping[str, Any]], stem: Path, budget: int) -> None:
    """`stem`.md and .png files beside it."""
    runs = [r for r in records if "steps" in r]
    if not runs:
        print("nothing to report yet")
        return
    bounds = {task: _bounds(task, runs) for task in sorted({r["task"] for r in runs})}
    curves = regrets(runs, bounds)
    sections = ["# Search quality", _about(runs, budget)]
    ranked = [t for t in bounds if t.startswith(RANKED)]
    everyone = [s for s in curves if all(t in curves[s] for t in ranked)]
    peers = [s for s in everyone if s in PEERS]
    for own, how in OURS.items():
        if own in everyone:
            sections += [f"## Mean rank, our default with {how}", rank_table(curves, ranked, [own, *peers])]
    if ranked and everyone:
        sections += ["## Mean rank, all", rank_table(curves, ranked, everyone)]
    for at in AT:
        sections += [
            f"## Normalised regret after {at} full trainings, median over seeds",
            regret_table(curves, bounds, at),
        ]
    sections += ["## Epochs to random search's final value", speed_up_table(runs), "## Cost", cost_table(runs)]
    sections += ["## Not run", _skipped(records)]
    stem.with_suffix(".md").write_text("\n\n".join(sections) + "\n")
    _pictures(curves, ranked, everyone, stem)
    print("\n\n".join(sections[2:6]))


def _about(runs: Sequence[Mapping[str, Any]], budget: int) -> str:
    seeds = defaultdict(set)
    for run in runs:
        seeds[run["strategy"]].add(run["seed"])
    counts = ", ".join(f"{name} {len(s)}" for name, s in sorted(seeds.items()))
    return (
        "Regret is 0 at the best value known and 1 at the median of random points fully trained. The budget is "
        f"{budget} full trainings in epochs; the value of a trial is the one at its highest epoch, and the best of those "
        "is reported. Epochs are counted when they report; a promoted trial goes on from its checkpoint, for the peers "
        "too. Peers run one trial after another, ours with a sweep's number of trials in flight (slots=1: one, too). "
        f"Seeds: {counts}."
    )


def _bounds(task_name: str, runs: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """What counts as regret 1 and as regret 0."""
    task = tables.load(task_name)
    median, best = tables.typical(task)
    if task.best is None:
        seen = [value for run in runs if run["task"] == task_name for _, value in run["steps"]]
        return median, task.sign * min(task.sign * value for value in [best, *seen])
    return median, task.best


def regrets(runs: Iterable[Mapping[str, Any]], bounds: Mapping[str, tuple[float, float]]) -> Curves:
    """The normalised regret of every run at the points of GRID."""
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda r: (r["strategy"], r["task"], r["seed"])):
        median, best = bounds[run["task"]]
        epochs, values = np.array(run["steps"]).T
        index = np.searchsorted(epochs / run["epochs"], GRID + 1e-9, side="right") - 1
        regret = (values[np.maximum(index, 0)] - best) / (median - best)
        found[run["strategy"]][run["task"]].append(np.where(index < 0, np.inf, np.maximum(regret, 0)))
    return {s: {t: np.stack(rows) for t, rows in by_task.items()} for s, by_task in found.items()}


# --- ranks -------------------------------------------------------------------------------------------------------------


def mean_ranks(curves: Curves, tasks: Sequence[str], strategies: Sequence[str], at: float) -> np.ndarray:
    """Ranks [1 + RESAMPLES, strategies]: the mean over tasks of the expected rank, first on all seeds, then bootstrapped.

    The expected rank draws one seed of each strategy: 1 + the probability that another is better, summed over the others.
    """
    column, rng = int(np.searchsorted(GRID, at)), np.random.default_rng(0)
    total = np.zeros((1 + RESAMPLES, len(strategies)))
    for task in tasks:
        values = [curves[s][task][:, column] for s in strategies]
        weights = [np.vstack([np.full(len(v), 1 / len(v)), _resampled(rng, len(v))]) for v in values]
        ranks = np.ones((1 + RESAMPLES, len(strategies)))
        for i, mine in enumerate(values):
            for j in range(i):
                worse = (mine[:, None] > values[j]) + 0.5 * (mine[:, None] == values[j])
                lost = np.einsum("ra,ab,rb->r", weights[i], worse, weights[j])
                ranks[:, i] += lost
                ranks[:, j] += 1 - lost
        total = total + ranks
    return np.asarray(total / len(tasks))


def _resampled(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def rank_table(curves: Curves, tasks: Sequence[str], strategies: Sequence[str]) -> str:
    """Mean rank with its 95 % interval over seeds, best at the full budget first."""
    columns = [mean_ranks(curves, tasks, strategies, at) for at in AT]
    order = sorted(enumerate(strategies), key=lambda pair: columns[-1][0, pair[0]])
    rows = [[name, *(_with_interval(column[:, i]) for column in columns)] for i, name in order]
    families = ", ".join(sorted({t.partition("/")[0] for t in tasks}))
    about = f"Over {len(tasks)} tasks ({families}); 1 is best, {len(strategies)} worst."
    return f"{about}\n\n{_markdown(['strategy', *(f'{at} full trainings' for at in AT)], rows)}"


def _with_interval(ranks: np.ndarray) -> str:
    low, high = np.quantile(ranks[1:], [0.025, 0.975])
    return f"{ranks[0]:.2f} [{low:.2f}, {high:.2f}]"


# --- tables ------------------------------------------------------------------------------------------------------------


def regret_table(curves: Curves, tasks: Iterable[str], at: float) -> str:
    """A column a strategy would be too wide: a row a strategy, a column a task."""
    column, tasks = int(np.searchsorted(GRID, at)), list(tasks)
    rows = []
    for name, by_task in sorted(curves.items()):
        rows.append([name, *(f"{np.median(by_task[t][:, column]):.4f}" if t in by_task else "" for t in tasks)])
    return _markdown(["strategy", *tasks], rows)


def speed_up_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """How many times fewer epochs than random search until its own final value is reached, paired by seed."""
    random = {(r["task"], r["seed"]): r["steps"][-1][1] for r in runs if r["strategy"] == "random"}
    factors: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        family, target = run["task"].partition("/")[0], random.get((run["task"], run["seed"]))
        if target is None:
            continue
        sign = 1 if run["direction"] == "minimize" else -1
        reached = next((e for e, value in run["steps"] if sign * value <= sign * target), None)
        factors[run["strategy"]][family].append(100 * run["epochs"] / reached if reached else 0.0)
    families = sorted({f for by in factors.values() for f in by})
    rows = [
        [name, *(f"{np.median(by[f]):.1f}× ({np.mean(np.array(by[f]) > 0):.0%})" if f in by else "" for f in families)]
        for name, by in sorted(factors.items(), key=lambda pair: -float(np.median(pair[1].get("lcbench", [0.0]))))
    ]
    about = (
        "Full budget of random search over the epochs spent, median over tasks and seeds (and how many runs got there)."
    )
    return f"{about}\n\n{_markdown(['strategy', *families], rows)}"


def cost_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """What the search itself takes."""
    seconds: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for run in runs:
        seconds[run["strategy"]].append((run["seconds"], run["trials"]))
    rows = []
    for name, pairs in sorted(seconds.items()):
        per_trial = [1000 * s / n for s, n in pairs]
        rows.append([name, str(len(pairs)), f"{np.median([n for _, n in pairs]):.0f}", f"{np.median(per_trial):.1f}"])
    return _markdown(["strategy", "runs", "trials a run", "processor ms a trial, look-up included"], rows)


def _skipped(records: Iterable[Mapping[str, Any]]) -> str:
    reasons = defaultdict(set)
    for record in records:
        if "skipped" in record:
            reasons[record["strategy"], record["skipped"]].add(record["task"].partition("/")[0])
    lines = [f"- `{name}` on {', '.join(sorted(families))}: {why}" for (name, why), families in sorted(reasons.items())]
    return "\n".join(lines) or "Nothing was left out."


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- pictures ----------------------------------------------------------------------------------------------------------


def _pictures(curves: Curves, ranked: Sequence[str], everyone: Sequence[str], stem: Path) -> None:
    """`stem`_regret.png: a panel a task, quartiles over seeds; `stem`_rank.png: mean rank over the budget."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {name: plt.get_cmap("tab20")(k % 20) for k, name in enumerate(sorted(curves))}
    tasks = sorted({t for by_task in curves.values() for t in by_task})
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3 * rows), squeeze=False, layout="constrained")
    for axis, task in zip(axes.flat, tasks, strict=False):
        for name, by_task in sorted(curves.items()):
            if task in by_task:
                low, middle, high = np.quantile(by_task[task], [0.25, 0.5, 0.75], axis=0, method="nearest")
                axis.plot(GRID, middle, color=colours[name], linestyle="--" if name in PEERS else "-", label=name)
                if name == DEFAULT:
                    axis.fill_between(GRID, low, high, color=colours[name], alpha=0.2)
        axis.set(title=task, xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    for axis in list(axes.flat)[len(tasks) :]:
        axis.axis("off")
    figure.supxlabel("full trainings spent, in epochs")
    figure.supylabel("normalised regret, median over seeds")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    figure.savefig(stem.with_name(f"{stem.name}_regret.png"), dpi=110)
    plt.close(figure)
    if not ranked or not everyone:
        return
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    points = GRID[::6]
    ranks = np.stack([mean_ranks(curves, ranked, everyone, at) for at in points])  # [points, resamples, strategies]
    for i, name in enumerate(everyone):
        low, high = np.quantile(ranks[:, 1:, i], [0.025, 0.975], axis=1)
        axis.plot(points, ranks[:, 0, i], color=colours[name], linestyle="--" if name in PEERS else "-", label=name)
        axis.fill_between(points, low, high, color=colours[name], alpha=0.12)
    axis.set(xlabel="full trainings spent, in epochs", ylabel="mean rank (1 is best), 95 % over seeds", xscale="log")
    axis.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside right center")
    figure.savefig(stem.with_name(f"{stem.name}_rank.png"), dpi=110)
    plt.close(figure)
