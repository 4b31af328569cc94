"""Curves recorded by other tools: the names of Keras, Lightning, fastai and hand-written logs become the engine's."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from src.system.errors import UserError

Points = Sequence[tuple[float, float]]  # step and value, in order
TRAIN, VAL = ("train", "training", "trn"), ("val", "valid", "validation", "eval", "dev")
METRICS = {"loss": "loss", "accuracy": "accuracy", "acc": "accuracy", "rmse": "rmse"}
ALONE = {"loss": "train/loss", "acc": "train/accuracy", "accuracy": "train/accuracy"}
OTHERS = {
    **dict.fromkeys(("lr", "learning_rate"), "lr"),
    **dict.fromkeys(("grad_norm", "gradient_norm", "grad_2_0_norm_total"), "grad/norm"),
    **{name.replace("/", "_"): name for name in ("grad/ratio", "update/ratio", "dead/share")},
}
NAMES = (
    {f"{part}_{metric}": f"train/{ours}" for part in TRAIN for metric, ours in METRICS.items()}
    | {f"{metric}_{part}": f"train/{ours}" for part in TRAIN for metric, ours in METRICS.items()}
    | {f"{part}_{metric}": f"val/{ours}" for part in VAL for metric, ours in METRICS.items()}
    | {f"{metric}_{part}": f"val/{ours}" for part in VAL for metric, ours in METRICS.items()}
    | OTHERS
    | ALONE
)


def our_names(recorded: Iterable[str]) -> dict[str, str]:
    """Map the engine's names to the recorded ones; of several for one, the plainest, an epoch's before a step's."""
    ours: dict[str, str] = {}
    recorded = list(recorded)
    for theirs in sorted(recorded, key=lambda name: ("step" in name, name.endswith("_epoch"), len(name), name)):
        plain = re.sub(r"[^a-z0-9]+", "_", theirs.lower()).strip("_")
        plain = re.sub(r"_(epoch|step)$", "", plain)
        our_name = NAMES.get(plain) or ("lr" if re.match(r"lr_", plain) else None)
        if (
            plain in ("accuracy", "acc") and "valid_loss" in recorded
        ):  # fastai's metrics are those of the validation rows
            our_name = "val/accuracy"
        if our_name:
            ours.setdefault(our_name, theirs)
    return ours


def aligned(curves: Mapping[str, Points]) -> dict[str, list[float]]:
    """Reduce the curves to a point an epoch.

    The epochs are those of the validation loss, or else of the training loss. A curve with more points becomes the mean
    of those since the epoch before; a curve with fewer stays as it is.
    """
    epochs = curves.get("val/loss") or curves.get("train/loss") or []
    ends = [step for step, _ in epochs]
    return {
        name: _means(points, ends) if len(points) > len(ends) else [v for _, v in points]
        for name, points in curves.items()
    }


def _means(points: Points, ends: Sequence[float]) -> list[float]:
    means: list[float] = []
    for start, end in zip([float("-inf"), *ends[:-1]], [*ends[:-1], float("inf")], strict=True):
        values = [value for step, value in points if start < step <= end]
        means += [sum(values) / len(values)] if values else means[-1:]
    return means


def from_csv(path: Path, trial: int | None = None) -> tuple[dict[str, list[float]], dict[str, str], str]:
    """Read curves from the columns of a file.

    An `epoch` or `step` column orders the rows, empty cells are left out. Of a sweep's `curves.csv`, which has many,
    it reads those of `trial`; of several runs in one file, whose epochs go back, the last.

    Returns:
        The curves by the engine's names, the column of each, and a line on what was not read, if anything.

    Raises:
        UserError: it cannot be read, or has no loss.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV file ({error})") from error
    columns = list(rows[0]) if rows else []
    if "number" in columns:
        numbers = sorted({int(row["number"]) for row in rows})
        if trial not in numbers:
            raise UserError(
                f"{path} has the curves of several trials: say which with --trial, of {numbers[0]} to {numbers[-1]}"
            )
        rows = [row for row in rows if int(row["number"]) == trial]
    axis = next((name for name in ("epoch", "step") if name in columns), None)
    recorded_names = needed_names(columns, str(path))
    runs = _runs(path, rows, axis)
    curves = {ours: _column(path, runs[-1], theirs) for ours, theirs in recorded_names.items()}
    note = f"{len(runs)} runs stand in the file, since its {axis}s go back; this is the last" if runs[1:] else ""
    return aligned(curves), recorded_names, note


def needed_names(columns: Iterable[str], where: str) -> dict[str, str]:
    """Select the columns that are of use, by the engine's names; `where` names their source in the error.

    Raises:
        UserError: listed is no loss among them.
    """
    columns = list(columns)
    ours = our_names(columns)
    if not ours.keys() & {"train/loss", "val/loss"}:
        listed = ", ".join(sorted(map(str, columns))) or "nothing"
        raise UserError(f"{where} has no loss that is known, such as train_loss or val_loss: there is {listed[:300]}")
    return ours


class _Row(NamedTuple):
    """A row of a file: its number, counted from 1, its place on the axis, and its cells."""

    number: int
    place: float
    cells: Mapping[str, str]


def _runs(path: Path, rows: Sequence[Mapping[str, str]], axis: str | None) -> list[list[_Row]]:
    """Cut rows where `axis` goes back or the head of the table is repeated: another run was appended there.

    A row without a place has that of the next one, as Lightning writes the rate before the epoch that it is for.
    """
    if axis is None:
        return [[_Row(k + 1, float(k), cells) for k, cells in enumerate(rows)]]
    placed: list[_Row] = []
    place: float | None = None
    for number, cells in reversed(list(enumerate(rows, 1))):
        cell = (cells[axis] or "").strip()
        if cell != axis:
            place = _number(path, cell, axis, number) if cell else place
            placed.append(_Row(number, float("inf") if place is None else place, cells))
    runs: list[list[_Row]] = [[]]
    for row in reversed(placed):
        if runs[-1] and row.place < runs[-1][-1].place:
            runs.append([])
        runs[-1].append(row)
    return runs


def _column(path: Path, rows: Sequence[_Row], name: str) -> Points:
    cells = [(row, (row.cells[name] or "").strip()) for row in rows]
    return [(row.place, _number(path, cell, name, row.number)) for row, cell in cells if cell]


def _number(path: Path, cell: str, column: str, row: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise UserError(f"{path}: {cell!r} in column {column}, row {row}, is no number") from None
