"""The contract of every search strategy in `conf/search`, and pruning held against Optuna's own."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.trial import TrialState

from src.config.components import make
from src.config.space import Dimension, Leaf, Prior, Space
from src.search.fidelity.rule import fidelity_rule
from src.search.protocol import Search, Spec
from src.study.history import History
from src.system.errors import UserError
from tests.support.virtual import BASE, EPOCHS, NEEDS_SEVERAL, SEVERAL, Sweep, conditional, fails, flat, objective

FILES = {path.stem: path for path in (Path(__file__).parents[2] / "conf" / "search").glob("*.yaml")}
ALONE = {"search"}  # what a strategy has in its file that needs no other study
SEARCHES = sorted(name for name, path in FILES.items() if yaml.safe_load(path.read_text()).keys() == ALONE)
SPACES = {"flat": flat, "conditional": conditional}
STARTUP = {"flat": 26, "conditional": 11}  # of 30 trials, half in a branch: slow models are asked, but seldom
PRUNERS: dict[str, Any] = {
    "none": "none",
    "asha": "asha",
    "median": {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0, "interval_steps": 6},
    "hyperband": "hyperband",
    "successive_halving": "successive_halving",
    "diagnosis": "diagnosis",
}
KINDS = ("none", "asha", "median")  # all go on, the best go on, the worst end
DIAGNOSED = ("tpe", "evolution")  # strategies that learn, with rungs at every tenth too


def section(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILES[name].read_text())["search"]
    return found


def trials_from_scratch(history: History) -> int:
    """The trials that do not go on from another."""
    return sum(trial.start_from is None for trial in history.trials)


def search(name: str, space: str, seed: int = 0, n_trials: int = 30, pruner: Any = None) -> Search:
    """A strategy on one of the spaces, without its continuous dimensions if it refuses them."""
    given = {"pruner": pruner or section(name).get("pruner"), "n_startup_trials": STARTUP[space]}
    options = section(name) | {key: value for key, value in given.items() if key in section(name)}
    more: Any = SEVERAL if name in NEEDS_SEVERAL else {}
    try:
        made: Search = make("search", options, Spec(SPACES[space](True), "minimize", n_trials, EPOCHS, seed, **more))
    except UserError as refusal:
        if "optimizer.lr" not in str(refusal):
            raise
        made = make("search", options, Spec(SPACES[space](False), "minimize", n_trials, EPOCHS, seed, **more))
    return made


def pruners(name: str) -> Sequence[str]:
    """Those to try a strategy with: all, if its points are the same whatever they find."""
    if "pruner" not in section(name):
        return ("none",)
    kinds = KINDS if search(name, "flat", pruner="none").depends_on_results else tuple(PRUNERS)
    return (*kinds, "diagnosis") if name in DIAGNOSED else kinds


CASES = [(n, s, p) for n in SEARCHES for s in SPACES for p in pruners(n)]
EVENTS = 16  # of a sweep's some hundred at which another process takes over


def events(live: Sweep, case: str, count: int = EVENTS) -> list[int]:
    """The first and the last changes of a sweep and some between, other ones in each case but the same in each run."""
    last = len(live.ops)
    between = Random(case).sample(range(2, last), min(count - 4, last - 2))
    return sorted({0, 1, last - 1, last, *between})


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Callable[[], Search], Sweep, str]:
    """A strategy, and a sweep of it that nothing disturbed."""
    name, space, pruner = request.param

    def make_one() -> Search:
        return search(name, space, pruner=PRUNERS[pruner])

    return make_one, Sweep(make_one(), fails=fails).run(), "-".join(request.param)


def test_it_ends_with_every_trial_in_a_final_state(case: tuple[Callable[[], Search], Sweep, str]) -> None:
    _, live, _ = case
    assert trials_from_scratch(live.history) == 30
    assert {t.state for t in live.history.trials} <= {"complete", "pruned", "fail"}
    assert live.search.done(live.history)
    assert live.search.propose(live.history, 5) == []
    assert {"complete", "fail"} <= {t.state for t in live.history.trials}
    assert all(t.epochs == EPOCHS for t in live.history.of("complete"))


def test_points_are_of_the_space_in_bounds_and_of_their_types(case: tuple[Callable[[], Search], Sweep, str]) -> None:
    _, live, _ = case
    space = live.search.spec.space  # type: ignore[attr-defined]
    for trial in live.history.trials:
        distributions = space.distributions(trial.params)
        assert distributions.keys() == trial.params.keys()
        for name, value in trial.params.items():
            distribution = distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                assert any(value is c or (value == c and type(value) is type(c)) for c in distribution.choices)
            else:
                assert isinstance(distribution, IntDistribution | FloatDistribution)
                assert type(value) is (int if isinstance(distribution, IntDistribution) else float)
                assert distribution.low <= value <= distribution.high
                if distribution.step:
                    steps = (value - distribution.low) / distribution.step
                    assert steps == pytest.approx(round(steps))


def test_a_process_that_finds_any_part_of_the_history_goes_on_as_if_nothing_had_been(
    case: tuple[Callable[[], Search], Sweep, str],
) -> None:
    """Also in the middle of a batch of proposals, of which a crash let only the first through."""
    make_one, live, name = case
    for count in events(live, name):
        again = live.rebuilt(make_one(), count)
        again.fill()
        if again.timetable.running:
            again.report()
        assert again.ops == live.ops[: len(again.ops)], f"after {count} changes"


def test_a_proposal_changes_nothing_and_never_exceeds_what_was_asked(
    case: tuple[Callable[[], Search], Sweep, str],
) -> None:
    make_one, live, name = case
    for count in events(live, name, 8):
        found = live.rebuilt(make_one(), count)
        before = list(found.history.events), [t.state for t in found.history.trials]
        many = found.search.propose(found.history, 6)
        for n in (1, 4):
            few = found.search.propose(found.history, n)
            assert few == many[:n]
        assert before == (found.history.events, [t.state for t in found.history.trials])


def test_however_many_of_a_batch_a_crash_lets_through_the_rest_is_the_same(
    case: tuple[Callable[[], Search], Sweep, str],
) -> None:
    """More slots than before: ends, promotions and new points are proposed together."""
    make_one, live, name = case
    for count in events(live, name, 10):
        whole = live.rebuilt(make_one(), count, slots=9)
        whole.fill()
        for part in range(count, min(len(whole.ops), count + 3)):
            again = whole.rebuilt(make_one(), part)
            again.fill()
            assert again.ops == whole.ops


def test_another_history_in_the_same_object_is_read_anew(case: tuple[Callable[[], Search], Sweep, str]) -> None:
    make_one, live, _ = case
    space = live.search.spec.space  # type: ignore[attr-defined]
    more = {key: getattr(live.search.spec, key) for key in ("goals", "measure")}  # type: ignore[attr-defined]
    drawn = make("search", section("random"), Spec(space, "minimize", 30, EPOCHS, 5, **more))
    strange = Sweep(drawn, fails=lambda params: not fails(params)).run()
    for count in (10, len(strange.ops) // 2, len(strange.ops) - 1):
        used = make_one()
        live.rebuilt(used, count).fill()
        fresh, other = strange.rebuilt(make_one(), count), strange.rebuilt(used, count)
        fresh.fill()
        other.fill()
        assert fresh.ops == other.ops


@pytest.mark.parametrize("name", SEARCHES)
def test_other_seeds_draw_other_points(name: str) -> None:
    tables = [[t.params for t in Sweep(search(name, "flat", seed)).run().history.trials] for seed in (0, 0, 1)]
    assert tables[0] == tables[1]
    assert (tables[0] != tables[2]) == (name != "grid")


@pytest.mark.parametrize("name", SEARCHES)
def test_a_larger_total_goes_on_from_where_the_smaller_ended(name: str) -> None:
    small = Sweep(search(name, "flat", n_trials=10)).run()
    large = small.rebuilt(search(name, "flat", n_trials=25), len(small.ops))
    large.run()
    assert trials_from_scratch(large.history) == 25
    assert large.ops[: len(small.ops)] == small.ops


@pytest.mark.parametrize("name", SEARCHES)
def test_all_trials_may_fail(name: str) -> None:
    live = Sweep(search(name, "conditional"), fails=lambda params: True).run()
    assert [t.state for t in live.history.trials] == ["fail"] * 30


@pytest.mark.parametrize("name", SEARCHES)
def test_a_space_without_dimensions_is_one_point(name: str) -> None:
    spec = Spec(Space(Leaf(BASE, {})), "minimize", 3, EPOCHS, 0, **(SEVERAL if name in NEEDS_SEVERAL else {}))
    with suppress(UserError):  # it has nothing to do there
        live = Sweep(make("search", section(name), spec)).run()
        assert [t.params for t in live.history.trials] == [{}] * (1 if name == "grid" else 3)


@pytest.mark.parametrize("name", sorted({*SEARCHES} - {"qmc", "grid", "replay"}))
def test_every_search_takes_the_centers_of_priors_first(name: str) -> None:
    """Also those whose first trials are drawn by another search: `pbt` and `grow`."""
    dimension = Dimension("optimizer.lr", FloatDistribution(1e-4, 1e-1, log=True), prior=Prior(3e-3, 0.1))
    depth = Dimension("model.depth", IntDistribution(1, 3))
    spec = Spec(Space(Leaf(BASE, {"lr": dimension, "depth": depth})), "minimize", 12, EPOCHS, 0)
    spec = replace(spec, **SEVERAL) if name in NEEDS_SEVERAL else spec
    live = Sweep(make("search", section(name), spec)).run()
    rates = [trial.params["lr"] for trial in live.history.trials if trial.start_from is None]
    assert rates[0] == pytest.approx(3e-3)
    assert len(set(rates)) > 6


@pytest.mark.parametrize("name", SEARCHES)
def test_first_points_that_lack_values_are_completed(name: str) -> None:
    """As a warm start brings them from a study with one of the keys fixed."""
    firsts = [{"optimizer.momentum": 0.2, "model.width": 64}, {"batch_size": None}]
    space, more = flat(name != "grid"), SEVERAL if name in NEEDS_SEVERAL else {}
    live = Sweep(make("search", section(name), Spec(space, "minimize", 6, EPOCHS, 0, first=firsts, **more))).run()
    for trial in live.history.trials:
        assert space.distributions(trial.params).keys() == trial.params.keys()
    for first, trial in zip(firsts, live.history.trials, strict=False):
        grown = {"model.width"} if name == "grow" else set()
        assert name == "grid" or {k: trial.params[k] for k in first if k not in grown}.items() <= first.items()


def test_learning_beats_chance() -> None:
    """TPE's best of 60 on a bowl, over 5 seeds, against random's: it is closer to the bottom on average."""
    bowl = Space(Leaf(BASE, {n: Dimension(n, FloatDistribution(-5.0, 5.0)) for n in ("x", "y", "z")}))
    found = {}
    for name in ("random", "tpe"):
        best = []
        for seed in range(5):
            options = section(name) | {"pruner": "none"}
            live = Sweep(make("search", options, Spec(bowl, "minimize", 60, 1, seed)), slots=5)
            live.fill()
            while segment := live.timetable.next:
                params = live.history.trials[segment.trial].params
                live.apply(("report", segment.trial, [sum((v - 1) ** 2 for v in params.values())] * EPOCHS, "complete"))
                live.fill()
            assert live.history.best
            best.append(live.history.best.values[-1])
        found[name] = sum(best) / 5
    assert found["tpe"] < 0.5 * found["random"]


# --- grid --------------------------------------------------------------------------------------------------------------


def grid(space: Space, n_trials: int = 1000) -> Search:
    made: Search = make("search", section("grid"), Spec(space, "minimize", n_trials, EPOCHS, 0))
    return made


@pytest.mark.parametrize("space", SPACES)
def test_a_grid_visits_each_point_once(space: str) -> None:
    live = Sweep(grid(SPACES[space](False))).run()
    points = {(1e-3, 1e-2, 1e-1), (0.0, 0.1, 0.2, 0.3), (32, 64, 96), (32, None, "64", 1.5, True)}
    branch = len(list(product(*points)))
    assert len(live.history.trials) == (branch if space == "flat" else branch + branch + 1)
    assert len({repr(sorted(t.params.items())) for t in live.history.trials}) == len(live.history.trials)
    for trial in live.history.trials:
        for name, distribution in SPACES[space](False).distributions(trial.params).items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[name]))


def test_a_grid_refuses_what_has_no_end() -> None:
    for distribution in (
        FloatDistribution(0.0, 1.0),
        FloatDistribution(0.1, 1.0, log=True),
        IntDistribution(1, 100, log=True),
    ):
        with pytest.raises(UserError, match=r"space\.x: .*add points, such as points: 5"):
            grid(Space(Leaf(BASE, {"x": Dimension("x", distribution)})))


def test_points_of_a_dimension_are_even_on_its_scale_from_end_to_end() -> None:
    space = {
        "lr": Dimension("lr", FloatDistribution(1e-4, 1e-1, log=True), points=4),
        "width": Dimension("width", IntDistribution(1, 100, log=True), points=5),
        "depth": Dimension("depth", IntDistribution(1, 3), points=9),
        "dropout": Dimension("dropout", FloatDistribution(0.0, 0.5), points=3),
    }
    tried = [t.params for t in Sweep(grid(Space(Leaf(BASE, space)))).run().history.trials]
    values = {name: sorted({p[name] for p in tried}) for name in space}
    assert values["lr"] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert values["width"] == [1, 3, 10, 32, 100]
    assert values["depth"] == [1, 2, 3]
    assert values["dropout"] == [0.0, 0.25, 0.5]
    assert len(tried) == 4 * 5 * 3 * 3


def test_a_grid_of_fewer_points_than_trials_ends_with_promotions_too() -> None:
    few = Space(Leaf(BASE, {"x": Dimension("x", IntDistribution(1, 9))}))
    live = Sweep(make("search", {"name": "grid", "pruner": "asha"}, Spec(few, "minimize", 30, EPOCHS, 0))).run()
    assert len(live.history.trials) == 9
    assert live.search.done(live.history)


def test_a_grid_of_more_points_than_memory_is_cut_at_the_trials() -> None:
    wide = Space(Leaf(BASE, {f"x{k}": Dimension(f"x{k}", IntDistribution(0, 99)) for k in range(12)}))
    assert len(Sweep(grid(wide, 7)).run().history.trials) == 7


# --- pruning -----------------------------------------------------------------------------------------------------------

OWN: dict[str, tuple[Any, Callable[[], BasePruner]]] = {
    "successive_halving": ("successive_halving", SuccessiveHalvingPruner),
    "successive halving of its own": (
        {"name": "successive_halving", "min_resource": 2, "reduction_factor": 3, "min_early_stopping_rate": 1},
        lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=3, min_early_stopping_rate=1),
    ),
    "median": ("median", lambda: MedianPruner(interval_steps=EPOCHS // 10, n_warmup_steps=EPOCHS // 10)),
    "median at intervals": (
        {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0, "interval_steps": 4},
        lambda: MedianPruner(n_startup_trials=2, n_warmup_steps=0, interval_steps=4),
    ),
    "median after a warm-up": (
        {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 5, "interval_steps": 3},
        lambda: MedianPruner(n_startup_trials=1, n_warmup_steps=5, interval_steps=3),
    ),
    "percentile": ({"name": "percentile", "percentile": 30.0}, lambda: PercentilePruner(30.0)),
    "hyperband": ({"name": "HyperbandPruner"}, lambda: HyperbandPruner(max_resource=EPOCHS)),
    "hyperband of its own": (
        {"name": "HyperbandPruner", "min_resource": 2, "reduction_factor": 2},
        lambda: HyperbandPruner(min_resource=2, max_resource=EPOCHS, reduction_factor=2),
    ),
    "threshold": (
        {"name": "threshold", "upper": 0.8, "n_warmup_steps": 2, "interval_steps": 5},
        lambda: ThresholdPruner(upper=0.8, n_warmup_steps=2, interval_steps=5),
    ),
    "patient": ({"name": "patient", "wrapped_pruner": None, "patience": 5}, lambda: PatientPruner(None, 5)),
    "patient median": (
        {"name": "patient", "wrapped_pruner": "median", "patience": 1},
        lambda: PatientPruner(MedianPruner(interval_steps=EPOCHS // 10, n_warmup_steps=EPOCHS // 10), 1),
    ),
    "wilcoxon": ({"name": "wilcoxon", "p_threshold": 0.4}, lambda: WilcoxonPruner(p_threshold=0.4)),
    "none": ("none", lambda: optuna.pruners.NopPruner()),
}


def bumpy(params: Mapping[str, Any], epoch: int) -> float:
    """Curves that cross, and that get worse again."""
    return objective(params, epoch) + 0.3 * ((epoch * 7 + int(1e4 * params["optimizer.lr"])) % 11) / 11


@pytest.mark.parametrize("pruner", OWN)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:WilcoxonPruner finds steps")
def test_verdicts_are_those_of_optunas_own_pruner(pruner: str, direction: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own ask, report every epoch, should_prune, tell; its calls in the order of our virtual time."""
    ours, theirs = OWN[pruner]
    monkeypatch.setattr("tests.support.virtual.objective", bumpy)
    spec = Spec(flat(), direction, 60, EPOCHS, 1)
    live = Sweep(make("search", {"name": "random", "pruner": ours}, spec), history=History(direction)).run()

    study = optuna.create_study(study_name="pruning", direction=direction, pruner=theirs())
    trials: dict[int, optuna.Trial] = {}
    pruned_at: dict[int, int] = {}
    for op in live.ops:
        if op[0] == "start":
            if op[1].trial is None:
                trials[len(trials)] = study.ask()
            continue
        _, number, values, state = op
        if state == "pruned":
            assert pruned_at[number] == live.history.trials[number].epochs
            continue
        trial = trials[number]
        begun = trial._cached_frozen_trial.last_step or 0
        for epoch, value in enumerate(values, start=begun + 1):
            assert number not in pruned_at
            trial.report(value, epoch)
            if epoch < EPOCHS and trial.should_prune():
                pruned_at[number] = epoch
                assert epoch == begun + len(values), "Optuna would have ended it between two of our rungs"
                study.tell(trial, state=TrialState.PRUNED)
        if state == "complete":
            study.tell(trial, values[-1])
    assert set(pruned_at) == {t.number for t in live.history.of("pruned")}
    if pruner != "none":
        assert pruned_at
        assert len(pruned_at) < 60 or pruner == "patient"  # to be maximized, all these curves fall


