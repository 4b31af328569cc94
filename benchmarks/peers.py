"""The searches that others wrote, each by its own ask and tell, one trial after another: the order that suits it best.

Where a task has a single fidelity, a peer that needs several runs what it is made of: SMAC without Hyperband, Syne
Tune's searchers without early stopping, Optuna without its pruner.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.tables import Meter, Task

Run = Callable[[Task, int, Meter], None]


def _optuna(sampler: str, pruned: bool = False) -> Run:
    """One of Optuna's samplers with its defaults, with Hyperband's pruner from the first epoch on or none."""

    def run(task: Task, seed: int, meter: Meter) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")  # experimental samplers say so
        pruner = optuna.pruners.HyperbandPruner(1, task.epochs, 3) if pruned else optuna.pruners.NopPruner()
        made = getattr(optuna.samplers, sampler)(seed=seed)
        study = optuna.create_study(direction=task.direction, sampler=made, pruner=pruner, study_name=f"seed-{seed}")
        while not meter.empty:
            trial = study.ask()
            params = task.space.walk(trial._suggest)
            for epoch in range(1, task.epochs + 1) if pruned else (task.epochs,):
                value = meter.train(trial.number, params, epoch)[-1]
                trial.report(value, epoch)
                if epoch < task.epochs and trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, value)

    return run


def _smac(hyperband: bool) -> Run:
    """SMAC3: a random forest and expected improvement (its facade for hyperparameters), or with Hyperband on top."""

    def run(task: Task, seed: int, meter: Meter) -> None:
        import ConfigSpace
        from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
        from smac.runhistory.dataclasses import TrialValue

        logging.getLogger("smac").setLevel(logging.ERROR)
        multi = hyperband and task.epochs > 1
        space = ConfigSpace.ConfigurationSpace(seed=seed)
        space.add([_configspace(name, d) for name, d in _distributions(task).items()])
        budgets = {"min_budget": 1, "max_budget": task.epochs} if multi else {}
        with tempfile.TemporaryDirectory() as folder:
            evaluations = meter.budget if multi else meter.budget // task.epochs
            scenario = Scenario(
                space, output_directory=Path(folder), deterministic=True, n_trials=evaluations, seed=seed, **budgets
            )
            facade: Any = MultiFidelityFacade if multi else HyperparameterOptimizationFacade
            options = {"eta": 3} if multi else {"max_config_calls": 1}
            intensifier = facade.get_intensifier(scenario, **options)
            smac = facade(scenario, lambda config, seed, budget=0: 0.0, intensifier=intensifier, logging_level=False)
            while not meter.empty:
                info = smac.ask()
                epochs = max(1, round(info.budget)) if multi else task.epochs
                params = {name: _plain(info.config[name]) for name in _distributions(task)}
                value = meter.train(tuple(params.values()), params, epochs)[-1]
                smac.tell(info, TrialValue(cost=task.sign * value), save=False)

    return run


def _syne_tune(name: str) -> Run:
    """Syne Tune's asynchronous successive halving of stopping type, eta 3 from the first epoch, by its scheduler."""

    def run(task: Task, seed: int, meter: Meter) -> None:
        import datetime

        import numpy as np
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        np.random.seed(seed)  # it draws brackets from the global generator
        space = {key: _syne_tune_domain(d) for key, d in _distributions(task).items()}
        scheduler = getattr(baselines, name)(
            space,
            metric="value",
            time_attr="epoch",
            max_t=task.epochs,
            do_minimize=task.direction == "minimize",
            random_seed=seed,
        )
        number = 0
        while not meter.empty:
            params = dict(scheduler.suggest().config)
            trial = Trial(number, params, datetime.datetime.now())
            scheduler.on_trial_add(trial)
            for epoch in range(1, task.epochs + 1):
                result = {"value": meter.train(number, params, epoch)[-1], "epoch": epoch}
                if epoch == task.epochs:
                    scheduler.on_trial_complete(trial, result)
                elif scheduler.on_trial_result(trial, result) == "STOP":
                    scheduler.on_trial_remove(trial)
                    break
            number += 1

    return run


PEERS: dict[str, Run] = {
    "optuna random": _optuna("RandomSampler"),
    "optuna tpe": _optuna("TPESampler"),
    "optuna gp": _optuna("GPSampler"),
    "optuna tpe+hyperband": _optuna("TPESampler", pruned=True),
    "smac bo": _smac(hyperband=False),
    "smac hyperband": _smac(hyperband=True),
    "syne-tune asha": _syne_tune("ASHA"),
    "syne-tune bohb": _syne_tune("BOHB"),
}
SLOW = {"optuna gp", "smac bo", "smac hyperband"}  # 10 to 40 s a run


# --- their spaces ------------------------------------------------------------------------------------------------------


def _distributions(task: Task) -> dict[str, BaseDistribution]:
    (_, leaf), *_ = task.space.leaves()
    return {name: dimension.distribution for name, dimension in leaf.dimensions.items()}


def _configspace(name: str, distribution: BaseDistribution) -> Any:
    import ConfigSpace as cs

    d = distribution
    if isinstance(d, CategoricalDistribution):
        return cs.CategoricalHyperparameter(name, list(d.choices))
    assert isinstance(d, IntDistribution | FloatDistribution)
    kind = cs.UniformIntegerHyperparameter if isinstance(d, IntDistribution) else cs.UniformFloatHyperparameter
    return kind(name, d.low, d.high, log=d.log)


def _syne_tune_domain(distribution: BaseDistribution) -> Any:
    from syne_tune import config_space as st

    d = distribution
    if isinstance(d, CategoricalDistribution):
        return st.choice(list(d.choices))
    if isinstance(d, IntDistribution):
        return (st.lograndint if d.log else st.randint)(d.low, d.high)
    assert isinstance(d, FloatDistribution)
    return (st.loguniform if d.log else st.uniform)(d.low, d.high)


def _plain(value: Any) -> Any:
    """A Python value where the peer returns NumPy's."""
    return value.item() if hasattr(value, "item") else value
