"""Fidelity rules: after how many epochs a trial reports, which of the paused trials go on, and which are over."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from src.search.fidelity.diagnosis_pruner import DiagnosisPruner
from src.search.fidelity.halving import Halving
from src.search.fidelity.optuna_pruner import OptunaPruner, Pruner
from src.search.protocol import Spec, refuse_searched_epochs
from src.study.history import History, Proposal
from src.system.errors import UserError

PROMOTING: Mapping[str, Mapping[str, Any]] = {"asha": {"brackets": 1}, "hyperband": {"brackets": "all"}}


class Fidelity(Protocol):
    """A rule over the list of trials. `rungs` are the epochs at which a trial may report; the last are the full training."""

    rungs: Sequence[int]
    leaves_paused: bool  # whether a trial may stay paused, and never go on

    def first(self, number: int) -> int:
        """The epochs at which a new trial reports first."""
        ...

    def ends(self, history: History) -> list[Proposal]:
        """The paused trials that are over: they come alone, before anything else is proposed."""
        ...

    def promotions(self, history: History) -> list[Proposal]:
        """The paused trials that go on, once no ends are left."""
        ...


def fidelity_rule(pruner: Pruner, spec: Spec) -> Fidelity:
    """Make the rule that a config names.

    `asha` and `hyperband` pause trials and promote the best, `diagnosis` ends a trial by its own curves, and any other
    name is one of Optuna's pruners, which end trials by comparison.

    Raises:
        UserError: there is no such pruner, or it takes no such argument.
    """
    options = {"name": pruner} if isinstance(pruner, str) else dict(pruner)
    name = str(options.pop("name", None))
    if name not in {"none", "diagnosis"}:
        refuse_searched_epochs(
            spec, f"search.pruner={name} compares trials after equal epochs", "choose search.pruner=none"
        )
    if name not in {*PROMOTING, "diagnosis"}:
        return OptunaPruner(pruner, spec, also=[*PROMOTING, "diagnosis"])
    try:
        if name == "diagnosis":
            return DiagnosisPruner(spec, **options)
        return Halving(spec, **{"eta": 3, "min_epochs": "auto", **PROMOTING[name], **options})
    except (TypeError, ValueError) as error:
        text = re.sub(r"^\w+\.__init__\(\) ", "", str(error))
        raise UserError(f"search.pruner: {name} is not made like this ({text})") from error


def halving(spec: Spec, **options: Any) -> Halving:
    """Make the rule of a strategy whose options, those of `Halving`, are keys of `search`.

    Raises:
        UserError: there are no such rungs.
    """
    refuse_searched_epochs(
        spec, "rungs compare trials after equal epochs", "choose search=random or search=tpe, search.pruner=none"
    )
    try:
        return Halving(spec, **options)
    except ValueError as error:
        raise UserError(f"search.{error}") from error
