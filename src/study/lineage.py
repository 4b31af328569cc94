"""The schedule of hyperparameters by which the weights of a study's best trial were trained, generation after generation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.config.renamed import name_of_today
from src.study.history import History
from src.study.storage import Shelf, storage_errors_as_user_errors
from src.study.study import Study
from src.system.errors import UserError

Schedule = Sequence[tuple[int, Mapping[str, Any]]]  # until which epoch by which parameters


def schedule(history: History) -> Schedule:
    """The schedule of the best trial: one part where it has no parent, none where no trial is complete."""
    line = history.lineage(history.best) if history.best else []
    return [(until, trial.params) for trial, until in line]


def text(parts: Schedule) -> str:
    """The text of `schedule.json`: a list of {from, to, params}."""
    starts = [0, *(until for until, _ in parts)]
    rows = [{"from": s, "to": e, "params": dict(params)} for s, (e, params) in zip(starts, parts, strict=False)]
    return json.dumps(rows, indent=2) + "\n"


@storage_errors_as_user_errors()
def read(root: Path, url: str | None, wanted: str) -> Schedule:
    """Read the schedule of a finished study, or a `schedule.json`.

    Args:
        root: the folder of studies.
        url: the database of studies; None for journals below `root`.
        wanted: the name of a study, or the path of a JSON file.

    Raises:
        UserError: there is none.
    """
    return _read_file(Path(wanted)) if wanted.endswith(".json") else _read_study(Shelf(root, url), wanted)


def _read_file(path: Path) -> Schedule:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        parts = [(int(row["to"]), {name_of_today(n): v for n, v in dict(row["params"]).items()}) for row in rows]
        whole = bool(rows) and [row["from"] for row in rows] == [0, *(until for until, _ in parts[:-1])]
    except OSError as error:
        raise UserError(f"replay.study: {path} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"replay.study: {path} is no schedule: expected a list of {{from, to, params}}") from error
    if not whole or any(row["from"] >= row["to"] for row in rows):
        raise UserError(
            f"replay.study: {path} has a gap: each part must begin where the one before ends, the first at 0"
        )
    return parts


def _read_study(shelf: Shelf, name: str) -> Schedule:
    shelf.require("replay.study", name)
    if not shelf.attributes(name).get("finished"):
        raise UserError(f"replay.study: {name} is not finished; let its sweep come to its end first")
    history = Study.read(shelf, name).history
    if history.goals.minimized:
        raise UserError(f"replay.study: {name} has several objectives, so none of its trials is the best")
    if any(trial.weights_only for trial in history.trials):
        raise UserError(
            f"replay.study: {name} grew its nets, so that no net followed its schedule; name one of search=pbt"
        )
    parts = schedule(history)
    if not parts:
        raise UserError(f"replay.study: no trial of {name} is complete, so there is no schedule to follow")
    return parts
