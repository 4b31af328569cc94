"""What a study leaves on disk for the stages behind it: plain tables, equal whenever the history is."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

from optuna.distributions import distribution_to_json

from src.space import Space
from src.study import Study


def trials_csv(study: Study) -> str:
    """One row a trial: `number, state, value, epochs, diagnosis, params.*`."""
    names = sorted({name for trial in study.history.trials for name in trial.params})
    rows = [
        {"number": t.number, "state": t.state, "value": t.value, "epochs": t.epochs, "diagnosis": t.reason}
        | {f"params.{n}": v for n, v in t.params.items()}
        for t in study.history.trials
    ]
    return _csv(["number", "state", "value", "epochs", "diagnosis", *(f"params.{n}" for n in names)], rows)


def curves_csv(study: Study) -> str:
    """One row an epoch of a trial: `number, epoch`, then a column a curve."""
    names = sorted({name for curves in study.curves for name in curves})
    rows = [
        {"number": number, "epoch": epoch + 1} | {name: curve[epoch] for name, curve in curves.items()}
        for number, curves in enumerate(study.curves)
        for epoch in range(study.history.trials[number].epochs)
    ]
    return _csv(["number", "epoch", *names], rows)


def summary(study: Study, space: Space, search: str, metric: str) -> dict[str, Any]:
    """What the sweep came to, and the distributions that its parameters were drawn from."""
    history, best = study.history, study.history.best
    count = Counter(trial.state for trial in history.trials)
    distributions = {n: d for t in history.trials for n, d in space.distributions(t.params).items()}
    return {
        "study": study.name,
        "fingerprint": study.attributes["fingerprint"],
        "search": search,
        "n_trials": len(history.trials),
        "states": {state: count[state] for state in ("complete", "pruned", "fail")},
        "best_number": best.number if best else None,
        "best_value": best.value if best else None,
        "metric": metric,
        "direction": history.direction,
        "distributions": {n: distribution_to_json(d) for n, d in sorted(distributions.items())},
    }


def _csv(columns: list[str], rows: list[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
