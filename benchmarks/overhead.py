"""What a sweep costs beside its training: propose, start and report of a trial, with a durable study, at many trials.

    python benchmarks/overhead.py [--searches random asha hyperband] [--trials 1000 10000]

Everything of `src/sweeps/loop.py` but the engine: the search, the timetable and a study in a journal file on disk. Trials
of 20 epochs that take no time. Milliseconds a trial are the mean while the last tenth of the trials begins, so at that many,
with all that promotions cost; the memory is the process's largest so far less what it had before, and the same a trial.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from optuna.distributions import FloatDistribution, IntDistribution  # noqa: E402

from src.config.components import make  # noqa: E402
from src.config.space import Dimension, Leaf, Space  # noqa: E402
from src.search.protocol import Spec  # noqa: E402
from src.study.identity import Identity  # noqa: E402
from src.study.study import Study  # noqa: E402
from src.study.timetable import Timetable  # noqa: E402

MODELS = ["tpe", "gp"]  # which learn from all trials: at most 1,000
EPOCHS = 20
SLOTS = 4
RESULTS = ROOT / "benchmarks" / "results"
DIMENSIONS = {
    "lr": FloatDistribution(1e-4, 3e-2, log=True),
    "weight_decay": FloatDistribution(1e-5, 0.1, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "width": IntDistribution(32, 128, step=32),
    "depth": IntDistribution(1, 3),
}


def main() -> None:
    """Measure each search at each size in a process of its own, so that memory is its own too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", nargs="+", default=["random", "asha", "hyperband", *MODELS])
    parser.add_argument("--trials", nargs="+", type=int, default=[1000, 10000])
    parser.add_argument("--one", action="store_true", help="measure here, print one line")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.searches[0], args.trials[0])))
        return
    rows = []
    for search in args.searches:
        for trials in (n for n in args.trials if n <= 1000 or search not in MODELS):
            command = [sys.executable, __file__, "--one", "--searches", search, "--trials", str(trials)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print(rows[-1], flush=True)
    RESULTS.joinpath("overhead.md").write_text(_table(rows))


def measure(search: str, n_trials: int) -> dict[str, Any]:
    """One study from beginning to end."""
    section = yaml.safe_load((ROOT / "conf" / "search" / f"{search}.yaml").read_text())["search"]
    space = Space(Leaf(dict.fromkeys(DIMENSIONS), {name: Dimension(name, d) for name, d in DIMENSIONS.items()}))
    made = make("search", section, Spec(space, "minimize", n_trials, EPOCHS, 0))
    propose_ms = report_ms = 0.0
    with tempfile.TemporaryDirectory() as folder:
        study = Study.open(
            Path(folder), None, Identity("overhead", "0" * 64, {}), "minimize", {"slots": SLOTS, "metric": "val/loss"}
        )
        timetable, before = Timetable(study.history, SLOTS), _memory()
        while True:
            late = 0.9 * n_trials <= len(study.history.trials) < n_trials
            began = time.perf_counter()
            with study.together():
                _fill(study, made, timetable, space)
            proposed = time.perf_counter()
            segment = timetable.next
            if segment is None:
                break
            trial = study.history.trials[segment.trial]
            values = [_value(trial.params, epoch) for epoch in range(segment.start + 1, segment.stop + 1)]
            reported = time.perf_counter()
            with study.together():
                state = "complete" if segment.stop == trial.max_epochs else "paused"
                study.report(trial.number, values, {"val/loss": values, "train/loss": values}, state)  # type: ignore[arg-type]
            timetable.sync()
            propose_ms += late * 1e3 * (proposed - began)
            report_ms += late * 1e3 * (time.perf_counter() - reported)
        grown = _memory() - before
    tenth = 0.1 * n_trials
    return {
        "search": search,
        "trials": n_trials,
        "propose_ms": round(propose_ms / tenth, 2),
        "report_ms": round(report_ms / tenth, 2),
        "ms_a_trial": round((propose_ms + report_ms) / tenth, 2),
        "grown_mib": round(grown, 1),
        "kib_a_trial": round(1024 * grown / n_trials, 1),
    }


def _fill(study: Study, made: Any, timetable: Timetable, space: Space) -> None:
    while timetable.free and (proposals := made.propose(study.history, timetable.free)):
        for proposal in proposals:
            if proposal.trial is not None and proposal.epochs <= study.history.trials[proposal.trial].epochs:
                study.report(proposal.trial, [], {}, "pruned")
            else:
                study.start(proposal, space.distributions(proposal.params), EPOCHS, 1.0)
        timetable.sync()


def _value(params: Any, epoch: int) -> float:
    return abs(math.log(params["lr"] / 3e-3)) + float(params["dropout"]) + 1 / epoch


def _memory() -> float:
    """The largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["search", "trials", "propose, ms", "report, ms", "both, ms a trial", "memory grown, MiB", "KiB a trial"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([str(v) for v in row.values()] for row in rows)]
    return "# Overhead a trial\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
