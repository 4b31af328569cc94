"""What the report says of the options of a searched choice."""

import math
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from src.reporting.choices import names, table

GROUP = CategoricalDistribution(["sgd", "adamw"])


def trial(optimizer: str, curve: list[float], complete: bool = True, **params: Any) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=None if math.isnan(curve[-1]) else curve[-1],
        params={"optimizer": optimizer, f"{optimizer}/optimizer.lr": 0.1, "batch_size": 32},
        distributions={
            "optimizer": GROUP,
            f"{optimizer}/optimizer.lr": FloatDistribution(0.01, 1.0),
            "batch_size": CategoricalDistribution([32, 64]),
        },
        intermediate_values=dict(enumerate(curve, 1)),
    )


TRIALS = [
    trial("sgd", [0.5, 0.6, 0.8, 0.97]),  # slow, and the best in the end
    trial("adamw", [0.6, 0.9, 0.94, 0.94]),
    trial("adamw", [0.7, 0.94, 0.92, 0.9]),  # the fastest to 0.94
    trial("adamw", [0.1, 0.99], complete=False),  # pruned: it is no result
]


def test_only_config_groups_are_choices() -> None:
    assert names(TRIALS) == ["optimizer"]


def test_the_fast_one_is_not_the_best_one() -> None:
    sgd, adamw = table(TRIALS, "optimizer", maximize=True)
    assert (sgd["option"], sgd["best"], sgd["epochs_to"], sgd["value"]) == ("sgd", 0.97, 4, 0.94)
    assert (adamw["option"], adamw["best"], adamw["epochs_to"]) == ("adamw", 0.94, 2)
    assert (adamw["trials"], adamw["complete"], adamw["median"]) == (3, 2, pytest.approx(0.92))


def test_a_loss_is_better_where_it_is_lower() -> None:
    rows = table([trial("sgd", [0.9, 0.2]), trial("adamw", [0.3, 0.3])], "optimizer", maximize=False)
    assert [(row["option"], row["epochs_to"]) for row in rows] == [("sgd", 2), ("adamw", 1)]


def test_an_option_that_never_completes_stands_last_without_figures() -> None:
    rows = table([trial("adamw", [math.nan], complete=False), trial("sgd", [0.9])], "optimizer", maximize=True)
    assert rows[1] == {"option": "adamw", "trials": 1, "complete": 0}
