"""What a table of diagnoses says about the space that it came from."""

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from src.reporting.advice import DiagnosedTrial, advise, counts, figure

RATE, WIDTH = FloatDistribution(1e-5, 1.0, log=True), IntDistribution(32, 128, step=32)


def trial(kind: str, rate: float, value: float | None = 0.9, width: int = 64) -> DiagnosedTrial:
    params = {"adamw/optimizer.lr": rate, "model.width": width}
    return DiagnosedTrial(kind, params, {"adamw/optimizer.lr": RATE, "model.width": WIDTH}, value)


RATES = np.geomspace(1e-5, 1.0, 30)


def kind(rate: float) -> str:
    return "too slow" if rate < 1e-4 else "unstable" if rate > 0.1 else "healthy"


def test_a_rate_that_is_searched_too_widely_is_cut_where_trials_go_wrong() -> None:
    said = advise([trial(kind(rate), rate, 0.9 - abs(np.log(rate / 3e-3))) for rate in RATES], True)
    low, high = (min(r for r in RATES if r > 0.1), max(r for r in RATES if r < 1e-4))
    assert (
        f"6 trials with optimizer.lr above {low:.3g} are diverged or unstable: set space.optimizer.lr.high={low:.3g}."
        in said
    )
    assert any(f"set space.optimizer.lr.low={high:.3g}".replace("e-0", "e-") in sentence for sentence in said)


def test_a_bound_never_cuts_off_the_best() -> None:
    """The higher the rate, the better, though the loss jumps."""
    said = advise([trial(kind(rate), rate, np.log(rate)) for rate in RATES], True)
    assert not any("optimizer.lr.high=" in sentence for sentence in said)


def test_a_rate_at_which_nothing_goes_wrong_stays() -> None:
    assert advise([trial("healthy", rate, 0.9 - abs(np.log(rate / 3e-3))) for rate in RATES], True) == []


@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_at_an_end_of_the_range_say_so(maximize: bool) -> None:
    sign = 1 if maximize else -1
    trials = [trial("healthy", 3e-3, sign * width / 128.0, width) for width in (32, 64, 96, 128) * 4]
    assert advise(trials, maximize) == [
        "The best trials lie at the high end of model.width (128): raise it, if it can be."
    ]


def test_many_of_a_kind_have_a_remedy() -> None:
    trials = [trial("still improving" if k % 2 else "healthy", 3e-3, width=(32, 64, 96, 128)[k % 4]) for k in range(12)]
    assert "50% of the trials are still improving: train for more epochs." in advise(trials, True)


def test_counts_leave_out_what_is_no_diagnosis() -> None:
    assert counts([trial("healthy", 1e-3), trial("out of memory", 1e-3), trial("healthy", 1e-2)]) == [("healthy", 2)]


def test_the_picture_has_a_row_a_kind_and_a_dot_a_trial() -> None:
    trials = [trial(kind(rate), rate) for rate in RATES]
    drawn = figure(trials)
    assert drawn is not None
    assert {trace.y[0]: len(trace.x) for trace in drawn.data} == dict(counts(trials))
    assert drawn.layout.xaxis.type == "log"
    assert figure([DiagnosedTrial("healthy", {}, {}, 0.9)]) is None
