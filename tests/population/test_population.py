"""A member's result does not depend on its company, on where it was cut, nor on the process: bit for bit."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from torch import Tensor, nn

from src.models.building import build
from src.optim.schedule import Position, Steps
from src.population.batching import batch_starts
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.rows import Rows
from src.population.seeds import derived_seed
from tests.support.conf import conf_file
from tests.support.training import (
    MLP,
    N_TRAIN,
    OPTIMIZERS,
    SCHEDULES,
    assert_same,
    config,
    digest,
    digits,
    images,
    population,
    table,
    tensors,
    trained,
)

K = 16
SIGMOID = {**MLP, "activation": "sigmoid", "width": [7, 50]}
EPOCHS = 10
ROOT = Path(__file__).parents[2]


def member(k: int, seed: int | None = None, **changes: Any) -> Member:
    """One of a population in which each has a seed, a rate and a decay of its own."""
    own = {"lr": 10 ** (-2.5 + k / 10), "weight_decay": [0.0, 1e-4, 0.1][k % 3]}
    return Member(config(**own | changes), 100 + 7 * k if seed is None else seed)


def sgd(k: int, **changes: Any) -> Member:
    own = {"momentum": k / K, "nesterov": k % 2 == 0, "schedule": ["constant", "cosine"][k % 2]}
    return member(k, optimizer="sgd", **own | changes)


def mild(k: int, optimizer: str, **changes: Any) -> Member:
    return member(k, optimizer=optimizer, **{"lr": 10 ** (-4 + k / 10)} | changes)


def scheduled(k: int) -> Member:
    """Each with another schedule; those that cycle the momentum beside those that do not."""
    return sgd(k, lr=0.02 + 0.01 * (k % 4), momentum=0.5 + k / 40, schedule=list(SCHEDULES)[k % len(SCHEDULES)])


def scaled(k: int) -> Member:
    return sgd(k, lr=0.05, batch_scaling={"rule": ["none", "linear", "sqrt"][k % 3], "base_batch": 8 * (1 + k)})


def periodic(k: int, **changes: Any) -> Member:
    """Each with a frequency scale of its own, from .01 to 100."""
    own = {"embedding": "periodic", "frequencies": 7, "frequency_scale": 10 ** (k / 4 - 2), "embedding_dim": 5}
    return member(k, **{"batch_size": 37, "dropout": k / 40} | own | changes)


def penalised(k: int) -> Member:
    """Those whose strength is 0 beside the others."""
    own = {"l1": 1e-3 * (k % 3), "l2": 1e-3 * (k % 4), "max_norm": k % 5 / 2}
    more = {
        "bias": {"l1": 1e-3 * (k % 2), "l2": 0.1 * (k % 3)},
        "activity": {"l1": 1e-4 * (k % 4), "l2": 1e-3 * (k % 2)},
    }
    return sgd(k, lr=0.01, regularization={**own, **more}, norm="batch", width=33, training={"clip_norm": k % 4 / 4})


def warmed(k: int) -> Member:
    return sgd(k, lr=0.05, batch_scaling={"rule": "linear", "base_batch": 8 * (1 + k), "rise_epochs": k / 2})


def growing(k: int) -> Member:
    return mild(k, "nadam", batch_growth={"factor": 1.5, "at": [0.2, 0.7]}, dropout=k / 20)


def on_images(k: int) -> Member:
    strengths = {"flip": k % 2 / 2, "shift": k % 3 / 8, "rotation": k % 4 * 15.0, "erasing": k % 5 / 4}
    return member(k, augment=strengths, batch_size=37, training={"mixup": k % 3 / 4, "noise": k % 4 / 10})


def noisy(k: int, **changes: Any) -> Member:
    return member(k, training={"noise": k % 4 / 10, "mixup": k % 3 / 5}, batch_size=37, **changes)


def on_rows(k: int) -> Member:
    return replace(member(k), rows=np.random.default_rng(k).choice(N_TRAIN, 291, replace=False))


def bootstrap(k: int) -> Member:
    draws = np.random.default_rng(k).integers(0, N_TRAIN, N_TRAIN)
    return replace(member(k, norm="batch"), weights=np.bincount(draws, minlength=N_TRAIN).astype(np.float32))


def averaged(k: int) -> Member:
    """Beside those with none: an EMA or an SWA of its own strength, with batch norm to be measured for it."""
    sections = [{"ema": 0.8 + k / 100}, {"swa": k / 20}, {}]
    return member(k, norm="batch", dropout=k / 40, averaging=sections[k % 3])


def stopping(k: int) -> Member:
    """Some stay at an early epoch's weights, of which some are averages."""
    section = {"patience": 1 + k if k % 4 else None, "min_delta": k / 100}
    return member(k, early_stopping=section, lr=3e-2, norm="batch", averaging={"ema": 0.9 * (k % 2)})