@pytest.mark.parametrize(
    ("pruner", "word"),
    [
        ("medain", "is none of asha, diagnosis, hyperband, median, none.*did you mean median"),
        ({"name": "diagnosis", "patience": 3}, "diagnosis is not made like this .got an unexpected .*'patience'"),
        ("base", "is none of"),
        ({"percentile": 3}, "'None' is none of"),
        ("percentile", "missing 1 required positional argument: 'percentile'"),
        ("patient", "missing 2 required positional arguments"),
        ("threshold", "lower or upper"),
        ({"name": "successive_halving", "min_resource": 0}, "min_resource"),
        ({"name": "asha", "min_resource": 3}, "unexpected keyword argument 'min_resource'"),
        ({"name": "asha", "eta": 1}, "eta: should be 2 or more"),
        ({"name": "asha", "min_epochs": 50}, "min_epochs: 50 is not within the"),
        ({"name": "hyperband", "brackets": 9}, "brackets: should be 1 to"),
        ({"name": "median", "n_warmup_steps": "few"}, "not supported"),
        ({"name": "median", "interval_steps": 2.5}, "float"),
        ({"name": "patient", "patience": 2, "wrapped_pruner": "medain"}, "'medain' is none of"),
    ],
)
def test_a_pruner_that_cannot_be_made_is_refused_in_one_sentence(pruner: Any, word: str) -> None:
    with pytest.raises(UserError, match=word) as refused:
        fidelity_rule(pruner, Spec(flat(), "minimize", 10, EPOCHS, 0))
    assert str(refused.value).startswith("search.pruner: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("epochs", [1, 2, 3, 20, 100])
@pytest.mark.parametrize("pruner", ["none", "asha", "median", "hyperband", "successive_halving", "diagnosis"])
def test_rungs_end_with_the_last_epoch(pruner: str, epochs: int) -> None:
    rungs = fidelity_rule(pruner, Spec(flat(), "minimize", 10, epochs, 0)).rungs
    assert list(rungs) == sorted(set(rungs))
    assert rungs[0] >= 1
    assert rungs[-1] == epochs
