"""Outer variables of members: gradients by finite differences of the training, and bits that company does not change."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from torch import Tensor

from src.bilevel.constants import with_constants
from src.bilevel.estimators.unrolled import unrolled
from src.bilevel.hypergradient_population import HypergradientPopulation
from src.bilevel.outer_rows import outer_count, with_outer_rows
from src.bilevel.problem import Problem, gradient
from src.bilevel.requirements import refuse_impossible
from src.config.components import make
from src.config.compose import CONF
from src.config.loading import load
from src.engine.fusing import fusing_obstacle, population_of
from src.population.checkpoint import Checkpoint
from src.population.losses import losses
from src.population.member import Member
from src.population.rows import Rows
from src.system.errors import UserError
from tests.support.metas import data_meta
from tests.support.training import N_TRAIN, assert_same, config, digits, images, setup, table

NAMES = ("l1", "l2", "label_smoothing", "class_weights", "noise", "rate")
ALL = {"l1": "one", "l2": "layer", "label_smoothing": "one", "class_weights": "class", "noise": "one", "rate": "one"}


def section(variables: dict[str, str], estimator: str = "one_step", **changes: Any) -> dict[str, Any]:
    keys = {"estimator": estimator, "steps": 3, "interval": 2, "rate": 0.1, "values": {}}
    return keys | {"variables": dict.fromkeys(NAMES) | variables} | changes


def member(
    k: int, variables: dict[str, str], estimator: str = "one_step", seed: int | None = None, **changes: Any
) -> Member:
    hypergradient = section(variables, estimator, rate=0.05 * (1 + k % 3), values=changes.pop("values", {}))
    training = {"hypergradient": hypergradient, **changes.pop("training", {})}
    return Member(
        config(training=training, **{"lr": 10 ** (-2.5 + k / 20)} | changes), 100 + 7 * k if seed is None else seed
    )


def population(
    members: Sequence[Member],
    data: Rows | None = None,
    states: Sequence[Checkpoint | None] | None = None,
    fused: bool | None = None,
) -> HypergradientPopulation:
    def optimizer(config: Any) -> Any:
        return make("optimizer", config.optimizer)

    def schedule(config: Any) -> Any:
        return make("schedule", config.schedule)

    return HypergradientPopulation(members, data or digits(), optimizer, schedule, states, fused)


def trained(
    members: Sequence[Member], data: Rows, epochs: int, states: Sequence[Checkpoint | None] | None = None
) -> list[Checkpoint]:
    group = population(members, data, states)
    for _ in range(epochs):
        group.epoch()
    return [group.save(k) for k in range(len(members))]


# --- gradients ---------------------------------------------------------------------------------------------------------


def first_step(variables: dict[str, str], **changes: Any) -> tuple[HypergradientPopulation, Tensor, dict[str, Tensor]]:
    """One member before its first step of plain SGD, with the rows and the columns of that step."""
    sgd = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    one = population([member(0, variables, **sgd | changes)])
    index_KB, columns = one.next_order()[:, :64], dict(one.next_steps(4)[0])
    columns.pop("outer_rows", None)
    one.stack.train_mode()
    return one, index_KB, columns


@pytest.mark.parametrize("changes", [{}, {"norm": "batch", "dropout": 0.2}])
def test_the_loss_of_outer_steps_is_that_which_trains(changes: dict[str, Any]) -> None:
    """A step of SGD goes against its gradient, with noise, masks, smoothing, weights and penalties."""
    some = ("l2", "label_smoothing", "class_weights", "noise")  # l1 stops weights at 0 after the step
    one, index_KB, columns = first_step({name: ALL[name] for name in some}, **changes)
    before_KP, numbers_KV = one.stack.p_KP.detach().clone(), one.numbers_KV.clone()
    loss = one._train_loss(index_KB, columns, learnt=True)
    slope_KP = gradient(loss, before_KP, numbers_KV)
    one._use(numbers_KV)
    one.stack.train_mode()
    one.step(index_KB, columns)
    torch.testing.assert_close(one.stack.p_KP.detach(), before_KP - columns["lr"] * slope_KP, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_hypergradient_is_a_finite_difference_of_the_training(name: str) -> None:
    """The outer loss after a step of training, by each variable a little higher and lower.

    Noise moves rows across the kinks of rectifiers, which derivatives do not see, so the net is smooth.
    """
    one, index_KB, columns = first_step(
        {name: ALL[name]}, training={"noise": 0.5, "label_smoothing": 0.2}, activation="gelu"
    )
    before_KP, numbers_KV = one.stack.p_KP.detach().clone(), one.numbers_KV.clone()
    outer_KB = torch.arange(100, 200)[None]

    def after(numbers_KV: Tensor) -> float:
        with torch.no_grad():
            one.stack.p_KP.copy_(before_KP)
        one.numbers_KV.copy_(numbers_KV)
        one._use(one.numbers_KV)
        one.stack.train_mode()
        one.step(index_KB, columns)
        output_KNC = one.stack.predict(one.data.x_train[outer_KB[0]]).double()
        return float(losses(output_KNC, one.data.y_train[outer_KB]).mean())

    place, step = 0, torch.zeros_like(numbers_KV)
    step[:, place] = 0.3 if name in ("l1", "l2") else 0.05
    expected = (after(numbers_KV + step) - after(numbers_KV - step)) / (2 * float(step[0, place]))
    if name == "rate":
        after(numbers_KV)
        moved_KP = one.stack.p_KP.detach() - before_KP
        slope_KP = gradient(one._outer_loss(outer_KB), one.stack.p_KP.detach(), numbers_KV)
        estimated = float((slope_KP * moved_KP).sum())
    else:
        problem = Problem([one._train_loss(index_KB, columns, True)], one._outer_loss(outer_KB), columns["lr"])
        estimated = float(unrolled(problem, before_KP, numbers_KV)[0, place])
    assert estimated == pytest.approx(expected, rel=0.05)
    assert estimated != 0


def test_outer_variables_follow_what_lowers_the_outer_loss() -> None:
    """Where half of the targets are wrong, a net learns them by heart unless its penalty grows; where none is, it falls."""
    data = digits()
    draw = np.random.default_rng(0)
    wrong = torch.from_numpy(draw.random(N_TRAIN) < 0.5)
    half_wrong = torch.where(wrong, torch.from_numpy(draw.integers(0, 10, N_TRAIN)), data.y_train)
    one = member(2, {"l2": "one"}, "unrolled", epochs=25, lr=1e-2, width=64, training={"regularization": {"l2": 1e-3}})
    clean, noisy = (
        trained([one], rows, 25)[0].curves["outer/l2"] for rows in (data, replace(data, y_train=half_wrong))
    )
    assert noisy[-1] > 2e-3
    assert clean[-1] < 5e-4


# --- bits --------------------------------------------------------------------------------------------------------------


VARIANTS: dict[str, tuple[dict[str, str], dict[str, Any], Any]] = {
    "every variable": (ALL, {"dropout": 0.2}, digits),
    "of each parameter": ({"l1": "parameter", "l2": "parameter"}, {"norm": "batch", "dropout": 0.2}, digits),
    "numbers": ({"l2": "layer", "noise": "one", "rate": "one"}, {"norm": "layer"}, lambda: table("regression")),
    "many heads": ({"l2": "layer", "rate": "one"}, {"model": "tabm"}, digits),
}


@pytest.mark.parametrize("estimator", ["one_step", "unrolled", "neumann", "conjugate_gradient"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_member_has_the_same_bits_alone_and_among_eight(variant: str, estimator: str) -> None:
    variables, changes, data = VARIANTS[variant]
    members = [member(k, variables, estimator, **changes) for k in range(8)]
    together = trained(members, data(), 2)
    for k in (0, 5):
        assert_same(trained([members[k]], data(), 2)[0], together[k])


def test_a_cut_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """In the middle its checkpoint is written and read, and its company changes."""
    members = [member(k, ALL, "unrolled", dropout=0.2) for k in range(3)]
    whole = trained(members, digits(), 4)
    trained(members, digits(), 2)[1].save(tmp_path / "part")
    part = Checkpoint.load(tmp_path / "part")
    assert part.optimizer.keys() >= {f"outer/{name}" for name in ("numbers", "mean", "square", "steps")}
    assert_same(trained([members[1]], digits(), 2, [part])[0], whole[1])


def test_members_dropped_and_cloned_go_on_as_they_were() -> None:
    members = [member(k, ALL) for k in range(3)]
    group = population(members)
    group.epoch()
    group.keep([2, 2, 0])
    group.epoch()
    for place, k in enumerate([2, 2, 0]):
        assert_same(group.save(place), trained([members[k]], digits(), 2)[0])


def test_workers_fuse_members_with_outer_variables(tmp_path: Path) -> None:
    worker = setup(digits(), tmp_path)
    one = member(0, ALL, dropout=0.2)
    assert fusing_obstacle(one, worker) == ""
    assert isinstance(population_of([one], digits(), worker, None, False), HypergradientPopulation)
    assert member(1, ALL, dropout=0.4).signature() == one.signature()
    assert member(1, {"l2": "layer"}).signature() != one.signature()


# --- rows and constants ------------------------------------------------------------------------------------------------


def test_outer_rows_are_a_seeded_third_on_which_the_weights_do_not_train() -> None:
    places = np.arange(10, 310)
    one, other = (with_outer_rows(Member(config(), seed, rows=places), N_TRAIN) for seed in (1, 2))
    assert one.outer_rows is not None
    assert other.outer_rows is not None
    assert len(one.outer_rows) == outer_count(300) == 100
    assert sorted([*one.outer_rows, *(one.rows if one.rows is not None else ())]) == places.tolist()
    assert one.outer_rows.tolist() != other.outer_rows.tolist()
    bag = np.random.default_rng(0).integers(0, N_TRAIN, N_TRAIN)
    bagged = with_outer_rows(Member(config(), 1, rows=bag), N_TRAIN)
    assert bagged.outer_rows is not None
    assert bagged.rows is not None
    assert not np.isin(bagged.rows, bagged.outer_rows).any()
    assert set(bagged.rows) | set(bagged.outer_rows) == set(bag)


def test_what_was_found_trains_final_members_as_constants() -> None:
    """On all rows, each layer's strength as it was in the end, of parameters their geometric mean."""
    found = member(0, ALL | {"l2": "parameter"})
    state = trained([found], digits(), 2)[0]
    final = replace(found, config=with_constants(found.config, state.curves), seed=5)
    group = population([final])
    assert {name: curve[-1] for name, curve in state.curves.items() if name.startswith("outer/")} == pytest.approx(
        group.variables.points(group.numbers_KV)[0], rel=1e-5
    )
    assert group.next_order().shape[1] == N_TRAIN
    group.epoch()
    group.epoch()
    assert all(len(set(c)) == 1 for n, c in group.curves[0].items() if n.startswith("outer/"))
    assert with_constants(final.config, group.curves[0]) == final.config
    assert with_constants(config(), {}) == config()


