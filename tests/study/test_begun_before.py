"""A study that was begun and killed before the config's keys had their names of today goes on to the table of then."""

import csv
import shutil
from pathlib import Path

import pytest

from src.study.history import Proposal
from src.study.identity import Identity
from src.study.study import Study
from tests.support.running import Place

BEFORE = (
    Path(__file__).parent / "begun_before"
)  # a journal killed half-way, and the table that the sweep would have had
NAME = "digits-linear-26114675-f474b7fe"


def table(path: Path) -> list[dict[str, str]]:
    """The trials by the columns of then, with the kind of their diagnosis, whose words may change."""
    with (BEFORE / "trials.csv").open(encoding="utf-8") as file:
        columns = next(csv.reader(file))
    with path.open(encoding="utf-8") as file:
        rows = [{name: row[name] for name in columns} for row in csv.DictReader(file)]
    return [row | {"diagnosis": row["diagnosis"].partition(":")[0]} for row in rows]


@pytest.mark.slow
def test_a_study_begun_before_the_keys_were_renamed_goes_on(prepared: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, prepared)
    study = tmp_path / ".lockstep" / "studies" / NAME
    study.mkdir(parents=True)
    shutil.copy(BEFORE / "journal.log", study)
    words = ("model=linear", "search=random", "n_trials=8", "epochs=40", "seed=5", "workers=1")
    assert f"study {NAME} is unfinished" in place.run(*words, ok=False).stderr
    place.run(*words, "study.accept_code=true")
    assert place.studies == [study]
    assert table(tmp_path / "outputs" / "sweep" / "linear" / "trials.csv") == table(BEFORE / "trials.csv")


def test_parameters_recorded_under_first_names_are_understood(tmp_path: Path) -> None:
    from optuna.distributions import FloatDistribution

    def study() -> Study:
        return Study.open(
            tmp_path, None, Identity("mine", "0" * 64, {}), "minimize", {"metric": "val/loss", "slots": 1}
        )

    first = {"augment.rotation": 3.0, "optimizer.lr": 0.1}
    study().start(Proposal(first, 2), dict.fromkeys(first, FloatDistribution(0.0, 10.0)), 2, 1.0)
    assert study().history.trials[0].params == {"training.augment.rotation": 3.0, "optimizer.lr": 0.1}
