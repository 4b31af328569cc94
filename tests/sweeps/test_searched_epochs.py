"""The epochs of a trial may be searched: each has a schedule, a cost and an end of its own."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.config.components import make
from src.optim.schedule import Position
from src.optim.schedules.cosine import Cosine
from src.population.batching import batch_starts
from src.search.fidelity.rule import fidelity_rule
from src.search.protocol import Spec
from src.study.history import History
from src.system.errors import UserError
from tests.config.test_loading import conf, made  # noqa: F401
from tests.search.test_strategies import FILES, section
from tests.support.running import Place

SPACE = "space.epochs={type: int, low: 3, high: 9}"
RUNGS = ["asha", "hyperband", "bohb", "pbt"]


def spec() -> Spec:
    space = made(SPACE).space
    return Spec(space, "maximize", 10, space.most_epochs(), 0)


def test_the_longest_trial_is_what_a_search_plans_with() -> None:
    assert made().space.most_epochs() == 20
    assert made("epochs=7").space.most_epochs() == 7
    assert made(SPACE).space.most_epochs() == 9
    assert made(SPACE, "choose={optimizer: [sgd, adamw]}").space.most_epochs() == 9
    assert made(SPACE, "epochs=7").space.most_epochs() == 7  # a plain value fixes its key


@pytest.mark.parametrize("name", RUNGS)
def test_who_compares_trials_after_equal_epochs_refuses_it(name: str) -> None:
    with pytest.raises(UserError, match=r"^space\.epochs: .* of which these trials have their own number; "):
        make("search", section(name), spec())


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median", {"name": "percentile", "percentile": 25.0}])
def test_so_do_pruners_that_compare(pruner: object) -> None:
    with pytest.raises(UserError, match=r"^space\.epochs: search\.pruner=\w+ compares .*choose search\.pruner=none$"):
        fidelity_rule(pruner, spec())  # type: ignore[arg-type]


def test_all_others_search_it() -> None:
    others = [n for n in FILES if n not in RUNGS and n not in ("replay", "nsga2", "grid") and "pruner" in section(n)]
    assert {"random", "tpe", "gp", "cmaes", "evolution", "qmc"} <= set(others)
    for name in others:
        (first, *_) = make("search", section(name) | {"pruner": "none"}, spec()).propose(History("maximize"), 1)
        assert 3 <= first.params["epochs"] <= first.epochs == 9


@pytest.mark.slow
def test_a_sweep_over_epochs(prepared: Path, tmp_path: Path) -> None:
    places = [Place(tmp_path / str(workers), prepared) for workers in (1, 2)]
    for workers, place in enumerate(places, start=1):
        space = ["space.optimizer=null", "space.model=null", "space.batch_size=null", SPACE]
        place.run(
            *space,
            "search=tpe",
            "search.pruner=none",
            "n_trials=6",
            "optimizer.lr=0.01",
            "schedule.warmup=0",
            f"workers={workers}",
        )
    one, two = places
    for name in ("trials.csv", "curves.csv", "progress.csv"):
        assert (one.out / name).read_bytes() == (two.out / name).read_bytes()
    meta = json.loads((prepared / "digits" / "meta.json").read_text())
    steps, rows = len(batch_starts(meta["n_train"], 64)), one.rows()
    assert len({row["epochs"] for row in rows}) > 2
    for row in rows:
        assert row["state"] == "complete"
        assert row["epochs"] == row["params.epochs"]
        total = int(row["epochs"])
        (last,) = [r for r in one.rows("curves") if r["number"] == row["number"] and r["epoch"] == row["epochs"]]
        position = Position(np.array([total * steps - 1.0]), steps, total, {})
        assert float(last["lr"]) == pytest.approx(0.01 * Cosine().factor(position)[0], rel=1e-3)
