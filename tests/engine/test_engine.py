"""Whatever happens on the way (packing, failures, kills, torn files), a task's outcome is that of its member alone."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import root_mean_squared_error

from src.data import joined_rows
from src.data.dataset import load
from src.engine.cost import seconds_per_epoch
from src.engine.engine import MAX_DEATHS, Engine
from src.engine.fusing import fusing_obstacle, rows
from src.engine.task import Outcome, Task, WorkerSetup
from src.engine.worker import train
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.errors import UserError
from tests.support.training import AIRBENCH, CNN, assert_same, config, digits, images, population, setup, table, trained

ROOT = Path(__file__).parents[2]
INFINITY = float("inf")


@pytest.fixture
def digits_bench(tmp_path: Path) -> WorkerSetup:
    return setup(digits(), tmp_path)


def member(k: int, **changes: Any) -> Member:
    return Member(config(dropout=k / 20, lr=10 ** (-2.5 + k / 10), **changes), 40 + k)


def of_user(name: str, seed: int = 0, **arguments: Any) -> Member:
    return Member(config({"_target_": f"tests.support.zoo.{name}", **arguments}), seed)


def tasks(members: Iterable[Member], folder: Path, stop: int = 3) -> list[Task]:
    return [Task(f"t{k}", m, stop, None, folder / f"t{k}.safetensors") for k, m in enumerate(members)]


def assert_alone(task: Task, outcome: Outcome, data: Any = None) -> None:
    """The outcome and its checkpoint are those of the member trained alone, here."""
    state = trained([task.member], digits() if data is None else data, task.stop)[0]
    assert (outcome.key, outcome.error.text, outcome.epochs) == (task.key, "", task.stop)
    assert outcome.curves == state.curves
    assert_same(Checkpoint.load(task.checkpoint), state)


# --- a worker's job ---------------------------------------------------------------------------------------------------


def test_what_code_has_set_of_the_arithmetic_does_not_last(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    torch.set_flush_denormal(False)
    torch.set_num_threads(2)
    (task,) = tasks([member(0)], tmp_path, stop=1)
    train([task], digits_bench)
    assert torch.get_num_threads() == 1
    assert torch.tensor([1e-38]) * 0.1 == 0.0, "denormals are flushed"


def test_a_group_is_trained_as_each_alone(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    group = [replace(task, stop=1 + k % 3) for k, task in enumerate(tasks(map(member, range(5)), tmp_path))]
    outcomes = {o.key: o for o in train(group, digits_bench)}
    assert {o.note for o in outcomes.values()} == {""}
    for task in group:
        assert_alone(task, outcomes[task.key])
        assert 0 < outcomes[task.key].seconds <= outcomes[task.key].ended - outcomes[task.key].began


def test_a_group_goes_on_from_where_each_stood(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    first = tasks(map(member, range(3)), tmp_path, stop=1)
    train(first, digits_bench)
    further = [
        Task(f"on{k}", task.member, 4, task.checkpoint if k else None, tmp_path / f"on{k}")
        for k, task in enumerate(first)
    ]
    for task, outcome in zip(further, sorted(train(further, digits_bench), key=lambda o: o.key), strict=True):
        assert_alone(task, outcome)


def test_a_torn_changed_or_missing_source_is_trained_again_from_the_start(
    digits_bench: WorkerSetup, tmp_path: Path
) -> None:
    torn, changed, missing = tmp_path / "torn", tmp_path / "changed", tmp_path / "missing"
    train([Task("", member(1), 2, None, torn)], digits_bench)
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-100])
    changed.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    for source in (torn, changed, missing):
        task = Task("t", member(1), 3, source, tmp_path / f"after-{source.name}")
        assert_alone(task, train([task], digits_bench)[0])


def test_a_checkpoint_that_stands_is_not_trained_again(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    group = tasks(map(member, range(3)), tmp_path)
    train(group[1:2], digits_bench)
    written = group[1].checkpoint.stat().st_mtime_ns
    outcomes = {o.key: o for o in train(group, digits_bench)}
    assert group[1].checkpoint.stat().st_mtime_ns == written
    assert outcomes["t1"].seconds == 0
    for task in group:
        assert_alone(task, outcomes[task.key])
    assert [o.seconds for o in train(group, digits_bench)] == [0, 0, 0]
    group[2].checkpoint.write_bytes(b"torn")
    assert_alone(group[2], train(group[2:], digits_bench)[0])


def test_the_diverged_end_alone(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    group = tasks([member(0), Member(config(lr=1e9), 3), Member(config(lr=float("nan")), 4), member(1)], tmp_path)
    outcomes = {o.key: o for o in train(group, digits_bench)}
    for key in ("t1", "t2"):
        assert outcomes[key].error.text == "diverged"
        assert outcomes[key].epochs == len(outcomes[key].curves["val/loss"]) <= 3
        assert not (tmp_path / f"{key}.safetensors").exists()
        assert not abs(outcomes[key].curves["val/loss"][-1]) < INFINITY
    for task in (group[0], group[3]):
        assert_alone(task, outcomes[task.key])


def test_an_exception_fails_its_own_trial_with_the_traceback(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    members = [of_user("Failing", k, dropout=0.125 * k) for k in range(3)]
    assert len({m.signature() for m in members}) == 1
    group = tasks(members, tmp_path)
    outcomes = {o.key: o for o in train(group, digits_bench)}
    assert outcomes["t1"].error.text == "[Errno 28] a dropout of 0.125 is not for me"
    assert outcomes["t1"].error.kind == "RuntimeError", "not the machine's, whatever the text says"
    assert 'raise RuntimeError("[Errno 28] a dropout of 0.125 is not for me")' in outcomes["t1"].detail
    for task in (group[0], group[2]):
        assert_alone(task, outcomes[task.key])


def test_a_user_s_mistake_is_told_in_a_sentence_without_a_traceback(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    group = tasks([Member(config("cnn"), 0), Member(config(width=[3, 4, 5]), 0)], tmp_path)
    for task, words in zip(group, ("cnn needs images", "must agree"), strict=True):
        (outcome,) = train([task], digits_bench)
        assert words in outcome.error.text
        assert outcome.detail == ""
    untrusted = replace(digits_bench, trusted=())
    foreign = Member(replace(member(0).config, optimizer={"_target_": "os.system", "lr": 1.0}), 0)
    (outcome,) = train(tasks([foreign], tmp_path), untrusted)
    assert "os.system is outside the trusted packages" in outcome.error.text


def test_missing_data_is_told(tmp_path: Path) -> None:
    (outcome,) = train(tasks([member(0)], tmp_path), WorkerSetup(tmp_path / "nowhere", "cpu"))
    assert "holds no prepared data" in outcome.error.text
    with pytest.raises(UserError, match="holds no prepared data"):
        load(tmp_path / "nowhere")


TOO_LARGE = "out of memory: batch_size=64 may be too large; training.accumulate=2 takes less at once"


@pytest.mark.parametrize("name", ["Greedy", "Exhausted"])
def test_what_asks_for_too_much_memory_is_out_of_memory(digits_bench: WorkerSetup, tmp_path: Path, name: str) -> None:
    (outcome,) = train(tasks([of_user(name)], tmp_path), digits_bench)
    assert (outcome.error.text, outcome.detail) == (TOO_LARGE, "")


def test_a_limit_of_memory_hits_the_large_alone(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    script = (
        "import tests.conftest, resource, sys\n"
        "from pathlib import Path\n"
        "from src.engine.task import Task, WorkerSetup\n"
        "from src.engine.worker import train\n"
        "from tests.support.training import *\n"
        "where = WorkerSetup(Path(sys.argv[1]), 'cpu', ('tests',))\n"
        "def run(member, name):\n"
        "    return train([Task(name, member, 1, None, where.data / name)], where)[0].error.text or 'trained'\n"
        "run(Member(config(), 0), 'first')\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)\n"
        "print(run(Member(config(width=8192), 0), 'large'))\n"
        "print(run(Member(config(), 1), 'small'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.split("\n")[:2] == [TOO_LARGE, "trained"], run.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


# --- what may be fused ------------------------------------------------------------------------------------------------

REFUSED = {
    "Branching": "data-dependent control flow",
    "Noisy": "random operation",
    "Averaging": "other bits",
    "Reading": "other bits",
    "Recurrent": "vmap refuses it",
    "Signal": "other bits",
}


@pytest.mark.parametrize("name", ["Plain", "Tied", "Frozen", "Viewing", *REFUSED])
def test_a_user_s_module_is_fused_or_trained_alone_and_told_why(
    digits_bench: WorkerSetup, tmp_path: Path, name: str
) -> None:
    dropouts = [{"dropout": k / 10} if name == "Reading" else {} for k in range(3)]
    members = [of_user(name, k, **dropouts[k]) for k in range(3)]
    note = fusing_obstacle(members[0], digits_bench)
    assert REFUSED[name] in note if name in REFUSED else note == ""
    group = tasks(members, tmp_path, stop=2)
    outcomes = {o.key: o for o in train(group, digits_bench)}
    for task in group:
        assert outcomes[task.key].note == note
        assert_alone(task, outcomes[task.key])


@pytest.mark.parametrize("form", [{}, AIRBENCH], ids=["plain", "airbench"])
def test_convolutions_are_trained_alone(tmp_path: Path, form: dict[str, Any]) -> None:
    where = setup(images(), tmp_path)
    augment = {"alternating_flip": bool(form), "shift": 0.1 * bool(form)}
    members = [Member(config({**CNN, **form}, dropout=0.1, augment=augment), k) for k in range(2)]
    note = fusing_obstacle(members[0], where)
    assert note == "its kernels give other bits in a stack than alone"
    group = tasks(members, tmp_path, stop=1)
    for task, outcome in zip(group, train(group, where), strict=True):
        assert outcome.note == note
        assert_alone(task, outcome, images())


@pytest.mark.parametrize("changes", [{}, {"norm": "batch"}, {"norm": "layer", "activation": "gelu"}, {"width": 1}])
def test_our_own_nets_are_fused(digits_bench: WorkerSetup, changes: dict[str, Any]) -> None:
    assert fusing_obstacle(Member(config(**changes), 0), digits_bench) == ""


def test_signatures_tell_tensor_shapes_apart_and_nothing_else() -> None:
    same = [
        Member(config(dropout=0.3, lr=1e-4, schedule="cosine", label_smoothing=0.1, epochs=99), 7),
        Member(config(weight_decay=0.5), 8),
    ]
    other = [
        Member(config(width=33), 0),
        Member(config(activation="gelu"), 0),
        Member(config(optimizer="sgd"), 0),
        Member(config(batch_size=32), 0),
        Member(config(regularization={"activity": {"l1": 0.0, "l2": 1e-3}}), 0),
        Member(config(), 0, weights=torch.ones(420).numpy()),
        Member(config(), 0, rows=torch.arange(100).numpy()),
        Member(config(), 0, rows=torch.arange(101).numpy()),
    ]
    signature = Member(config(), 0).signature()
    assert {m.signature() for m in same} == {signature}
    assert len({m.signature() for m in other} | {signature}) == len(other) + 1


def test_regression_is_scored_on_its_predictions(tmp_path: Path) -> None:
    where = setup(table("regression"), tmp_path)
    (task,) = tasks([Member(config(batch_size=33), 0)], tmp_path, stop=5)
    (outcome,) = train([task], where)
    y_val = load(where.data).y_val * 7 + 50
    rmse = root_mean_squared_error(y_val, Checkpoint.load(task.checkpoint).predictions.numpy())
    assert outcome.curves["val/rmse"][-1] == pytest.approx(rmse, rel=1e-5)


# --- the engine -------------------------------------------------------------------------------------------------------


def results(engine: Engine, group: list[Task]) -> dict[str, Outcome]:
    """The outcomes; asked for from last to first, since any order will do."""
    return {task.key: outcome for task in reversed(group) if (outcome := engine.result(task.key))}


def mixed() -> list[Member]:
    """Two signatures fused, one that cannot be, one alone, one that diverges."""
    members = [Member(config(dropout=k / 20, width=[32, 33][k % 2]), k) for k in range(9)]
    return [*members, of_user("Branching", 1), of_user("Branching", 2), Member(config(lr=1e9), 5)]


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_outcomes(digits_bench: WorkerSetup, tmp_path: Path, workers: int) -> None:
    group = tasks(mixed(), tmp_path)
    with Engine(digits_bench, workers) as engine:
        engine.submit(group[:5])
        engine.submit(group[5:])
        outcomes = results(engine, group)
        assert 0 < engine.busy() <= 1
    assert outcomes["t11"].error.text == "diverged"
    for task in group[:-1]:
        assert_alone(task, outcomes[task.key])


def test_rows_of_a_file_larger_than_memory_give_the_bits_of_rows_in_memory(
    digits_bench: WorkerSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(digits_bench, with_validation=True)
    (outcome,) = train(tasks([member(0)], tmp_path), both)
    first = Checkpoint.load(tmp_path / "t0.safetensors")
    (tmp_path / "t0.safetensors").unlink()
    rows.cache_clear()
    monkeypatch.setattr(joined_rows, "MOST_BYTES", 0)
    monkeypatch.setattr("src.engine.fusing.MAPPED", 0.0)
    assert rows(both).larger_than_memory
    (again,) = train(tasks([member(0)], tmp_path), both)
    assert again.curves == outcome.curves
    assert_same(Checkpoint.load(tmp_path / "t0.safetensors"), first)
    rows.cache_clear()


def test_the_more_rows_the_fewer_members_share_a_population(
    digits_bench: WorkerSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.engine.engine.MOST_ROWS", 2 * len(load(digits_bench.data).x_train))
    group = tasks([member(k) for k in range(5)], tmp_path, stop=1)
    with Engine(digits_bench, 1, ThreadPoolExecutor(1)) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
    assert len({outcome.began for outcome in outcomes.values()}) == 3
    for task in group:
        assert_alone(task, outcomes[task.key])


def test_another_executor_will_do(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor, Engine(digits_bench, 1, executor) as engine:
        group = tasks([member(0), of_user("Branching")], tmp_path)
        engine.submit(group)
        outcomes = results(engine, group)
        assert engine.result("unknown") is None
    for task in group:
        assert_alone(task, outcomes[task.key])


def test_patience_ends(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    busy = threading.Event()
    with ThreadPoolExecutor(1) as executor, Engine(digits_bench, 1, executor) as engine:
        executor.submit(busy.wait)
        engine.submit(tasks([member(0)], tmp_path))
        assert engine.result("t0", timeout_s=0.05) is None
        busy.set()
        assert engine.result("t0") is not None


def test_a_killed_worker_is_replaced_and_nothing_shows(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    deadly = of_user("Deadly", 1, log=str(tmp_path / "deaths"), times=1)
    group = tasks([*map(member, range(4)), deadly], tmp_path)
    with Engine(digits_bench, 2) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
    assert (tmp_path / "deaths").read_text() == "x"
    for task in group:
        assert_alone(task, outcomes[task.key])


@pytest.mark.slow
def test_who_is_killed_again_and_again_but_gets_on_does_not_fail(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    """More deaths than make a task guilty, each some epochs after the one before: what was trained is kept."""
    deadly = of_user("Deadly", 1, log=str(tmp_path / "deaths"), times=MAX_DEATHS + 1)
    group = tasks([deadly], tmp_path, stop=4 * (MAX_DEATHS + 2))
    with Engine(digits_bench, 1) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
    assert (tmp_path / "deaths").read_text() == "x" * (MAX_DEATHS + 1)
    assert_alone(group[0], outcomes["t0"])
    assert not list(tmp_path.glob("*.part"))


def test_what_kills_every_worker_fails_alone(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    deadly = of_user("Deadly", 1, log=str(tmp_path / "deaths"), at=2)
    group = tasks([deadly, *map(member, range(4)), of_user("Branching"), of_user("Plain")], tmp_path, stop=8)
    with Engine(digits_bench, 2) as engine:
        engine.submit(group)
        outcomes = results(engine, group)
    assert outcomes["t0"].error.text.startswith("its worker died")
    assert (tmp_path / "deaths").read_text() == "x" * MAX_DEATHS
    for task in group[1:]:
        assert_alone(task, outcomes[task.key])


def test_workers_go_when_the_engine_fails(digits_bench: WorkerSetup, tmp_path: Path) -> None:
    began = time.monotonic()
    with suppress(KeyboardInterrupt), Engine(digits_bench, 1) as engine:
        engine.submit(tasks([member(0)], tmp_path, stop=100_000))
        assert engine.result("t0", timeout_s=0.2) is None
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
    assert not list(tmp_path.glob("t0*"))


# --- cost -------------------------------------------------------------------------------------------------------------


def test_the_cost_of_an_epoch_grows_with_the_work() -> None:
    meta = digits().meta
    assert seconds_per_epoch(config(), meta) == seconds_per_epoch(config(lr=1.0, dropout=0.5, epochs=3), replace(meta))
    costs = [seconds_per_epoch(config(width=width), meta) for width in (8, 16, 64, 256, 1024)]
    assert costs == sorted(set(costs))
    costs = [seconds_per_epoch(config(depth=depth), meta) for depth in (1, 2, 3)]
    assert costs == sorted(set(costs))
    costs = [seconds_per_epoch(config(batch_size=batch), meta) for batch in (256, 128, 32)]
    assert costs == sorted(set(costs))
    assert seconds_per_epoch(config(), replace(meta, n_train=840)) == pytest.approx(
        2 * seconds_per_epoch(config(), meta)
    )


def test_the_cost_is_the_same_in_another_process() -> None:
    script = (
        "from tests.support.training import *\n"
        "from src.engine.cost import seconds_per_epoch\n"
        "print(repr(seconds_per_epoch(config('cnn'), images().meta)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert float(run.stdout) == seconds_per_epoch(config("cnn"), images().meta), run.stderr


def test_a_population_leaves_the_generator_of_its_process_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    population([member(0), member(1)], digits())
    assert torch.equal(torch.rand(3), expected)
