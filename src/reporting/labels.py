"""Names and numbers as a picture or a table shows them."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any


def text(value: Any) -> str:
    """Anything of a user's, safe and literal inside a Plotly label."""
    return html.escape(str(value), quote=False)


def short(value: Any) -> str:
    """A parameter's value or a rate in three digits: 0.0123, 3.2e-5, 64, relu."""
    if not isinstance(value, float):
        return str(value)
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def leaf(name: str) -> str:
    """`sgd/optimizer.lr` → `optimizer.lr`: the key without the branch that it is searched under."""
    return name.rpartition("/")[2]


def brief(names: Iterable[str]) -> dict[str, str]:
    """`optimizer.lr` → `lr` where no other name ends so."""
    names = list(dict.fromkeys(names))
    ends = [name.rpartition(".")[2] for name in names]
    return {name: end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}


def label(name: str) -> str:
    """`sgd/optimizer.lr` → `optimizer.lr (sgd)`."""
    branch, _, key = name.rpartition("/")
    return text(f"{key} ({branch})" if branch else key)
