"""The schedule of hyperparameters by which the weights of a study's best trial were trained, generation after generation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.config.renamed import name_of_today
from src.study.history import Direction, History
from src.study.storage import Shelf
from src.study.study import Study
from src.system.errors import UserError, known

Schedule = Sequence[tuple[int, Mapping[str, Any]]]  # until which epoch by which parameters


def schedule(history: History) -> Schedule:
    """That of the best trial; a single part where it has no parent, and none where no trial is complete."""
    line = history.lineage(history.best) if history.best else []
    return [(until, trial.params) for trial, until in line]


def text(parts: Schedule) -> str:
    """What `schedule.json` holds: a list of {from, to, params}."""
    starts = [0, *(until for until, _ in parts)]
    rows = [{"from": s, "to": e, "params": dict(params)} for s, (e, params) in zip(starts, parts, strict=False)]
    return json.dumps(rows, indent=2) + "\n"


def read(root: Path, url: str | None, wanted: str) -> Schedule:
    """The schedule of a finished study, by its name, or in a `schedule.json`, by its path.

    Raises:
        UserError: there is none.
    """
    return _of_file(Path(wanted)) if wanted.endswith(".json") else _of_study(Shelf(root, url), wanted)


def _of_file(path: Path) -> Schedule:
    try:
        rows = json.loads(path.read_text())
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


def _of_study(shelf: Shelf, name: str) -> Schedule:
    known("replay.study", name, shelf.names())
    if not shelf.attributes(name).get("finished"):
        raise UserError(f"replay.study: {name} is not finished; let its sweep come to its end first")
    storage = shelf.storage(name)
    found, *further = storage.get_study_directions(storage.get_study_id_from_name(name))
    if further:
        raise UserError(f"replay.study: {name} has several objectives, so none of its trials is the best")
    direction: Direction = "minimize" if found.name == "MINIMIZE" else "maximize"
    history = Study(storage, name, shelf.root / "studies" / name, direction).history
    if any(trial.weights_only for trial in history.trials):
        raise UserError(
            f"replay.study: {name} grew its nets, so that no net followed its schedule; name one of search=pbt"
        )
    parts = schedule(history)
    if not parts:
        raise UserError(f"replay.study: no trial of {name} is complete, so there is no schedule to follow")
    return parts
