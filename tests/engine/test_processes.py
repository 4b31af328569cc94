"""Processes of a sweep: none outlives it, one that is killed is replaced, and what hangs in a user's model is ended."""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from src.diagnosis.rate_range import over
from src.engine.engine import Engine
from src.engine.inspection import Inspector, NoAnswerError
from src.engine.model_size import Size, size
from src.engine.rate_ramp import ramp, side_by_side, steps_per_epoch
from src.engine.task import Task
from src.engine.worker_calls import WorkerCalls
from src.population.member import Member
from src.system.errors import UserError
from tests.support import training
from tests.support.running import Place, end_all, wait_until
from tests.support.training import config, digits

LONG = ("n_trials=64", "epochs=20", "search=random", "workers=2")
SHORT = ("n_trials=6", "epochs=12", "search=random", "slots=2", "workers=2", "seed=3")


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def place(tmp_path: Path, prepared: Path) -> Place:
    return Place(tmp_path, prepared)


@pytest.fixture
def cold(tmp_path: Path, prepared: Path) -> Place:
    """Where the processes of a sweep have command lines of their own."""
    return Place(tmp_path, prepared, cold=True)


def processes() -> dict[int, tuple[int, str]]:
    """Every process that is no zombie: its parent and its command line."""
    table = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_text(encoding="utf-8").replace("\0", " ")
        except OSError:
            continue
        if fields[0] != "Z":
            table[int(stat.parent.name)] = (int(fields[1]), command)
    return table


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, by pid, with their command lines."""
    table = processes()
    below = {child: command for child, (parent, command) in table.items() if parent == pid}
    return below | {pid: command for child in below for pid, command in descendants(child).items()}


def forkserver(pid: int) -> int:
    (server,) = {parent for parent, command in processes().values() if "forkserver" in command} & descendants(
        pid
    ).keys()
    return server


def test_nothing_outlives_a_sweep_whose_process_alone_is_killed(cold: Place) -> None:
    sweep = cold.start(*LONG)
    assert wait_until(lambda: cold.events() >= 1, sweep), sweep.communicate()
    family = descendants(sweep.pid)
    assert len(family) >= 5, "a forkserver, two workers, a writer, a tracker of resources"
    sweep.send_signal(signal.SIGKILL)
    end = time.monotonic() + 5
    while alive := family.keys() & processes().keys():
        assert time.monotonic() < end, {pid: family[pid] for pid in alive}
        time.sleep(0.05)


def test_a_killed_forkserver_is_replaced_and_nothing_shows(cold: Place, tmp_path: Path, prepared: Path) -> None:
    undisturbed = Place(tmp_path / "undisturbed", prepared)
    undisturbed.run(*SHORT)
    sweep = cold.start(*SHORT)
    for count in (1, 3, 5):
        assert wait_until(lambda count=count: cold.events() >= count, sweep), sweep.communicate()
        os.kill(forkserver(sweep.pid), signal.SIGKILL)
    _, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, err
    assert "Traceback" not in err
    assert cold.trials == undisturbed.trials


# --- a user's model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["asleep", "stubborn"])
def test_a_trial_that_hangs_fails_and_the_others_go_on(way: str, tmp_path: Path) -> None:
    setup = replace(training.setup(digits(), tmp_path), timeout=4.0)
    models = [{"_target_": "tests.support.zoo.Sleepless", "way": way}, {"_target_": "tests.support.zoo.Plain"}]
    members = [Member(config(model), 7) for model in models]
    tasks = [Task(f"t{k}", m, 4, None, tmp_path / f"t{k}.safetensors") for k, m in enumerate(members)]
    with Engine(setup, 2) as engine:
        engine.submit(tasks)
        hung, well = engine.result("t0", 120), engine.result("t1", 120)
    assert hung
    assert hung.error.text.startswith("it took more than trial.timeout=4 s")
    assert "zoo.py" in hung.detail
    assert hung.origin
    assert well
    assert (well.error.text, well.epochs) == ("", 4)
    assert not list(tmp_path.glob("*.timeout"))


@pytest.fixture
def inspector() -> Iterator[Inspector]:
    inspector = Inspector(seconds=10)
    yield inspector
    inspector.close()


@pytest.mark.parametrize("way", ["exits", "crashes", "hangs"])
def test_a_model_that_ends_whoever_builds_it_does_not_end_who_asks(way: str, inspector: Inspector) -> None:
    model = {"_target_": "tests.support.zoo.Fatal", "way": way}
    for _ in range(2):
        with pytest.raises(NoAnswerError, match=r"zoo\.Fatal (ends|takes|took)"):
            inspector.ask(size, model, digits().meta, 64)
    plain = {"_target_": "tests.support.zoo.Plain"}
    counted = Size(64 * 12 + 12 * 10, 64 * 12 + 12 * 10, 65 * 12 + 13 * 10)
    assert inspector.ask(size, plain, digits().meta, 64) == counted


def test_who_looks_at_models_is_replaced_where_it_is_killed_and_gives_the_same_answer(inspector: Inspector) -> None:
    """The cost of a trial orders a sweep: a kill gave one trial another cost, and the sweep another order."""
    plain = {"_target_": "tests.support.zoo.Plain"}
    answers = []
    for _ in range(3):
        answers.append(inspector.ask(size, plain, digits().meta, 64))
        os.kill(inspector._process.pid, signal.SIGKILL)
        inspector._process.join()
    assert answers[0] == answers[1] == answers[2]


def test_a_model_that_asks_for_all_memory_gets_no_answer(inspector: Inspector) -> None:
    with pytest.raises(NoAnswerError, match="memory"):
        inspector.ask(size, {"_target_": "tests.support.zoo.Fatal", "way": "grows"}, digits().meta, 64)


def test_a_model_of_16_terabytes_is_refused_quickly_in_one_sentence(place: Place) -> None:
    began = time.monotonic()
    refused = place.run("model.width=2000000", "workers=1", ok=False)
    assert time.monotonic() - began < 60, "seconds, on a machine that does nothing else"
    (line,) = refused.stderr.strip().splitlines()
    assert re.fullmatch(
        r"error: (space\.\S+ .*)?model: .* to train, this machine has .* GB: make it narrower or less deep\.\)?", line
    )


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"_target_": "tests.support.zoo.Leaving", "way": "quits"}, "SystemExit"),
        ({"_target_": "tests.support.zoo.Sociable"}, "a row alone"),
    ],
)
def test_a_model_that_leaves_or_bears_no_single_row_fails_alone(
    model: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    members = [Member(config(each), 7) for each in (model, model, {"_target_": "tests.support.zoo.Plain"})]
    tasks = [Task(f"t{k}", m, 2, None, tmp_path / f"t{k}.safetensors", timed=True) for k, m in enumerate(members)]
    with Engine(training.setup(digits(), tmp_path), 1) as engine:
        engine.submit(tasks)
        *others, well = (engine.result(task.key, 120) for task in tasks)
    for one in others:
        assert one
        assert (complaint in one.detail, "zoo.py" in one.origin) == (True, True)
    assert well
    assert well.latency_ms
    assert not well.error


# --- calls of a worker -------------------------------------------------------------------------------------------------


def test_a_range_test_on_a_worker_has_the_numbers_of_one_in_this_process(tmp_path: Path) -> None:
    setup, trial = training.setup(digits(), tmp_path), config()
    with WorkerCalls(setup, tmp_path) as call:
        there = call(ramp, trial, 5, seeds=2, low=1e-5, high=1.0, steps=30, watch=3, over=over)
        beside = call(side_by_side, trial, 5, [1e-3, 1e-2], 2)
        steps = call(steps_per_epoch, trial)
    here = ramp(trial, setup, 5, seeds=2, low=1e-5, high=1.0, steps=30, watch=3, over=over)
    assert steps == -(-training.N_TRAIN // trial.batch_size)
    for one, other in ((there, here), (beside, side_by_side(trial, setup, 5, [1e-3, 1e-2], 2))):
        for field in ("rate_S", "loss_KS", "score_KS"):
            assert getattr(one, field).tobytes() == getattr(other, field).tobytes()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"_target_": "tests.support.zoo.Leaving", "way": "exits"}, "it ends the process that trains it"),
        (
            {"_target_": "tests.support.zoo.Leaving", "way": "quits"},
            "it calls for the end of its process (SystemExit(3))\nTraceback",
        ),
        ({"_target_": "tests.support.zoo.Leaving", "way": "raises"}, "it is broken\nTraceback"),
        ({"_target_": "tests.support.zoo.Sleepless"}, "it took more than trial.timeout=2 s\n"),
        ({"_target_": "tests.support.zoo.Sleepless", "way": "stubborn"}, "it took more than trial.timeout=2 s\n"),
    ],
)
def test_a_model_that_ends_its_worker_in_a_call_is_named(model: dict[str, str], sentence: str, tmp_path: Path) -> None:
    setup = replace(training.setup(digits(), tmp_path), timeout=2.0)
    with WorkerCalls(setup, tmp_path) as call:
        with pytest.raises(UserError) as refused:
            call(side_by_side, config(model), 0, [1e-3], 5)
        assert sentence in str(refused.value)
        assert str(refused.value).startswith(f"model {model['_target_']}: ")
        assert call(steps_per_epoch, config()) == 7, "the next call is answered"


def test_a_killed_worker_of_a_call_is_replaced(tmp_path: Path) -> None:
    deadly = {"_target_": "tests.support.zoo.Deadly", "log": str(tmp_path / "deaths"), "times": 2}
    setup = training.setup(digits(), tmp_path)
    with WorkerCalls(setup, tmp_path) as call:
        curves = call(side_by_side, config(deadly), 0, [1e-3], 5)
    plain = side_by_side(config({"_target_": "tests.support.zoo.Plain"}), setup, 0, [1e-3], 5)
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "xx"
    assert curves.loss_KS.tobytes() == plain.loss_KS.tobytes()


NET = """
import os

from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_shape: tuple[int, ...], n_outputs: int, width: int) -> None:
        super().__init__()
        if width == 3:
            os._exit(7)
        self.layer = nn.Linear(64, n_outputs)

    def forward(self, x):
        return self.layer(x.flatten(1))
"""


def test_a_model_that_exits_for_one_width_fails_these_trials_only(place: Place) -> None:
    (place.folder / "mine" / "model").mkdir(parents=True)
    (place.folder / "exits.py").write_text(NET, encoding="utf-8")
    text = "# @package _global_\nmodel: {name: mlp, _target_: exits.Net, width: 1}\n"
    (place.folder / "mine" / "model" / "exits.yaml").write_text(text, encoding="utf-8")
    words = (
        "--config-dir",
        "mine",
        "model=exits",
        "trusted=[exits]",
        "epochs=2",
        "search=grid",
        "n_trials=3",
        "workers=1",
    )
    space = "+space={model:{width:{type:categorical,choices:[1,3,2]}}}"
    place.run(*words, space, "~space.optimizer", "~space.batch_size")
    ends = {(row["params.model.width"], row["state"]) for row in place.rows()}
    assert ends == {("1", "complete"), ("2", "complete"), ("3", "fail")}
