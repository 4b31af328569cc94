"""The table of results for a terminal: as many metrics as fit into its width, and every number whole."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from src.metrics.listing import default_selection, formatted
from src.system.errors import printable

CHOSEN = " ← chosen"
NARROWEST = 10  # columns of the terminal for the names, which may be folded
EDGE = 3  # columns of the terminal that each column's padding and border take


class Column(NamedTuple):
    """A metric of the validation or the test rows, with its cells."""

    part: str
    name: str
    cells: list[str]

    @property
    def header(self) -> str:
        """Part and name, a line a word."""
        return "\n".join((self.part, *self.name.split("_")))

    @property
    def width(self) -> int:
        """Columns of the terminal that it takes."""
        return EDGE + max(map(len, [*self.cells, *self.header.split("\n")]))


def results_table(metrics: Mapping[str, Any], width: int) -> tuple[Table, list[str]]:
    """Lay out the results for a terminal; returns the table, and the metrics for which there was no room.

    Args:
        metrics: the content of `metrics.json`.
        width: columns of the terminal.
    """
    entries = metrics["ensembles"] | {f"best single: {metrics['best_single']['name']}": metrics["best_single"]}
    entries |= {f"baseline: {name}": scores for name, scores in metrics.get("baselines", {}).items()}
    labels = [printable(label) + CHOSEN * (label == metrics["chosen"]) for label in entries]
    longest = max(map(len, labels))
    columns = [Column(part, name, _cells(entries, part, name)) for part, name in _order(metrics)]
    shown = _fitting(columns, width - 1 - EDGE - longest)
    room = width - 1 - EDGE - sum(column.width for column in shown)
    table = Table()
    table.add_column("", width=min(longest, max(NARROWEST, room)), overflow="fold")
    for column in shown:
        table.add_column(column.header, justify="right", no_wrap=True)
    for label, *cells in zip(labels, *(column.cells for column in shown), strict=True):
        table.add_row(label, *cells, style="bold" if label.endswith(CHOSEN) else None)
    return table, [f"{column.part} {column.name}" for column in columns if column not in shown]


def _order(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every metric of the test rows, and in the end the one of the validation rows that has chosen."""
    task = "classification" if "nll" in metrics["val"] else "regression"
    return [*(("test", name) for name in metrics["test"]), ("val", metrics.get("chosen_by", default_selection(task)))]


def _cells(entries: Mapping[str, Any], part: str, name: str) -> list[str]:
    return [formatted(entry[part].get(name), name) for entry in entries.values()]


def _fitting(columns: Sequence[Column], room: int) -> list[Column]:
    """The columns that fit: the first and the last one in any case, the others in their order while there is room."""
    first, *others, last = columns
    room -= first.width + last.width
    shown = []
    for column in others:
        room -= column.width
        if room < 0:
            break
        shown.append(column)
    return [first, *shown, last]
