"""Members that follow from those before: boosting held against scikit-learn and theory, snapshots against one long run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor
from torch import nn

from src.ensembles.final_member import FinalMember
from src.ensembles.members.adaboost import adaboost, samme
from src.ensembles.members.gradient_boosting import gradient_boosting
from src.ensembles.members.snapshot import snapshot
from src.ensembles.members.tabm import tabm
from src.ensembles.weak_learner import weak
from src.models.building import build
from src.optim.schedule import Position
from src.population.checkpoint import Checkpoint
from src.population.losses import losses
from src.population.member import Member
from src.population.rows import Rows
from src.population.seeds import derived_seed
from src.population.stack import build_model
from src.system.errors import UserError
from tests.ensembles.test_members import assert_same, training
from tests.support.training import config, digits, population, table, tensors, trained

__all__ = ["training"]  # a fixture

WEAK = {"learning_rate": 1.0, "epochs": 1, "model": {"width": 4, "depth": 1}}


# --- AdaBoost ----------------------------------------------------------------------------------------------------------


class Replay(BaseEstimator):
    """Predicts, at its n-th fit, what the n-th member did; notes the weights that it was to be fitted with."""

    def __init__(self, script: Any = None) -> None:
        self.script = script

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        self.classes_ = np.unique(y)
        self.n_classes_ = len(self.classes_)
        self.predictions = self.script["predictions"][len(self.script["weights"])]
        self.script["weights"].append(sample_weight)
        return self

    def predict(self, x: Any) -> Any:
        return self.predictions


class ReplayClassifier(ClassifierMixin, Replay): ...


class ReplayRegressor(RegressorMixin, Replay): ...


class Script(dict):  # type: ignore[type-arg]
    """Shared by all clones of an estimator."""

    def __deepcopy__(self, memo: Any) -> "Script":
        return self


def test_samme_is_that_of_scikit_learn(training: Any) -> None:
    """The same weak predictions give the same weights of rows and the same say of members."""
    made = training(digits())
    items = made.final_members(adaboost(config(lr=0.01), 3, made.context, n=6, **WEAK))
    context, y = made.context, made.context.y_train
    predictions = [item.predict(context.rows.x_train).argmax(1) for item in items]
    script = Script(predictions=predictions, weights=[])
    theirs = AdaBoostClassifier(ReplayClassifier(script), n_estimators=len(items)).fit(np.zeros((len(y), 1)), y)
    assert len(items) == 6
    assert np.abs(np.array([item.weight for item in items]) - theirs.estimator_weights_).max() < 1e-6
    for item, weights in zip(items, script["weights"], strict=True):
        assert np.abs(item.member.weights / len(y) - weights).max() < 1e-6
    assert np.ptp(items[-1].member.weights) > 1
    (state,) = trained([items[3].member], context.rows, 1)
    assert_same(items[3].checkpoint, state)


def test_r2_gives_the_say_of_scikit_learns_with_the_same_predictions(training: Any) -> None:
    made = training(table("regression"))
    items = made.final_members(adaboost(config(lr=0.01), 3, made.context, n=5, **WEAK | {"epochs": 4}))
    y = made.context.y_train
    predictions = [item.predict(made.context.rows.x_train) for item in items]
    script = Script(predictions=predictions, weights=[])
    theirs = AdaBoostRegressor(ReplayRegressor(script), n_estimators=len(items), random_state=0).fit(
        np.zeros((len(y), 1)), y
    )
    assert len(items) > 1
    assert np.abs(np.array([item.weight for item in items]) - theirs.estimator_weights_[: len(items)]).max() < 1e-6


def test_the_training_error_is_below_its_bound_and_the_bound_falls(training: Any) -> None:
    """Freund & Schapire 1997: of two classes, the vote's training error is at most the product of 2 √(ε (1 − ε))."""
    data = digits()
    odd = Rows(replace(data.meta, n_classes=2), data.x_train, data.y_train % 2, data.x_val, data.y_val % 2)
    made = training(odd)
    items = made.final_members(adaboost(config(lr=0.01), 3, made.context, n=12, **WEAK))
    y = np.where(made.context.y_train == 1, 1, -1)
    votes = [np.where(item.predict(data.x_train).argmax(1) == 1, 1, -1) for item in items]
    errors = [float((item.member.weights / len(y)) @ (vote != y)) for item, vote in zip(items, votes, strict=True)]
    bounds = np.cumprod([2 * np.sqrt(e * (1 - e)) for e in errors])
    sums = np.cumsum([item.weight * vote for item, vote in zip(items, votes, strict=True)], 0)
    training_errors = (sums * y <= 0).mean(1)
    assert len(items) == 12
    assert (training_errors <= bounds + 1e-6).all()
    assert bounds[-1] < bounds[0]
    assert training_errors[-1] < training_errors[0]


