"""Strategies, one a file: what to train next, and for how long, as a pure function of the history and the seed.

To add one: a function `name(spec, *, ...)` in `name.py` that returns a `Search`, and `conf/search/name.yaml`. Its keyword
arguments are its schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna

from src.history import Direction, History, Proposal, Trial
from src.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)  # studies in memory come and go with every proposal


@dataclass(frozen=True)
class Spec:
    """The sweep that a search serves."""

    space: Space
    direction: Direction
    n_trials: int
    epochs: int
    seed: int
    earlier: Sequence[Trial] = ()  # of another study, numbered below 0: what samplers see before anything else
    first: Sequence[Mapping[str, Any]] = ()  # points to try before any other


class Search(Protocol):
    """Decides from the history alone, so that a killed sweep goes on as if nothing had been."""

    learns: bool  # whether proposals depend on results: then only few may be in flight

    def propose(self, history: History, n: int) -> list[Proposal]:
        """At most `n` proposals; fewer: wait for results."""
        ...

    def done(self, history: History) -> bool:
        """Whether nothing is left to train."""
        ...
