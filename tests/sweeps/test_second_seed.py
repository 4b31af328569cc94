"""The choice between the best trials by a second seed: no lucky point on a cliff, and the same after a kill."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from src.population.seeds import derived_seed
from src.study.history import History, Proposal, Trial
from src.system.errors import UserError
from tests.support.running import Place, end_all
from tests.support.stored import opened

SMALL = ("n_trials=8", "epochs=3", "seed=1", "search=random")


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    end_all()


def history(*values: float, direction: str = "minimize", candidates: int = 3) -> History:
    trials = [Trial(k, {}, 1, 1.0, 1, state="complete", values=[value]) for k, value in enumerate(values)]
    return History(direction, trials, candidates=candidates)  # type: ignore[arg-type]


def test_a_lucky_point_is_not_the_best() -> None:
    """It sits on a cliff: with another seed it predicts the mean."""
    study = history(0.0142, 0.02, 0.03, 0.9)
    assert [trial.number for trial in study.contenders] == [0, 1, 2]
    assert study.best is study.trials[0], "until all have been trained again"
    study.second_values |= {0: 0.529, 1: 0.024}
    assert study.best is study.trials[0]
    study.second_values[2] = 0.031
    assert study.best is study.trials[1]


def test_one_that_fails_with_the_second_seed_comes_last() -> None:
    study = history(0.9, 0.8, direction="maximize")
    study.second_values |= {0: None, 1: 0.2}
    assert study.best is study.trials[1]
    study.second_values[1] = None
    assert study.best is study.trials[0]


def test_a_better_trial_that_came_later_asks_again() -> None:
    study = history(0.1, 0.2, candidates=2)
    study.second_values |= {0: 0.5, 1: 0.2}
    assert study.best is study.trials[1]
    study = history(0.1, 0.2, 0.05, candidates=2)
    study.second_values |= {0: 0.5, 1: 0.2}
    assert [trial.number for trial in study.contenders] == [2, 0]
    assert study.best is study.trials[2]


def test_without_candidates_or_with_one_trial_the_value_decides() -> None:
    assert history(0.1, 0.2, candidates=1).contenders == []
    assert history(0.1).contenders == []


def test_the_study_keeps_the_second_values_and_refuses_strange_ones(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.start(Proposal({}, 1), {}, 1, 1.0)
    study.choose_between(2)
    study.report_second(0, 0.25)
    again = opened(tmp_path)
    assert (again.history.candidates, again.history.second_values) == (2, {0: 0.25})
    study.storage.set_study_user_attr(study.id, "second value:9", 0.1)
    with pytest.raises(UserError, match="none of its trials"):
        opened(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Place:
    place = Place(tmp_path_factory.mktemp("whole"), prepared)
    place.run(*SMALL)
    return place


def summary(place: Place) -> dict[str, object]:
    found: dict[str, object] = json.loads((place.out / "summary.json").read_text(encoding="utf-8"))
    return found


def test_the_best_three_are_trained_again_and_the_best_mean_is_chosen(whole: Place) -> None:
    values = {int(row["number"]): float(row["value"]) for row in whole.rows()}
    second = {int(n): float(v) for n, v in summary(whole)["second_values"].items()}  # type: ignore[attr-defined]
    assert list(second) == sorted(values, key=lambda n: (-values[n], n))[:3]
    assert summary(whole)["best_number"] == max(second, key=lambda n: values[n] + second[n])
    assert second != {n: values[n] for n in second}, "another seed"
    config = yaml.safe_load((whole.out / "best.yaml").read_text(encoding="utf-8"))
    row = whole.rows()[summary(whole)["best_number"]]  # type: ignore[call-overload]
    assert config["optimizer"]["lr"] == float(row["params.optimizer.lr"])
    assert not list(whole.studies[0].rglob("second-*"))
    assert derived_seed(1, "second seed of a trial", 0) != derived_seed(1, "trial", 0)


def test_a_sweep_killed_before_its_choice_comes_to_the_same(whole: Place, tmp_path: Path, prepared: Path) -> None:
    """Its journal ends at the last trial, or after the first of the second values."""
    lines = (whole.studies[0] / "journal.log").read_bytes().splitlines(keepends=True)
    first = next(k for k, line in enumerate(lines) if b"second value:" in line)
    place = Place(tmp_path, prepared)
    place.run(*SMALL)
    for count in (first, first + 1):
        (place.studies[0] / "journal.log").write_bytes(b"".join(lines[:count]))
        place.run(*SMALL)
        assert summary(place) == summary(whole)
        assert place.trials == whole.trials


def test_the_choice_is_no_part_of_the_identity(whole: Place) -> None:
    before = summary(whole)
    whole.run(*SMALL, "objective.candidates=1")
    assert len(whole.studies) == 1
    assert "second_values" not in summary(whole)
    whole.run(*SMALL)
    assert summary(whole) == before