def test_a_perfect_member_is_the_last_and_a_useless_one_is_none() -> None:
    weights = np.full(10, 0.1)
    assert samme(np.zeros(10, bool), weights, 3, 1.0).member_weight == 1.0
    assert samme(np.arange(10) < 7, weights, 3, 1.0).member_weight is None
    assert samme(np.arange(10) < 6, weights, 3, 1.0).member_weight == pytest.approx(np.log(4 / 6) + np.log(2))


def test_a_first_member_that_is_no_better_than_chance_is_one_sentence(training: Any) -> None:
    data, best = digits(), config(lr=1e-12)
    untrained = build_model(Member(weak(best, WEAK["model"], 1), derived_seed(3, "adaboost", 0)), data.meta, None)
    always_another = (outputs(untrained.eval(), data.x_train).argmax(1) + 1) % 10
    made = training(replace(data, y_train=always_another))
    with pytest.raises(UserError, match=r"^members: the first member of adaboost is no better than chance; "):
        made.final_members(adaboost(best, 3, made.context, n=2, **WEAK))
    with pytest.raises(UserError, match=r"^members\.model: 'widht' is none of .*; did you mean width\?"):
        next(adaboost(config(), 3, made.context, n=2, **WEAK | {"model": {"widht": 1}}))


# --- gradient boosting -------------------------------------------------------------------------------------------------

SMALL = {"shrinkage": 0.5, "corrective_rate": 0.3, "epochs": 3, "model": {"width": 8, "depth": 1}}


def parts(item: FinalMember, data: Rows) -> list[nn.Module]:
    model = build(item.member.config.model, data.meta)
    model.load_state_dict(item.checkpoint.weights)
    return [part.eval() for part in model.parts]


def outputs(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = net(x)
    return found


def test_a_net_of_a_regression_fits_the_residual_of_those_before(training: Any) -> None:
    """It is the net that would be trained on it by itself, from the same initial weights."""
    made = training(table("regression"))
    data, best = made.context.rows, config()
    (item,) = made.final_members(gradient_boosting(best, 3, made.context, n=3, corrective_epochs=0, **SMALL))
    nets = parts(item, data)
    last = Member(made.configs["mine-2"], derived_seed(3, "gradient_boosting", 2))
    assert last.config.model["coefficients"] == [0.5, 0.5, 1.0]
    before = sum(0.5 * outputs(net, data.x_train)[:, 0] for net in nets[:2])
    by_itself = replace(last, config=replace(last.config, model=last.config.model["of"]))
    initial = build_model(last, data.meta, None).parts[2].state_dict()
    start = Checkpoint(0, initial, {}, {}, torch.zeros(0))
    (state,) = trained([by_itself], replace(data, y_train=data.y_train - before), 3, [start])
    assert max(float((initial[n] - w).abs().max()) for n, w in nets[2].state_dict().items()) > 0.01
    for name, weight in nets[2].state_dict().items():
        assert torch.allclose(weight, state.weights[name], atol=1e-4), name


@pytest.mark.parametrize("corrective_epochs", [0, 2])
def test_the_sum_is_that_of_its_parts_and_its_training_loss_falls(corrective_epochs: int, training: Any) -> None:
    made = training(digits())
    data, best = made.context.rows, config(lr=0.01)
    (item,) = made.final_members(
        gradient_boosting(best, 3, made.context, n=4, corrective_epochs=corrective_epochs, **SMALL)
    )
    nets = parts(item, data)
    logits = sum(0.5 * outputs(net, data.x_val) for net in nets)
    assert np.allclose(logits.softmax(1).numpy(), item.checkpoint.predictions.numpy(), atol=1e-5)
    sums = torch.stack([0.5 * outputs(net, data.x_train) for net in nets]).cumsum(0)
    loss = [float(nn.functional.cross_entropy(total, data.y_train)) for total in sums]
    assert loss == sorted(loss, reverse=True)
    again = training(digits())
    (same,) = again.final_members(
        gradient_boosting(best, 3, again.context, n=4, corrective_epochs=corrective_epochs, **SMALL)
    )
    assert all(torch.equal(a, tensors(same.checkpoint)[name]) for name, a in tensors(item.checkpoint).items())


def ended(way: Any) -> list[FinalMember]:
    """What is made where all that follows fails."""
    while True:
        try:
            way.send([])
        except StopIteration as end:
            return list(end.value)


@pytest.mark.parametrize("how", ["adaboost", "gradient_boosting", "snapshot"])
def test_what_was_made_before_one_fails_stays(how: str, training: Any) -> None:
    made, best = training(digits()), config(epochs=4)
    growing = {"shrinkage": 0.5, "corrective_epochs": 1, "corrective_rate": 0.1}
    way = {
        "adaboost": lambda: adaboost(best, 3, made.context, n=5, **WEAK | {"epochs": 5}),
        "gradient_boosting": lambda: gradient_boosting(
            best, 3, made.context, n=5, epochs=1, model=WEAK["model"], **growing
        ),
        "snapshot": lambda: snapshot(best, 3, made.context, cycles=4),
    }[how]()
    generation = next(way)
    for _ in range(3):  # of boosting a net, its corrective step, a second net
        generation = way.send(made.train(generation))
    items = ended(way)
    assert len(items) == {"adaboost": 3, "gradient_boosting": 1, "snapshot": 3}[how]
    if how == "gradient_boosting":
        assert items[0].member.config.model["coefficients"] == [0.5, 0.5]
    assert all(np.isfinite(item.predict(made.context.rows.x_val)).all() for item in items)


# --- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_the_run_as_it_was_at_the_end_of_a_cycle(training: Any) -> None:
    made = training(digits())
    items = made.final_members(snapshot(config(dropout=0.1, epochs=7), 3, made.context, cycles=3))
    assert [item.checkpoint.epoch for item in items] == [2, 4, 6]
    for item in items:
        assert_same(item.checkpoint, trained([item.member], digits(), item.checkpoint.epoch)[0])
    assert items[0].member.config.schedule == {"name": "sgdr", "period": 2.0, "growth": 1.0, "final": 0.0}


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        ({"name": "sgdr", "period": 2.0, "growth": 2.0}, [2, 6]),
        ({"name": "triangular", "period": 4.0}, [4, 8, 12]),
        ({"name": "exp_range", "period": 5.0, "gamma": 0.9}, [5, 10]),
    ],
)
def test_cycles_of_its_own_end_where_the_rate_is_low(schedule: dict[str, Any], ends: list[int], training: Any) -> None:
    made = training(digits())
    best = replace(config(epochs=12), schedule=schedule)
    items = made.final_members(snapshot(best, 3, made.context, cycles=None))
    assert [item.checkpoint.epoch for item in items] == ends
    group = population([items[0].member], digits())
    rate = group.schedules[0].factor(Position(np.arange(1200.0), 100, 12, {}))
    for end in ends:
        around = rate[max(0, end * 100 - 150) : end * 100 + 50]
        assert rate[end * 100 - 1] == pytest.approx(around.min(), abs=0.02)


