"""A sweep in virtual time whose every change goes to a real study on disk; as a program: one that can be killed.

python tests/stored.py FOLDER STORAGE SEARCH: prints the number of events that the study has acknowledged.
"""

import re
import sys
import time
from pathlib import Path
from typing import Any

from src.search.protocol import Spec
from src.search.strategies.random import random as random_search
from src.search.strategies.tpe import tpe
from src.study.history import History
from src.study.identity import Identity
from src.study.study import Study
from src.system.reason import Reason
from tests.support.virtual import EPOCHS, Op, Sweep, conditional, fails

SPEC = Spec(conditional(), "minimize", 30, EPOCHS, 0)
CODE = {"src/a.py": "1", "torch": "2.13"}
CHOICES = {"slots": 5, "kernel": "eager", "metric": "loss"}


def identity(inputs: str = "ab" * 32, code: Any = None) -> Identity:
    return Identity("digits-mlp", inputs, CODE if code is None else code)


def opened(folder: Path, url: str | None = None, **more: Any) -> Study:
    return Study.open(folder, url, more.pop("identity", identity()), "minimize", CHOICES, **more)


def without_checksums(journal: bytes) -> bytes:
    """A journal as earlier versions wrote it, of which a test may change what it likes."""
    return re.sub(rb',"sha256":"[0-9a-f]{16}"}\n', b"}\n", journal)


class Stored(Sweep):
    """Goes on from whatever the study holds."""

    def __init__(self, study: Study, search: str = "random") -> None:
        depends_on_results = search == "tpe"
        made = (
            tpe(SPEC, n_startup_trials=10, random_fraction=0.33, pruner="asha")
            if depends_on_results
            else random_search(SPEC, pruner={"name": "successive_halving", "min_resource": 2})
        )
        self.study = study
        super().__init__(made, CHOICES["slots"], fails=fails, history=study.history)  # type: ignore[arg-type]

    def apply(self, op: Op) -> None:
        if op[0] == "start":
            distributions = SPEC.space.distributions(op[1].params)
            self.study.start(op[1], distributions, EPOCHS, self.cost(op[1].params))
        else:
            _, number, values, state = op
            self.study.report(
                number, values, {"loss": values}, state, Reason.read("bad" if state == "fail" else ""), len(values)
            )
        self.ops.append(op)
        self.timetable.sync()

    def step(self) -> bool:
        """The first fill, or one result and what follows from it; False at the end."""
        with self.study.together():
            if self.timetable.running:
                self.report()
            self.fill()
        return bool(self.timetable.running)


def table(history: History) -> list[Any]:
    """What must be the same, whatever happened on the way."""
    return [(dict(t.params), t.state, t.values, t.target, t.max_epochs, t.reason) for t in history.trials]


if __name__ == "__main__":
    sweep = Stored(opened(Path(sys.argv[1]), sys.argv[2] or None), sys.argv[3])
    with sweep.study.together():
        sweep.fill()
    print(len(sweep.history.events), flush=True)
    while sweep.step():
        print(len(sweep.history.events), flush=True)
        time.sleep(0.01)  # training