VARIANTS: dict[str, tuple[Callable[[int], Member], Callable[[], Rows]]] = {
    "sgd": (sgd, digits),
    "adamw": (lambda k: member(k, beta1=0.5 + k / 40, beta2=0.99 + k / 2000), digits),
    "cosine": (lambda k: member(k, schedule="cosine", warmup=k / 50, final=k / 100, epochs=10 + k), digits),
    "adam": (lambda k: mild(k, "adam", beta1=0.5 + k / 40, beta2=0.99 + k / 2000), digits),
    "nadam": (lambda k: mild(k, "nadam", beta1=0.5 + k / 40, beta2=0.99 + k / 2000, width=33), digits),
    "lion": (lambda k: mild(k, "lion", beta1=0.5 + k / 40, beta2=0.9 + k / 200), digits),
    "rmsprop": (lambda k: mild(k, "rmsprop", momentum=k / 20, alpha=0.9 + k / 200), digits),
    "adagrad": (lambda k: mild(k, "adagrad", lr=0.01 + k / 200, lr_decay=k / 100), digits),
    "schedules": (scheduled, digits),
    "adamw-schedules": (lambda k: mild(k, "adamw", schedule=list(SCHEDULES)[k % len(SCHEDULES)], width=33), digits),
    "scaling": (scaled, digits),
    "penalties": (penalised, digits),
    "penalties-sigmoid": (lambda k: replace(p := penalised(k), config=replace(p.config, model=SIGMOID)), digits),
    "warm-up": (warmed, digits),
    "batch-growth": (growing, digits),
    "accumulate": (lambda k: member(k, accumulate=3, dropout=k / 20, batch_size=37), digits),
    "augmented": (on_images, images),
    "noise": (noisy, table),
    "noise-regression": (noisy, lambda: table("regression")),
    "mixed-row-weights": (lambda k: replace(bootstrap(k), config=noisy(k, norm="batch").config), digits),
    "dropout": (lambda k: member(k, dropout=k / 20), digits),
    "batch-norm": (lambda k: member(k, norm="batch", dropout=k / 40), digits),
    "layer-norm": (lambda k: member(k, norm="layer", width=33), digits),
    "group-norm": (lambda k: member(k, norm="group", width=[33, 40]), digits),
    "odd": (lambda k: member(k, width=[33, 50], batch_size=37, norm="batch"), digits),
    "one-batch": (lambda k: sgd(k, width=7, batch_size=128), lambda: digits(77, 31)),
    "narrow": (lambda k: member(k, width=[1, 2, 3], depth=3, batch_size=5), lambda: digits(49, 2049 - 500)),
    "deep": (lambda k: member(k, width=50, depth=4, batch_size=128, label_smoothing=k / 50), digits),
    "linear": (lambda k: Member(config("linear", lr=0.01 * (k + 1)), k), digits),
    "rows": (on_rows, digits),
    "row-weights": (bootstrap, digits),
    **{
        f"activation-{name}": (lambda k, name=name: member(k, activation=name, width=33, batch_size=37), digits)
        for name in ("leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid")
    },
    "averages": (averaged, digits),
    "averages-layer-norm": (lambda k: member(k, norm="layer", width=33, averaging={"ema": k / 17}), digits),
    "early-stopping": (stopping, digits),
    "table": (lambda k: member(k, dropout=k / 20), table),
    "table-piecewise": (lambda k: member(k, embedding="piecewise_linear", norm="layer"), table),
    "table-tree": (lambda k: member(k, embedding="piecewise_linear", bins="tree", n_bins=3), table),
    "table-periodic": (periodic, table),
    "table-periodic-each": (lambda k: periodic(k, embedding_lite=False, norm="batch"), table),
    "regression-periodic": (lambda k: periodic(k, optimizer="sgd", lr=0.01), lambda: table("regression")),
    "resnet": (lambda k: member(k, model="resnet", dropout=k / 40, residual_dropout=k / 50), table),
    "parametric": (
        lambda k: member(k, activation="mish", parametric_activation=True, front_scale=True, width=33),
        table,
    ),
    "regression": (lambda k: member(k, width=33, norm="batch"), lambda: table("regression")),
    "regression-piecewise": (lambda k: sgd(k, lr=0.01, embedding="piecewise_linear"), lambda: table("regression")),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_company_does_not_show(name: str) -> None:
    make, data = VARIANTS[name][0], VARIANTS[name][1]()
    members = [make(k) for k in range(K)]
    together = population(members, data)
    others = population([members[k] for k in (15, 7, 3)], data)
    for _ in range(EPOCHS):
        together.epoch()
        others.epoch()
    assert together.stack.fused
    assert len(torch.unique(together.stack.p_KP, dim=0)) == K
    for place, k in enumerate((15, 7, 3)):
        assert_same(others.save(place), together.save(k))
    for k in (0, 1, 7, 15):
        assert_same(trained([members[k]], data, EPOCHS)[0], together.save(k))


@pytest.mark.parametrize("variant", ["tabm", "mini"])
def test_tabm_is_not_fused_and_so_is_as_alone(variant: str) -> None:
    """It holds k nets by itself; its k losses are its own, whatever else the population trains."""
    members = [member(k, model="tabm", variant=variant, dropout=k / 20) for k in range(3)]
    together = trained(members, table(), 2, fused=False)
    assert_same(trained(members[1:2], table(), 2)[0], together[1])
    assert "val/loss" in together[0].curves


def test_what_is_off_changes_no_bit() -> None:
    """Every default of `conf/` about strengths beside a config that does not have these keys."""
    training = conf_file("training", "standard")["training"]
    common = {"optimizer": "sgd", "lr": 0.05, "norm": "batch", "dropout": 0.2}
    without = Member(config(**common), 3)
    off = Member(config(**common, training=training), 3)
    for fused in (True, False):
        for one, other in zip(*(trained([m, m], digits(), 3, fused=fused) for m in (without, off)), strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("norm", ["none", "layer", "group"])
def test_convolutions_agree_to_1e_5_after_an_epoch(norm: str) -> None:
    members = [member(k, model="cnn", norm=norm, channels=16, lr=1e-3) for k in range(4)]
    fused, looped = (trained(members, images(), 1, fused=form) for form in (True, False))
    for one, other in zip(fused, looped, strict=True):
        for name, tensor in tensors(one).items():
            torch.testing.assert_close(tensor, tensors(other)[name], rtol=1e-5, atol=1e-5)


def test_another_process_computes_the_same_bits() -> None:
    script = (
        "import tests.conftest\n"
        "from tests.support.training import *\n"
        "members = [Member(config(dropout=k / 9, norm='batch'), k) for k in range(4)]\n"
        "print(digest(trained(members, digits(), 3)))"
    )
    here = digest(trained([Member(config(dropout=k / 9, norm="batch"), k) for k in range(4)], digits(), 3))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    there = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert there.stdout.strip() == here, there.stderr


# --- between epochs ------------------------------------------------------------------------------------------------------


def varied(k: int) -> Member:
    return member(k, norm="batch", dropout=k / 10, schedule="cosine", label_smoothing=k / 100)


def test_members_may_stand_at_different_epochs() -> None:
    members = [varied(k) for k in range(4)]
    ahead = [None if k == 0 else trained([members[k]], digits(), k)[0] for k in range(4)]
    for k, state in enumerate(trained(members, digits(), 3, ahead)):
        assert state.epoch == 3 + k
        assert_same(state, trained([members[k]], digits(), 3 + k)[0])


@pytest.mark.parametrize("fused", [True, False])
def test_a_saved_member_goes_on_as_if_nothing_had_happened(tmp_path: Path, fused: bool) -> None:
    members = [varied(k) for k in range(3)]
    for k, state in enumerate(trained(members, digits(), 4, fused=fused)):
        state.save(tmp_path / f"{k}.safetensors")
    loaded = [Checkpoint.load(tmp_path / f"{k}.safetensors") for k in range(3)]
    for k, state in enumerate(trained(members[::-1], digits(), 6, loaded[::-1], fused)[::-1]):
        assert_same(state, trained([members[k]], digits(), 10)[0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_schedule_goes_on_from_its_checkpoint(tmp_path: Path, optimizer: str) -> None:
    members = [Member(config(optimizer=optimizer, schedule=schedule, epochs=7), 3) for schedule in SCHEDULES]
    group = population(members, digits())
    for epoch in range(7):
        group.epoch()
        for k in range(len(members)):
            group.save(k).save(tmp_path / f"{epoch}-{k}")
        again = [Checkpoint.load(tmp_path / f"{epoch}-{k}") for k in range(len(members))]
        group = population(members, digits(), again)
    for k, undisturbed in enumerate(trained(members, digits(), 7)):
        assert_same(group_state := Checkpoint.load(tmp_path / f"6-{k}"), undisturbed)
        assert (len(set(group_state.curves["lr"])) > 1) == (members[k].config.schedule["name"] != "constant")


def test_the_plateau_follows_each_member_s_own_validation_loss() -> None:
    """A rate that learns nothing falls after every epoch but those of the cooldown; one that learns stays longer."""
    still, learning = (
        Member(config(optimizer="sgd", schedule="plateau", lr=lr, threshold=0.01), 1) for lr in (1e-9, 0.01)
    )
    stuck, going = (np.array(s.curves["lr"]) for s in trained([still, learning], digits(), 6))
    np.testing.assert_allclose(stuck / 1e-9, [1, 1, 0.5, 0.5, 0.25, 0.25], rtol=1e-6)
    np.testing.assert_allclose(going / 0.01, np.ones(6), rtol=1e-6)


def test_a_schedule_sees_the_curves_that_it_watches_and_no_other() -> None:
    seen: list[dict[str, tuple[float, ...]]] = []

    class Constant:
        def factor(self, at: Position) -> Steps:
            seen.append({name: tuple(curve) for name, curve in at.curves.items()})
            return np.ones_like(at.step)

    class Watchful(Constant):
        watches = ("train/loss",)

    group = population([sgd(0), sgd(1)], digits())
    group.columns.schedules = [Constant(), Watchful()]
    group.epoch()
    group.epoch()
    assert seen[:2] == [{}, {"train/loss": ()}]
    assert seen[2:] == [{}, {"train/loss": (group.curves[1]["train/loss"][0],)}]


def test_the_rate_scales_with_the_batch() -> None:
    for rule, scale in (("none", 1), ("linear", 2), ("sqrt", 2**0.5)):
        scaling = {"rule": rule, "base_batch": 32}
        group = population([sgd(0, lr=0.01, batch_scaling=scaling, batch_size=64, schedule="constant")], digits())
        assert group.epoch()[0]["lr"] == pytest.approx(0.01 * scale, rel=1e-6)


def test_loading_gives_what_was_saved_or_refuses(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = trained([varied(1)], digits(), 2)[0]
    state.save(path)
    assert_same(Checkpoint.load(path), state)
    whole = path.read_bytes()
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(OSError, match=r"is torn|has changed since it was written"):
            Checkpoint.load(path)
    with pytest.raises(OSError, match="No such"):
        Checkpoint.load(tmp_path / "nowhere")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("places", [[3, 1], [2], [0, 1, 1, 3, 1]], ids=["dropped", "one-left", "cloned"])
def test_those_that_are_kept_do_not_notice(places: list[int], fused: bool) -> None:
    members = [varied(k) for k in range(4)]
    group = population(members, digits(), fused=fused)
    for _ in range(2):
        group.epoch()
    group.keep(places)
    for _ in range(2):
        group.epoch()
    for place, k in enumerate(places):
        assert_same(group.save(place), trained([members[k]], digits(), 4)[0])


def test_a_clone_differs_by_its_own_randomness_alone() -> None:
    parent = varied(3)
    state = trained([parent], digits(), 2)[0]
    child = replace(parent, seed=1)
    family = population([parent, child, parent, child], digits(), [state] * 4)
    assert torch.equal(family.stack.p_KP, family.stack.p_KP[:1].expand(4, -1))
    family.epoch()
    going_on, other = family.save(0), family.save(1)
    assert_same(family.save(2), going_on)
    assert_same(family.save(3), other)
    assert_same(trained([child], digits(), 1, [state])[0], other)
    assert other.curves["val/loss"][:2] == state.curves["val/loss"]
    assert not torch.equal(other.weights["output.weight"], going_on.weights["output.weight"])


def test_a_seed_changes_everything_random() -> None:
    one, other, same = trained([varied(1), replace(varied(1), seed=5), varied(1)], digits(), 1)
    assert_same(one, same)
    assert one.curves["train/loss"] != other.curves["train/loss"]
    first, second = (population([m], digits()) for m in (varied(1), replace(varied(1), seed=5)))
    assert not torch.equal(first.stack.p_KP, second.stack.p_KP)
    for ahead in range(3):
        orders = [p.next_order(ahead)[0] for p in (first, second)]
        assert not torch.equal(*orders)
        assert all(torch.equal(order.sort().values, torch.arange(N_TRAIN)) for order in orders)
    assert not torch.equal(first.next_order(), first.next_order(1))


def test_every_mask_has_a_key_of_its_own() -> None:
    """Of each member, epoch, step and layer."""
    group, keys = population([varied(1), varied(2)], digits()), []
    for _ in range(3):
        keys += [step["keys"] for step in group.next_steps(5)]
        group.epoch()
    assert torch.stack(keys).shape == (15, 2, 1 + 2)
    assert len(torch.stack(keys).unique()) == 15 * 2 * 3


# --- what it computes ------------------------------------------------------------------------------------------------------


KINDS: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "nadam": torch.optim.NAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
ROUND = {"base_momentum": 0.72, "max_momentum": 0.9}
CYCLES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
    "one_cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, total_steps=7, **ROUND),
    "triangular": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.001, 0.01, 3.5, **ROUND),
}


def plain_loop(member: Member, data: Rows, orders: list[Tensor]) -> nn.Module:
    """The same training as anyone would write it."""
    torch.manual_seed(derived_seed(member.seed, "initial weights"))
    model, settings = build(member.config.model, data.meta), member.config.optimizer
    chosen = {k: v for k, v in settings.items() if k in ("lr", "momentum", "nesterov", "weight_decay")}
    optimizer: torch.optim.Optimizer = KINDS[settings["name"]](model.parameters(), **chosen)
    scheduler = CYCLES[member.config.schedule["name"]](optimizer)
    for order in orders:
        for rows in order.split(member.config.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(data.x_train[rows]), data.y_train[rows]).backward()
            optimizer.step()
            scheduler.step()
    return model.eval()


ALONE = {
    "sgd": {"optimizer": "sgd", "lr": 0.05},
    "adamw": {},
    "adam": {"optimizer": "adam"},
    "nadam": {"optimizer": "nadam"},
    "rmsprop": {"optimizer": "rmsprop"},
    "adagrad": {"optimizer": "adagrad"},
    **{
        f"{name} in a cycle": {
            **{"optimizer": name, "schedule": "one_cycle", "lr": 0.01, "epochs": 1},
            **({"momentum": 0.9} if name in ("sgd", "rmsprop") else {}),
        }
        for name in ("sgd", "adam", "adamw", "rmsprop")
    },
    "sgd in a triangle": {"optimizer": "sgd", "schedule": "triangular", "lr": 0.01, "period": 1.0},
    "batch-norm": {"norm": "batch", "optimizer": "sgd", "lr": 0.05},
    "layer-norm": {"norm": "layer"},
    "gelu": {"activation": "gelu"},
    "elu": {"activation": "elu"},
    "silu": {"activation": "silu"},
    "sigmoid": {"activation": "sigmoid"},
    "cnn": {"model": "cnn", "optimizer": "sgd", "lr": 0.05},
    **{
        f"user's {name}": {"model": {"_target_": f"tests.support.zoo.{name}"}, "optimizer": "sgd", "lr": 0.05}
        for name in ("Plain", "Branching", "Tied", "Frozen", "Averaging", "Viewing", "Recurrent", "Signal")
    },
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ALONE)
def test_an_epoch_is_that_of_a_plain_loop(name: str, fused: bool) -> None:
    """Relative error of all weights and buffers in the Euclidean norm: 1e-6 (of the largest: 1e-5)."""
    if fused and name.split()[-1] in ("Branching", "Averaging", "Recurrent"):
        pytest.skip("cannot be fused, as test_engine shows")
    own = member(0, **{"weight_decay": 0.01, **ALONE[name]})
    data = images() if name == "cnn" else digits()
    group = population([own], data, fused=fused)
    with torch.random.fork_rng():
        model = plain_loop(own, data, [group.next_order()[0]])
    group.epoch()
    ours = group.save(0)
    assert ours.weights.keys() == model.state_dict().keys()
    assert_close(list(ours.weights.values()), list(model.state_dict().values()))
    assert_close([ours.predictions], [model(data.x_val).softmax(1).detach()])


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    a, b = (torch.cat([t.double().flatten() for t in each]) for each in (ours, theirs))
    assert torch.linalg.norm(a - b) <= 1e-6 * torch.linalg.norm(b)
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_a_frozen_layer_stays() -> None:
    own = Member(config({"_target_": "tests.support.zoo.Frozen"}, weight_decay=0.5), 1)
    before, after = trained([own], digits(), 1)[0], trained([own], digits(), 3)[0]
    assert torch.equal(before.weights["first.weight"], after.weights["first.weight"])
    assert not torch.equal(before.weights["output.weight"], after.weights["output.weight"])


def test_a_module_that_draws_by_itself_is_seeded_by_its_member() -> None:
    members = [Member(config({"_target_": "tests.support.zoo.Noisy"}), seed) for seed in (1, 2)]
    together = trained(members, digits(), 2, fused=False)
    for one, state in zip(members, together, strict=True):
        torch.rand(7)  # whatever this process has drawn before
        assert_same(trained([one], digits(), 2)[0], state)


def still(**changes: Any) -> Member:
    """A member that does not learn."""
    return Member(config(optimizer="sgd", lr=0.0, width=[9], depth=1, **changes), 3)


@pytest.mark.parametrize("fused", [True, False])
def test_the_curves_are_means_over_the_rows(fused: bool) -> None:
    data, weights = digits(), np.random.default_rng(0).uniform(0.5, 1.5, N_TRAIN).astype(np.float32)
    group = population([still(), still(label_smoothing=0.2)], data, fused=fused)
    points, output_NC = group.epoch(), group.predict(data.x_train)[0].double()
    assert points[0]["train/loss"] == pytest.approx(F.cross_entropy(output_NC, data.y_train).item(), rel=1e-5)
    smooth = F.cross_entropy(output_NC, data.y_train, label_smoothing=0.2)
    assert points[1]["train/loss"] == pytest.approx(smooth.item(), rel=1e-5)
    probabilities = group.stack.predictions[0].double().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    for point in points:
        assert point["val/loss"] == pytest.approx(log_loss(data.y_val, probabilities, labels=range(10)), rel=1e-5)
        assert point["val/accuracy"] == pytest.approx(accuracy_score(data.y_val, probabilities.argmax(1)), abs=1e-12)
    one_batch = replace(still(batch_size=N_TRAIN), weights=weights)
    weighted = F.cross_entropy(output_NC, data.y_train, reduction="none") * torch.from_numpy(weights)
    loss = population([one_batch] * 2, data, fused=fused).epoch()[1]["train/loss"]
    assert loss == pytest.approx(weighted.mean().item(), rel=1e-5)


def test_regression_is_scored_in_the_target_s_own_units() -> None:
    data = table("regression")
    state = trained([member(6), member(7)], data, EPOCHS)[0]
    y_val = data.y_val.double().numpy() * 7 + 50
    predictions = state.predictions.double().numpy()
    assert state.curves["val/rmse"][-1] == pytest.approx(root_mean_squared_error(y_val, predictions), rel=1e-5)
    assert state.curves["val/rmse"][-1] < 0.5 * y_val.std()


@pytest.mark.parametrize("fused", [True, False])
def test_a_subset_of_rows_is_a_smaller_data_set(fused: bool) -> None:
    rows = np.random.default_rng(1).choice(N_TRAIN, 150, replace=False)
    data = digits()
    fewer = replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows])
    here = trained([replace(varied(k), rows=rows) for k in range(2)], data, 2, fused=fused)
    for k, state in enumerate(trained([varied(k) for k in range(2)], fewer, 2, fused=fused)):
        assert_same(here[k], state)


def test_rows_of_no_weight_have_no_influence() -> None:
    data, weights = digits(), np.ones(N_TRAIN, np.float32)
    weights[100:200] = 0
    spoilt = replace(data, x_train=data.x_train.clone(), y_train=data.y_train.clone())
    spoilt.x_train[100:200], spoilt.y_train[100:200] = 3.0, 0
    weighted = [replace(member(k), weights=weights) for k in range(2)]
    for one, other in zip(trained(weighted, data, 2), trained(weighted, spoilt, 2), strict=True):
        assert_same(one, other)
    plain = trained([member(k) for k in range(2)], data, 2)[0]
    assert not torch.equal(plain.weights["output.weight"], one.weights["output.weight"])
    even = [replace(member(k), weights=np.ones(N_TRAIN, np.float32)) for k in range(2)]
    assert_same(trained(even, data, 2)[0], plain)


def test_a_last_batch_of_one_row_is_left_out() -> None:
    assert batch_starts(129, 64) == [0, 64]
    assert batch_starts(130, 64) == [0, 64, 128]
    assert batch_starts(3, 64) == [0]
    state = trained([varied(0)], digits(129), 2)[0]
    assert all(np.isfinite(state.curves["val/loss"]))


def test_many_validation_rows_are_evaluated_in_equal_parts() -> None:
    data = digits()
    repeated = replace(data, x_val=data.x_val[:1].expand(2049, -1), y_val=data.y_val[:1].expand(2049))
    for predictions in (s.predictions for s in trained([member(k) for k in range(2)], repeated, 1)):
        assert predictions.shape == (2049, 10)
        assert torch.equal(predictions, predictions[:1].expand(2049, -1))


def test_tests_compute_as_workers_do() -> None:
    assert torch.get_num_threads() == 1
    assert os.environ["MKL_CBWR"].endswith("STRICT")