def test_constants_of_another_net_are_its_layers_mean() -> None:
    values = {"l2/hidden.0.linear": 1e-2, "l2/output": 1e-4}
    group = population([member(0, {"l2": "layer"}, values=values, depth=2)])
    assert group.variables.points(group.numbers_KV)[0] == pytest.approx(
        {"outer/l2/hidden.0.linear": 1e-2, "outer/l2/hidden.1.linear": 1e-3, "outer/l2/output": 1e-4}, rel=1e-5
    )


def test_images_have_outer_variables_too() -> None:
    curves = trained([member(0, {"l2": "layer", "noise": "one"}, model="cnn")], images(), 1)[0].curves
    assert {name for name in curves if name.startswith("outer/")} >= {"outer/noise"}


# --- refusals ----------------------------------------------------------------------------------------------------------

WORD = "training.hypergradient.variables."


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            f"{WORD}batch_size=one",
            f"{WORD}batch_size: the loss has no gradient by batch_size, since it is a count; search",
        ),
        (
            f"+{WORD}depth=one",
            f"{WORD}depth: the loss has no gradient by depth, since it is a number of units or layers",
        ),
        (f"{WORD}dropout=one", f"{WORD}dropout: the loss has no gradient by dropout, since it is the probability"),
        (f"{WORD}label_smooting=one", f"{WORD}label_smooting: no such key; did you mean {WORD}label_smoothing"),
        (f"{WORD}l2=layers", f"{WORD}l2: should be 'one', 'layer' or 'parameter'"),
        ("training.hypergradient.estimator=neuman", "training.hypergradient.estimator: .* did you mean neumann"),
        ("training.hypergradient.interval=0", "training.hypergradient.interval: should be greater than 0"),
    ],
)
def test_a_wrong_key_is_refused_in_a_sentence(word: str, sentence: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(UserError, match=sentence):
        load(["training=hypergradient", word])


@pytest.mark.parametrize(
    ("variables", "changes", "rows", "sentence"),
    [
        ({}, {}, 420, "all are null; name one at least"),
        ({"l2": "one"}, {}, 29, "of the 29 training rows are 9 outer rows, fewer than the 10 classes"),
        ({"l2": "one"}, {}, 90, "batch_size: 64 is more than the 60 training rows"),
        (
            {"l2": "one"},
            {"training": {"regularization": {"activity": {"l1": 0.1}}}},
            420,
            "activity.l1: 0.1 is no part",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    variables: dict[str, str], changes: dict[str, Any], rows: int, sentence: str
) -> None:
    meta = data_meta(64, class_names=list("0123456789"))
    with pytest.raises(UserError, match=sentence):
        refuse_impossible(member(0, variables, **changes).config, meta, rows)


def test_variables_of_classes_are_refused_for_numbers() -> None:
    meta = data_meta(64, n_classes=0)
    refuse_impossible(member(0, {"noise": "one"}).config, meta, 420)
    with pytest.raises(UserError, match="class_weights: it is for classes, but the target is a number"):
        refuse_impossible(member(0, {"class_weights": "class"}).config, meta, 420)
