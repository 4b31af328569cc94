"""Batches that grow, that come in pieces, and whose rate is warmed up."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.engine.task import Task
from src.engine.worker import train
from src.population.batching import batch_at, batch_starts, steps_before
from tests.support.training import N_TRAIN, Member, config, digest, digits, images, population, setup, trained

GROWTH = {"factor": 5.0, "at": [0.3, 0.6, 0.8]}


def test_the_batch_grows_as_in_smith_2018() -> None:
    """Their figure 1: epochs 60, 120 and 160 of 200, where others divide the rate by 5."""
    own = config(batch_size=128, epochs=200, batch_growth=GROWTH)
    sizes = [batch_at(own, epoch) for epoch in range(200)]
    assert sizes == [128] * 60 + [640] * 60 + [3200] * 40 + [16000] * 40
    assert [batch_at(config(batch_size=128), epoch) for epoch in (0, 99)] == [128, 128]


def test_a_grown_batch_is_stepped_with_and_steps_are_counted() -> None:
    member = Member(config(batch_size=32, epochs=4, batch_growth={"factor": 4.0, "at": [0.5]}), 1)
    group, taken = population([member, member], digits()), []
    step = group.step
    group.step = lambda rows, columns: taken.append(rows.shape[1]) or step(rows, columns)  # type: ignore[assignment]
    for _ in range(4):
        group.epoch()
    small, large = [32] * 13 + [4], [128] * 3 + [36]
    assert taken == small * 2 + large * 2
    assert [steps_before(member.config, N_TRAIN, epoch) for epoch in range(5)] == [0, 14, 28, 32, 36]
    assert len(batch_starts(N_TRAIN, 32)) == 14
    # adamw corrects its moments by the number of steps, which is not that of epochs times their present length
    column = group.columns.steps([4, 4], group.curves, 4)[0]["rate"][0].item()
    correction = (1 - 0.999**37) ** 0.5 / (1 - 0.9**37)
    assert column == pytest.approx(-3e-3 * correction, rel=1e-5)


def test_members_at_different_epochs_of_growing_batches_train_as_if_alone(tmp_path: Path) -> None:
    members = [Member(config(batch_size=32, epochs=6, batch_growth={"factor": 2.0, "at": [0.5]}), k) for k in range(3)]
    work = setup(digits(), tmp_path)

    def task(k: int, stop: int, source: Path | None) -> Task:
        return Task(f"{k}-{stop}", members[k], stop, source, tmp_path / f"{k}-{stop}.safetensors")

    assert members[0].signature() == members[1].signature()
    assert members[0].signature() != Member(config(batch_size=32, epochs=6), 0).signature()
    first = [task(k, 1 + 2 * (k > 0), None) for k in range(3)]
    for one in first:
        assert not train([one], work)[0].error
    outcomes = train([task(k, 6, one.checkpoint) for k, one in enumerate(first)], work)
    for k, outcome in enumerate(sorted(outcomes, key=lambda outcome: outcome.key)):
        assert not outcome.error
        assert outcome.key == f"{k}-6"
        assert outcome.curves == trained([members[k]], digits(), 6)[0].curves


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_pieces_of_a_batch_make_the_step_of_the_whole(norm: str, fused: bool) -> None:
    """But for rounding, with mixup, noise, clipping and row weights too."""
    training = {"mixup": 0.4, "noise": 0.1, "clip_norm": 1.0, "label_smoothing": 0.1}
    weights = np.random.default_rng(0).uniform(0.5, 1.5, N_TRAIN).astype(np.float32)
    penalty = {"activity": {"l1": 1e-3, "l2": 1e-3}, "l2": 1e-3}
    common = {"optimizer": "sgd", "lr": 0.02, "norm": norm, "training": training, "regularization": penalty}
    states = [
        trained(
            [Member(config(**common, accumulate=n), 5 + k, weights=weights) for k in (0, 1)], digits(), 2, fused=fused
        )
        for n in (1, 3, 64)
    ]
    for pieces in states[1:]:
        for whole, piece in zip(states[0], pieces, strict=True):
            assert digest([whole]) != digest([piece])
            for name, tensor in whole.weights.items():
                torch.testing.assert_close(piece.weights[name], tensor, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(piece.curves["train/loss"], whole.curves["train/loss"], rtol=1e-5)


def test_batch_norm_sees_the_pieces() -> None:
    """The exception: its statistics are those of a piece, as if the batch were that small."""
    whole, piece = (trained([Member(config(norm="batch", accumulate=n), 1)], digits(), 1)[0] for n in (1, 2))
    assert (whole.weights["output.weight"] - piece.weights["output.weight"]).abs().max() > 1e-3


def test_pieces_need_less_memory() -> None:
    """What a step keeps for its way back is that of one piece."""
    kept = []
    for n in (1, 4):
        group = population([Member(config("cnn", norm="group", accumulate=n, batch_size=N_TRAIN), 1)], images())
        most, now = 0, 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal now, most
            now += tensor.numel()
            most = max(most, now)
            return tensor

        def gradients(*arguments: object, count: object = group._gradients) -> object:
            nonlocal now
            now = 0
            return count(*arguments)  # type: ignore[operator]

        group._gradients = gradients  # type: ignore[method-assign,assignment]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            group.step(group.next_order(), group.next_steps(1)[0])
        kept.append(most)
    assert kept[1] < kept[0] / 3


def test_the_rate_is_warmed_up_to_the_scaled_one() -> None:
    """Goyal et al. 2017, §2.2: from that of the base batch in equal steps; where scaling lowers the rate, not at all."""

    def rates(batch_size: int, rise_epochs: float) -> np.ndarray:
        own = {
            "optimizer": "sgd",
            "lr": 0.1,
            "batch_scaling": {"rule": "linear", "base_batch": 32, "rise_epochs": rise_epochs},
        }
        group = population([Member(config(**own, batch_size=batch_size), 1)], digits())
        return np.array([float(step["lr"]) for step in group.next_steps(8)])

    per_epoch = 4  # of N_TRAIN rows at 128
    scaling = {"rule": "linear", "base_batch": 32, "rise_epochs": 2.0}
    group = population([Member(config(optimizer="sgd", lr=0.1, batch_scaling=scaling, batch_size=128), 1)], digits())
    found = []
    for _ in range(3):
        found += [float(step["lr"]) for step in group.next_steps(per_epoch)]
        group.epoch()
    np.testing.assert_allclose(found, np.interp(np.arange(12), [0, 8], [0.1, 0.4]), rtol=1e-6)
    np.testing.assert_allclose(rates(128, 0.0), 0.4, rtol=1e-6)
    np.testing.assert_allclose(rates(16, 2.0), 0.05, rtol=1e-6)