def test_cycles_that_are_not_there_are_one_sentence(training: Any) -> None:
    made = training(digits())
    with pytest.raises(UserError, match=r"^members\.cycles: schedule constant has no whole cycle within 10 epochs; "):
        next(snapshot(config(), 3, made.context, cycles=None))
    with pytest.raises(UserError, match=r"^members\.cycles: 11 is more than the 10 epochs; take fewer$"):
        next(snapshot(config(), 3, made.context, cycles=11))


# --- ensembles in one model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tabm", "tabm-mini", "tabm-packed", "batch_ensemble"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_k_nets_train_each_by_its_own_loss_and_predict_by_their_mean(kind: Any, task: str, training: Any) -> None:
    made = training(digits() if task == "classification" else table("regression"))
    data = made.context.rows
    items = made.final_members(tabm(config(epochs=2), 3, made.context, n=2, k=4, kind=kind))
    one = items[1]
    assert_same(one.checkpoint, trained([one.member], data, 2)[0])
    module = build(one.member.config.model, data.meta)
    module.load_state_dict(one.checkpoint.weights)
    heads = outputs(module.train(), data.x_val)
    assert heads.shape[:2] == (103, 4)
    assert np.ptp(heads.numpy(), axis=1).max() > 0.01, "they differ"
    if task == "classification":
        mean = heads.softmax(2).mean(1)
        each = [nn.functional.cross_entropy(heads[:, k], data.y_val, reduction="none") for k in range(4)]
    else:
        mean = heads.mean(1)[:, 0] * data.meta.target_std + data.meta.target_mean
        each = [(heads[:, k, 0] - data.y_val).square() for k in range(4)]
    assert np.allclose(mean.numpy(), one.checkpoint.predictions.numpy(), rtol=1e-5, atol=1e-5)
    assert torch.allclose(losses(heads[None], data.y_val[None])[0], torch.stack(each).mean(0), atol=1e-5)


def test_only_perceptrons_share_their_layers(training: Any) -> None:
    made = training(digits())
    with pytest.raises(UserError, match=r"^members: tabm shares the layers of model=mlp"):
        tabm(config("cnn"), 3, made.context, n=1, k=4, kind="tabm")


def test_a_model_that_looks_up_its_training_rows_is_not_boosted() -> None:
    """It would be right about all of them by their own targets."""
    with pytest.raises(UserError, match="model=nca"):
        weak(config("nca"), {}, None)
