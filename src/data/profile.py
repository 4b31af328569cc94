"""The profile of a data set, as `prepare` prints it: warnings first, then a line a column."""

from __future__ import annotations

from collections.abc import Iterator

from src.system.data_meta import DataMeta
from src.system.errors import printable

MOST_LINES = 60
WIDTH = 28


def lines(meta: DataMeta) -> Iterator[str]:
    """Yield the lines by which a person sees how the columns of `meta.json` were read, and its warnings."""
    for sentence in meta.warnings:
        yield f"  ! {_printable(sentence)}"
    profile = meta.profile
    remarkable = [line for line in profile if line["note"]]
    for line in remarkable:
        yield f"  ! {_printable(line['column'])}: {_printable(line['read_as'])}; {_printable(line['note'])}"
    others = [line for line in profile if not line["note"]]
    width = min(WIDTH, max((len(_printable(line["column"])) for line in others), default=0))
    for line in others[:MOST_LINES]:
        missing = f", {line['missing']} missing" if line["missing"] else ""
        name, role = _printable(line["column"])[:width], "target: " if line["kind"] == "target" else ""
        yield f"    {name:<{width}}  {role}{line['read_as']}, {line['distinct']} values{missing}"
    if len(others) > MOST_LINES:
        yield f"    … and {len(others) - MOST_LINES} more columns: meta.json has them all"


def _printable(text: str) -> str:
    return printable(text.replace("\n", "\\n"))
