"""Names and numbers as a picture or a table shows them."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any


def text(value: Any) -> str:
    """Escape any name or value for a Plotly label, which reads HTML."""
    return html.escape(str(value), quote=False)


def short(value: Any) -> str:
    """Write a parameter's value or a rate in three digits: 0.0123, 3.2e-5, 64, relu."""
    if not isinstance(value, float):
        return str(value)
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def leaf(name: str) -> str:
    """Drop the branch that a key is searched under: `sgd/optimizer.lr` → `optimizer.lr`."""
    return name.rpartition("/")[2]


def brief(names: Iterable[str]) -> dict[str, str]:
    """Shorten each name to its last part where no other ends so: `optimizer.lr` → `lr`."""
    names = list(dict.fromkeys(names))
    ends = [name.rpartition(".")[2] for name in names]
    return {name: end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}


def label(name: str) -> str:
    """Write a key with its branch behind it: `sgd/optimizer.lr` → `optimizer.lr (sgd)`."""
    branch, _, key = name.rpartition("/")
    return text(f"{key} ({branch})" if branch else key)


def plain(value: Any) -> str:
    """Make a name of the data's harmless in a page of DVC's plots, which puts it unescaped into a script."""
    return (
        "".join(c if c.isprintable() else "�" for c in str(value))
        .replace("<", "‹")
        .replace(">", "›")
        .replace("\\", "⧵")
    )
