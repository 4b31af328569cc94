"""Sweeps and stages that are killed (SIGKILL) over and over, beside the same ones undisturbed: is anything lost?

    python -m benchmarks.kills [--kinds random tpe train dvc] [--victims driver worker] [--kills 500] [--minutes 10]

A run is one command in a folder of its own, on 300 rows of digits. One kind of process is killed in it, several times: at
random moments, or stopped exactly at a commit boundary (`boundaries/sitecustomize.py`) and killed there. Where the command
dies of it, it is started again at once. At its end everything that it left is compared with an undisturbed run, and 5 s
after a kill that should end all its processes none may be alive. It goes on where it was stopped: `results/kills.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.family import kill, marked
from benchmarks.traces import observed

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = ["data=digits", "data.rows=300"]
SWEEP = ["sweep", *DATA, "workers=2", "seed=1", "n_trials=8"]
FIXED = ["optimizer.weight_decay=0.01", "model.dropout=0.1", "batch_size=32", "model.width=16"]
OWN = {  # what a strategy cannot do without; those that stop trials on the way have a few more epochs
    "grid": ["+space.optimizer.lr.points=5", *FIXED],
    "nsga2": ["objective.minimize=[val/error,parameters]"],
    **{name: ["epochs=9"] for name in ("asha", "hyperband", "bohb", "pbt")},
}
STAGES = {
    "train": ["train", *DATA, "members.n=3", "workers=2"],
    "ensemble": ["ensemble", *DATA, "models=[mlp]", "baselines=[]", "export.pt2=false"],
}
FATAL = ("driver", "group", "all")  # the command has to be started again; all: the writer of MLflow's runs too
VICTIMS = (*FATAL, "worker", "forkserver", "writer")
MOST = {"worker": 24, "writer": 10}  # kills of a run, where it is not 8
PARAMS = {
    "models": "[mlp]",
    "n_trials": 6,
    "epochs": 3,
    "baselines": "[majority]",
    "search": "random",
    "combiner": "[average]",
}
DISTURBED = (  # what DVC may say when its stage was killed, or when a stage that lost its DVC still runs
    "exited with -9",
    "running already",
    "another process",
    "Unable to acquire lock",
)
PATIENCE = 300.0  # seconds for a command
GRACE = 5.0  # seconds in which every process of a killed command is to end


@dataclass
class Run:
    """A run and its kills; the fields are what `results/kills.jsonl` says of it."""

    kind: str
    victim: str
    seed: int
    kills: list[str] = field(default_factory=list)  # where each was: a boundary, or "random"
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # the same command did not go on


class Bench:
    """The folder in which everything is made once and copied for each run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seconds = folder, 20.0
        self._attempts = 0

    def command(self, kind: str) -> list[str]:
        """The command of a run of this kind."""
        if kind == "dvc":
            return [sys.executable, "-m", "dvc", "repro"]
        if kind in STAGES:
            verb, words = STAGES[kind][0], STAGES[kind][1:]
        else:
            verb, words = SWEEP[0], [*SWEEP[1:], "epochs=3", f"search={kind}", *OWN.get(kind, [])]
        if kind == "replay":
            (study,) = (self.start_of("replay") / ".lockstep" / "studies").glob("*")
            words += [f"replay.study={study.name}"]
        return [sys.executable, "-m", f"src.{verb}", *words]

    def start_of(self, kind: str) -> Path:
        """A folder in which the command of this kind can be run."""
        before = {"train": "random", "ensemble": "train", "replay": "pbt"}
        if kind in before:
            return self.reference(before[kind])
        place = self.folder / ("start-dvc" if kind == "dvc" else "start")
        if not place.exists():
            new = place.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            (_clone if kind == "dvc" else self._prepare)(new)
            new.rename(place)
        return place

    def reference(self, kind: str) -> Path:
        """The folder that an undisturbed run has left; the boundaries that it passed are in `passed`."""
        place = self.folder / f"reference-{kind}"
        if not place.exists():
            new = self.copy(kind, place.with_suffix(".new"))
            (new / "box" / "record").touch()
            began = time.monotonic()
            process = self.begin(kind, new)
            if process.wait(PATIENCE):
                sys.exit(f"{kind}, undisturbed: {(new / 'log').read_text()}")
            (new / "seconds").write_text(str(time.monotonic() - began))
            new.rename(place)
        return place

    def copy(self, kind: str, place: Path) -> Path:
        """A fresh folder for a run."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.start_of(kind), place, symlinks=True)
        shutil.rmtree(place / "box", ignore_errors=True)
        (place / "box").mkdir()
        return place

    def begin(self, kind: str, place: Path) -> subprocess.Popen[str]:
        """Start the command of a run; all of its processes bear a mark of their own."""
        self._attempts += 1
        paths = [ROOT / "benchmarks" / "boundaries", *([] if kind == "dvc" else [ROOT])]
        marks = {"LOCKSTEP_BOUNDARIES": str(place / "box"), "LOCKSTEP_ATTEMPT": f"{os.getpid()}-{self._attempts}"}
        quiet = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DVC_NO_ANALYTICS": "true",
            "GIT_CEILING_DIRECTORIES": str(self.folder),
        }
        with (place / "log").open("w") as log:
            return subprocess.Popen(
                self.command(kind),
                cwd=place,
                env={**os.environ, **marks, **quiet, "PYTHONPATH": os.pathsep.join(map(str, paths))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    @property
    def mark(self) -> str:
        """The mark of the processes of the last command."""
        return f"LOCKSTEP_ATTEMPT={os.getpid()}-{self._attempts}"

    def _prepare(self, place: Path) -> None:
        place.mkdir(parents=True)
        shutil.copy(ROOT / "params.yaml", place)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", "src.prepare", *DATA], cwd=place, env=environment, check=True)


def _clone(place: Path) -> None:
    """A clone whose pipeline is small."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
    params = (place / "params.yaml").read_text().splitlines()
    lines = [f"{key}: {PARAMS[key]}" if (key := line.partition(":")[0]) in PARAMS else line for line in params]
    (place / "params.yaml").write_text("\n".join(lines) + "\n")
    data = place / "conf" / "data" / "digits.yaml"
    data.write_text(data.read_text().replace("rows: null", "rows: 300"))


