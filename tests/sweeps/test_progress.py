"""The line that a person watches."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.engine.elastic import Load
from src.study.history import History, Proposal
from src.sweeps.progress import Progress

ROOT = Path(__file__).parents[2]


def history(*states: str) -> History:
    """Trials in these states; trial n has the value n / 10."""
    made = History("maximize")
    for state in states:
        add(made, state)
    return made


def add(made: History, state: str) -> None:
    number = made.start(Proposal({}, 2), 2, 1.0).number
    if state != "running":
        made.report(number, [number / 10] * (1 if state == "paused" else 2), state)  # type: ignore[arg-type]


def test_it_counts_what_there_is() -> None:
    line = Progress(
        "digits", 20, history("complete", "pruned", "fail", "running", "paused", "complete", "pruned")
    ).line()
    assert line == "digits: 5/20 trials, 1 running, 1 paused, 2 pruned, 1 failed, best 0.5000 (trial 5)"


def test_before_the_first_result_it_says_neither_best_nor_rate() -> None:
    assert Progress("digits", 20, history("running")).line() == "digits: 0/20 trials, 1 running, 0 pruned"


def test_the_rate_and_the_time_left_are_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six trials stood there before; four more in 12 s are 20 a minute, and the ten left take 30 s."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = history(*["pruned"] * 6)
    progress = Progress("digits", 20, made)
    now[0] += 12
    for _ in range(4):
        add(made, "complete")
    assert progress.done == 4
    assert progress.line().endswith("20 trials/min, 30 s left")


def test_workers_that_come_and_go_are_counted_and_the_slow_one_is_named() -> None:
    made = history("running", "running")
    idle, busy = Load(2, 0), Load(2, 5, "second-7-20", 200.0, "tcp://10.0.0.7:4242")
    assert "workers" not in Progress("digits", 20, made).line()
    assert Progress("digits", 20, made, lambda: idle).line().endswith("0 pruned, 2 workers, 0 segments waiting")
    line = Progress("digits", 20, made, lambda: busy).line()
    assert line.endswith("2 workers, 5 segments waiting, trial 7 has trained for 3 min on tcp://10.0.0.7:4242")


def test_from_a_minute_on_the_trial_that_has_not_reported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = history("complete", "running", "running")
    progress = Progress("digits", 20, made)
    for seconds, tail in (
        (59, "2 running"),
        (2, "trial 1 has not reported for 1 min"),
        (60, "trial 1 has not reported for 2 min"),
    ):
        now[0] += seconds
        progress.show(1)
        assert tail in progress.line()
        assert ("reported" in progress.line()) == ("reported" in tail)
    made.report(1, [0.5], "running")
    progress.show(2)
    assert "reported" not in progress.line()


def test_while_trials_are_paused_no_time_is_promised() -> None:
    made = history("pruned")
    progress = Progress("digits", 20, made)
    add(made, "complete")
    assert "trials/min" in progress.line()
    add(made, "paused")
    assert progress.line().endswith("1 paused, 1 pruned, best 0.1000 (trial 1)")


def test_a_smaller_total_than_there_are_trials_leaves_no_time() -> None:
    made = history("complete")
    progress = Progress("digits", 2, made)
    for _ in range(3):
        add(made, "complete")
    assert progress.line().endswith("0 s left")


def test_without_a_terminal_it_is_a_line_now_and_then_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    made = history("running")
    with Progress("digits", 1, made) as progress:
        for _ in range(100):
            progress.show()
        made.report(0, [1.0, 1.0], "complete")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "digits: 0/1 trials, 1 running, 0 pruned"
    assert re.fullmatch(r"digits: 1 trials, 0 pruned, best 1\.0000 \(trial 0\), \d+ trials/min", lines[-1])
    assert len(lines) == 2


def test_a_search_that_is_over_early_leaves_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A grid may have fewer points than `n_trials`; who is interrupted still has the rest before her."""
    made = history("complete", "complete")
    with Progress("digits", 100, made):
        pass
    with pytest.raises(KeyboardInterrupt), Progress("digits", 100, made):
        raise KeyboardInterrupt
    ended, interrupted = capsys.readouterr().err.splitlines()
    assert ended.startswith("digits: 2 trials, 0 pruned, best")
    assert interrupted.startswith("digits: 2/100 trials, 0 running, 0 pruned, best")


def test_without_a_terminal_it_says_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = history("running")
    progress = Progress("digits", 2, made)
    for _ in range(3):
        now[0] += 60
        progress.show()
    add(made, "running")
    now[0] += 60
    progress.show()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"digits: 0/2 trials, {n} running, 0 pruned" for n in (1, 2)]


def test_on_a_terminal_it_is_one_live_line() -> None:
    """A real pseudo-terminal: the line is drawn in place, and its last state stays."""
    code = (
        "import time; from src.study.history import *; from src.sweeps.progress import Progress\n"
        "h = History('maximize')\n"
        "with Progress('digits', 3, h) as p:\n"
        "    for n in range(3):\n"
        "        h.start(Proposal({}, 1), 1, 1.0); p.show(); time.sleep(0.2)\n"
        "        h.report(n, [n / 10], 'complete'); p.show(waiting='[/red] \\x1b[31m'); time.sleep(0.2)\n"
    )
    master, slave = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=slave, env=environment, cwd=ROOT)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0
    os.close(master)
    text = shown.decode()
    assert "0/3 trials" in text
    assert "2/3 trials" in text
    assert "\x1b[2K" in text, "lines are drawn over"
    assert r"waiting for [/red] \x1b[31m" in text, "words of others are neither markup nor commands"
    last = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text).strip().splitlines()[-1]
    assert last.startswith("digits: 3 trials, 0 pruned, best 0.2000 (trial 2)")


def test_the_line_says_for_what_it_waits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once that takes more than a moment, also from inside a call that does not return."""
    monkeypatch.setattr("src.sweeps.progress.PATIENCE", 0.05)
    progress = Progress("digits", 20, history("complete"))
    with progress.waiting("the database of studies"):
        assert "waiting" not in progress._shown()
        time.sleep(0.3)
        assert progress._shown().endswith("waiting for the database of studies (0 s)")
    assert capsys.readouterr().err == "digits: waiting for the database of studies (0 s)\n"
    with progress.waiting("MLflow"):
        pass
    time.sleep(0.1)
    assert "waiting" not in progress._shown() + capsys.readouterr().err
