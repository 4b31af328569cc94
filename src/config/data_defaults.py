"""Defaults that follow the data at hand: how many rows there are, and whether they are those of a table or images.

`conf/` asks for them by `${for_data:<name>}`; the table of docs/defaults.md is made of these rules. A value that a person
gives, on the command line, in params.yaml, in an experiment or in conf/data_model/, stands in place of the question, so it
always wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.system.data_meta import DataMeta
from src.system.errors import UserError

PREPARED = Path("data/prepared")  # a folder a data set, as the stage `prepare` leaves it
EQUALLY_LONG = ("pbt", "replay")  # searches whose members do not stop early
STEPS = 4000  # of a training on a table
NEIGHBOURS = ("nca",)  # models whose steps compare rows with training rows: fewer, of larger batches
NEIGHBOUR_STEPS = 1000  # of theirs
CANDIDATES = 5000  # training rows that such a step looks at
EMBEDDED = 1000  # rows from which on a table has enough to learn embeddings of its numbers
MOST_EMBEDDED = 100  # columns of numbers, each of which becomes 16 inputs
LARGE = 10_000  # rows from which on a table is worth a wider net
FLAT = ("linear", "mlp")  # models to which an image is a row of pixels: an epoch takes seconds
MANY_IMAGES = 5_000  # from which on they are worth a deeper convolutional net
VERY_MANY_IMAGES = 20_000  # from which on a training of such a net takes about ten minutes


@dataclass(frozen=True)
class Facts:
    """The facts that defaults follow: the number of training rows, and of a table's columns of numbers in them."""

    rows: int
    table: bool
    numbers: int = 10


UNKNOWN = Facts(rows=1000, table=False)  # before data are prepared


def batch_size(facts: Facts, model: str = "") -> int:
    """Choose the power of 2 that makes about 150 batches an epoch, from 16 (32 from 500 rows on) to 1024; for images 64.

    A `model` that looks up neighbours has a fifth as many.
    """
    if not facts.table:
        return 64
    batches = 30 if model in NEIGHBOURS else 150
    return _within(16 if facts.rows < 500 else 32, 2 ** round(log2(max(facts.rows / batches, 1))), 1024)


def batch_sizes(facts: Facts, model: str = "") -> list[int]:
    """List the batch sizes of a `model` that are searched: the half, the whole and the double of the default."""
    size = batch_size(facts, model)
    return sorted({max(16, size // 2), size, size * 2})


def epochs(facts: Facts, model: str = "") -> int:
    """Choose the epochs of about 4,000 steps, from 8 to 100, of a `model` that looks up neighbours 1,000.

    For images 20, of more than 10,000 fewer, down to 8.
    """
    if not facts.table:
        return _within(8, 200_000 / facts.rows, 20)
    steps = NEIGHBOUR_STEPS if model in NEIGHBOURS else STEPS
    return _within(8, steps * batch_size(facts, model) / facts.rows, 100)


def patience(facts: Facts, model: str = "", search: str = "") -> int | None:
    """Choose after how many epochs without gain a `model` stops, by the `facts` of the data: a third of all, from 4 on.

    On images none does, and where the members of a `search` must train equally long.
    """
    return max(4, epochs(facts, model) // 3) if facts.table and search not in EQUALLY_LONG else None


def n_trials(facts: Facts, model: str = "") -> int:
    """Choose the number of trials: 100, of more than 7,500 rows the fewer the more there are, down to 16.

    A `model` that looks up neighbours has a third as many. One of convolutions has fewer from 1,200 images on, down to 3.
    """
    if not (facts.table or model in FLAT):
        return _within(3, 120_000 / facts.rows, 100)
    count = _within(16, 750_000 / facts.rows, 100)
    return max(8, count // 3) if model in NEIGHBOURS else count


def candidates(facts: Facts) -> float:
    """Choose the share of the training rows that a step of `nca` looks at: a fifth, or as many as 5,000 rows are."""
    return min(0.2, round(CANDIDATES / facts.rows, 4))


def width(facts: Facts) -> int:
    """Choose the units of a layer: 64, for a large table 192."""
    return 192 if _is_large(facts) else 64


def least_width(facts: Facts) -> int:
    """Choose the fewest units of a layer that are searched, and their step: 32, for a large table 64."""
    return 64 if _is_large(facts) else 32


def most_width(facts: Facts) -> int:
    """Choose the most units of a layer that are searched: 128, for a large table 384."""
    return 384 if _is_large(facts) else 128


def n_bins(facts: Facts) -> int:
    """Choose the most bins of a number whose embedding is piecewise linear: 48, for a large table 128."""
    return 128 if _is_large(facts) else 48


def embedding(facts: Facts, kind: str = "piecewise_linear") -> str:
    """Choose how numbers enter a net: from 1,000 rows on, of up to 100 columns, by `kind`."""
    return kind if facts.table and facts.rows >= EMBEDDED and 0 < facts.numbers <= MOST_EMBEDDED else "none"


def n_members(facts: Facts, model: str = "") -> int:
    """Choose how many final members of the best trial's config train: 5, of a `model` of convolutions on 20,000 images 3."""
    return 5 if facts.table or model in FLAT or facts.rows < VERY_MANY_IMAGES else 3


def image_form(facts: Facts, few: Any = "few", many: Any = "many", model: str = "") -> Any:
    """Choose by the `facts` between a value for `few` images and one for `many`, from 5,000 on (docs/models.md).

    A `model` to which an image is a row of pixels gets that for `few`.
    """
    return few if facts.table or facts.rows < MANY_IMAGES or model in FLAT else many


RULES: dict[str, Callable[..., Any]] = {
    rule.__name__: rule
    for rule in (
        batch_size,
        batch_sizes,
        epochs,
        patience,
        n_trials,
        n_members,
        candidates,
        width,
        least_width,
        most_width,
        embedding,
        n_bins,
        image_form,
    )
}


def facts_of(data: Any) -> Facts:
    """Read the facts of the data set that the section `data` of a config names; `UNKNOWN` before it is prepared."""
    try:
        text = (PREPARED / str(data.get("name")) / "meta.json").read_text(encoding="utf-8")
        meta = DataMeta.from_json(json.loads(text))
    except (OSError, ValueError, UserError):
        return UNKNOWN
    rows = min(meta.n_train, int(data.get("rows") or meta.n_train))
    return Facts(rows, len(meta.input_shape) == 1, meta.input_shape[0] - len(meta.categories))


def default(name: str, *arguments: Any, _root_: Any) -> Any:
    """Resolve `${for_data:<name>,<arguments>}` in a config whose root is `_root_`."""
    value = RULES[name](facts_of(_root_.get("data") or {}), *arguments)
    return OmegaConf.create(value) if isinstance(value, list) else value


def when(value: Any, wanted: Any, then: Any) -> Any:
    """Resolve `${when:<value>,<wanted>,<then>}`: a mapping `then` where the value is `wanted`, else nothing."""
    return OmegaConf.create(then) if value == wanted else None


def _is_large(facts: Facts) -> bool:
    return facts.table and facts.rows >= LARGE


def _within(low: float, number: float, high: float) -> int:
    return round(min(max(number, low), high))