# --- a run ---------------------------------------------------------------------------------------------------------------


def disturbed(bench: Bench, run: Run, most: int, boundaries: Counter[str]) -> Run:
    """Run a command to its end, killing `run.victim` up to `most` times; `boundaries` says how often each was hit."""
    bench.reference(run.kind)
    place = bench.copy(run.kind, bench.folder / f"run-{os.getpid()}")
    checks: list[threading.Thread] = []
    process = None
    try:
        for process in _until_it_succeeds(bench, run, place):
            _disturb(bench, run, process, place / "box", most, boundaries, checks)
    finally:
        if process and process.poll() is None:
            kill(random.Random(), "all", process, None)
    for check in checks:
        check.join()
    _check(run, f"LOCKSTEP_ATTEMPT={os.getpid()}-", "its end")
    _compare(run, observed(bench.reference(run.kind)), observed(place))
    if run.lost or run.duplicated or run.differing or run.left_over or run.refused:
        shutil.rmtree(kept := bench.folder / f"bad-{run.kind}-{run.victim}-{run.seed}", ignore_errors=True)
        place.rename(kept)
    return run


def _until_it_succeeds(bench: Bench, run: Run, place: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command again and again; each time it has been killed, or refused to go on, which is noted."""
    while len(run.refused) < 3:
        process = bench.begin(run.kind, place)
        yield process
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            run.refused.append(f"hangs: {(place / 'log').read_text()[-300:]}")
            return
        log = (place / "log").read_text().strip()
        if code == 0:
            return
        if run.kind == "dvc" and code > 0 and any(words in log for words in DISTURBED):
            time.sleep(1.0)
        elif code > 0:
            run.refused.append(log[-300:])


def _disturb(
    bench: Bench,
    run: Run,
    process: subprocess.Popen[str],
    box: Path,
    most: int,
    boundaries: Counter[str],
    checks: list[threading.Thread],
) -> None:
    """Kill the victim while the command runs: once, or again and again where the command goes on."""
    draw = random.Random(f"{run.kind} {run.victim} {run.seed} {len(run.kills)}")
    passed = Counter((bench.reference(run.kind) / "box" / "passed").read_text().splitlines())
    seconds = float((bench.reference(run.kind) / "seconds").read_text())
    fatal, pauses = run.victim in (*FATAL, "dvc"), {"writer": 0.2 * seconds}
    before, idle = -1, 0
    while len(run.kills) < most and process.poll() is None:
        if (now := _progress(box.parent)) == before and idle >= 3:
            _sleep(0.1, process)  # an epoch in whose course eight workers die has failed, by design
            continue
        before, idle = now, idle + 1 if now == before else 0
        boundary, frozen = _choose(draw, run, passed, boundaries), None
        if boundary:
            frozen = _stopped(draw, box, boundary, passed[boundary], process)
        else:
            _sleep(draw.uniform(0, seconds if fatal else pauses.get(run.victim, 0.5)), process)
        if process.poll() is None and kill(draw, run.victim, process, frozen):
            run.kills.append(boundary or "random")
            boundaries[run.kills[-1]] += 1
            if run.victim in FATAL:
                checks.append(threading.Thread(target=_check, args=(run, bench.mark, run.kills[-1])))
                checks[-1].start()
        if fatal:
            return


def _progress(place: Path) -> int:
    """A figure that grows with what has been trained."""
    files = [path for name in ("studies/*/journal.log", "members/*/*") for path in (place / ".lockstep").glob(name)]
    with suppress(OSError):
        return sum(path.stat().st_size for path in files)
    return -1


def _choose(draw: random.Random, run: Run, passed: Counter[str], hit: Counter[str]) -> str:
    """A boundary that was hit seldom so far; "" for a random moment."""
    own = {
        "worker": ("checkpoint",),
        "writer": ("MLflow", "artifact"),
        "forkserver": (),
    }.get(run.victim)
    names = [name for name in sorted(passed) if own is None or name.startswith(own)]
    if run.victim == "worker":
        names = [name for name in names if name.endswith("there")]
    if not names or draw.random() < 0.3:
        return ""
    least = sorted(names, key=lambda name: (hit[name], draw.random()))
    return draw.choice(least[:3])


def _stopped(draw: random.Random, box: Path, boundary: str, count: int, process: subprocess.Popen[str]) -> int | None:
    """The pid of the process that has stopped at the boundary; None if the command ended before any came to it."""
    for name in ("hits", "stopped"):
        (box / name).unlink(missing_ok=True)
    (box / "armed.new").write_text(f"{draw.randrange(1 + count // 3)} {boundary}")
    (box / "armed.new").rename(box / "armed")
    while process.poll() is None:
        with suppress(OSError, ValueError):
            pid = int((box / "stopped").read_text())
            while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.001)
            return pid
        time.sleep(0.002)
    (box / "armed").unlink(missing_ok=True)
    return None


def _sleep(seconds: float, process: subprocess.Popen[str]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _check(run: Run, mark: str, where: str) -> None:
    """Note the processes with this mark that are alive after the grace."""
    end = time.monotonic() + GRACE
    while (alive := marked(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    run.left_over += [f"after {where}: {command}" for command in alive]


def _compare(run: Run, expected: Counter[tuple[str, str]], seen: Counter[tuple[str, str]]) -> None:
    names, before = Counter[str](), Counter[str]()
    for (name, _), count in seen.items():
        names[name] += count
    for (name, _), count in expected.items():
        before[name] += count
    run.lost += [name for name in before if not names[name]]
    run.duplicated += [name for name in names if names[name] > max(1, before[name])]
    run.differing += sorted({name for name, content in seen if before[name] and (name, content) not in expected})
    run.differing += [f"{name} is new" for name in names if not before[name]]


# --- the table -------------------------------------------------------------------------------------------------------------


def page(runs: list[dict[str, Any]]) -> str:
    """The tables of all runs so far."""
    columns = ("lost", "duplicated", "differing", "left_over", "refused")
    rows: dict[tuple[str, str], Counter[str]] = {}
    for run in runs:
        row = rows.setdefault((run["kind"], run["victim"]), Counter())
        row.update(runs=1, kills=len(run["kills"]), **{name: len(run[name]) for name in columns})
    total = sum(rows.values(), Counter[str]())
    lines = ["# Kills", "", "| kind | killed | runs | kills | lost | duplicated | differing | left over | refused |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    figures = ("runs", "kills", *columns)
    for (kind, victim), row in [*sorted(rows.items()), (("**all**", ""), total)]:
        lines.append(f"| {kind} | {victim} | {' | '.join(str(row[name]) for name in figures)} |")
    lines += ["", "| boundary | kills |", "|---|---:|"]
    hits = Counter(where for run in runs for where in run["kills"])
    lines += [f"| {where} | {count} |" for where, count in sorted(hits.items())]
    faults = Counter(f"{name}: {' '.join(thing.split())}" for run in runs for name in columns for thing in run[name])
    lines += ["", "| what was wrong | runs |", "|---|---:|"] * bool(faults)
    for fault, count in sorted(faults.items()):
        note = next((f" ({words})" for part, words in NOTES if part in fault), "")
        lines.append(f"| {fault[:200]}{note} | {count} |")
    return "\n".join([*lines, ""])


NOTES = (  # by a thing that was wrong, what it was
    (
        "progress.csv",
        "a fault, mended since: who counts operations was killed, and one trial had another cost, so the order differed",
    ),
    (
        "the writer of MLflow's runs died",
        "on a machine with several such jobs, five kills and 90 s of patience; the study was whole",
    ),
)


def main() -> None:
    """Kill until the time or the number is over, the least killed first; fail if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = [*sorted(path.stem for path in (ROOT / "conf" / "search").glob("*.yaml")), *STAGES, "dvc"]
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--victims", nargs="+", default=[*VICTIMS, "dvc"], choices=[*VICTIMS, "dvc"])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir(), "lockstep-kills"), help="of the runs"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    end = time.monotonic() + 60 * args.minutes
    args.folder.mkdir(parents=True, exist_ok=True)
    file, bench = RESULTS / "kills.jsonl", Bench(args.folder.absolute())
    runs = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    while time.monotonic() < end and sum(len(run["kills"]) for run in runs) < args.kills:
        count = Counter(dict.fromkeys(_pairs(args.kinds, args.victims), 0))
        for run in runs:
            count[run["kind"], run["victim"]] += max(1, len(run["kills"]))
        kind, victim = min(_pairs(args.kinds, args.victims), key=lambda pair: (count[pair], random.random()))
        hits = Counter(where for run in runs for where in run["kills"])
        seed = sum((run["kind"], run["victim"]) == (kind, victim) for run in runs)
        done = vars(disturbed(bench, Run(kind, victim, seed), MOST.get(victim, 8), hits))
        runs.append(done)
        print(
            f"{kind} {victim}: {len(done['kills'])} kills",
            {k: v for k, v in done.items() if v and k[0] in "ldr"},
            flush=True,
        )
        with file.open("a") as lines:
            lines.write(json.dumps(done) + "\n")
        (RESULTS / "kills.md").write_text(page(runs))
    print(page(runs))
    sys.exit(any(run[name] for run in runs for name in ("lost", "duplicated", "differing", "left_over", "refused")))


def _pairs(kinds: list[str], victims: list[str]) -> list[tuple[str, str]]:
    """What can be killed: `ensemble` has one process, and dvc is only there where it runs."""
    return [
        (kind, victim)
        for kind in kinds
        for victim in victims
        if not (kind == "ensemble" and victim in ("worker", "forkserver", "writer"))
        and (victim != "dvc" or kind == "dvc")
    ]


if __name__ == "__main__":
    main()
