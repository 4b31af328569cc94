"""A sweep of supernets: which trials come when, what each strategy is shown of them, and what is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir

from src.config.components import make
from src.config.compose import CONF
from src.config.loading import Config, load
from src.search.protocol import Search, Spec
from src.study.history import Goals, History, Proposal, Trial
from src.sweeps.derivation import Derivation, ending
from src.system.cell_string import NAMES, cell_string
from src.system.errors import UserError
from tests.support.running import Place

EPOCHS, N = 9, 12
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ASHA = {"name": "asha", "eta": 3, "min_epochs": "auto"}


def config(*words: str) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return load(["model=supernet", f"epochs={EPOCHS}", "batch_size=32", "optimizer.weight_decay=0.0", *words])


def derivation(
    options: Mapping[str, Any], loaded: Config, supernets: int = 3, n_trials: int = N, **more: Any
) -> Derivation:
    spec = Spec(loaded.space, "minimize", n_trials, EPOCHS, 7, **more)
    return Derivation(spec, supernets, partial(make, "search", options))


def mixture(operation: str) -> dict[str, list[float]]:
    """Curves of a supernet in which an operation wins on every edge."""
    weights = {f"outer/architecture/{edge}/{name}": float(name == operation) for edge in NAMES for name in OPERATIONS}
    return {name: [0.2] * (EPOCHS - 1) + [weight] for name, weight in weights.items()}


def value(trial: Trial, epoch: int) -> float:
    """Cells of 3×3 convolutions are best, and a rate of 0.01."""
    return 5.0 * (set(_cell(trial.params)) != {"nor_conv_3x3"}) + abs(trial.params["optimizer.lr"] - 0.01) + 1 / epoch


def _cell(params: Mapping[str, Any]) -> list[str]:
    return [params[f"cell/model.operations.{edge}"] for edge in NAMES]


def run(search: Search, winners: Sequence[str], restarts: bool = False, fails: Sequence[int] = ()) -> History:
    """Train what is proposed one by one, in the order of proposals; with `restarts` the search is made anew each time."""
    history, pending = History("minimize"), []
    begin = search
    while True:
        if restarts:
            search = type(begin)(begin.spec, begin.supernets, begin.make)  # type: ignore[attr-defined, call-arg]
        pending += [(p, history.start(p, EPOCHS, 1.0)) for p in _proposals(search, history)]
        if not pending:
            assert search.done(history)
            return history
        assert not search.done(history)
        proposal, trial = pending.pop(0)
        supernet = trial.params["model"] == "supernet"
        if trial.number in fails:
            history.report(trial.number, [], "fail")
        elif supernet:
            trial.curves |= mixture(winners[trial.number])
            history.report(trial.number, [9.0] * EPOCHS, "pruned")
        else:
            values = [value(trial, epoch) for epoch in range(trial.epochs + 1, proposal.epochs + 1)]
            history.report(trial.number, values, "complete" if proposal.epochs == EPOCHS else "paused")


def _proposals(search: Search, history: History) -> list[Proposal]:
    """Some more, where those that end a trial are done at once."""
    while proposals := search.propose(history, 2):
        ends = [p for p in proposals if p.trial is not None and p.epochs <= history.trials[p.trial].epochs]
        for end in ends:
            assert end.trial is not None
            history.report(end.trial, [], "pruned")
        if going := [proposal for proposal in proposals if proposal not in ends]:
            return going
    return []


@pytest.mark.parametrize("options", [{"name": "random", "pruner": "none"}, ASHA])
def test_supernets_come_first_then_a_net_of_each_cell_and_the_best_is_tuned(options: dict[str, Any]) -> None:
    loaded = config()
    history = run(derivation(options, loaded), ["nor_conv_1x1", "nor_conv_3x3", "nor_conv_1x1"])
    kinds = [trial.params["model"] for trial in history.trials]
    assert kinds == ["supernet"] * 3 + ["cell"] * (N - 3)
    first = [_cell(trial.params)[0] for trial in history.trials[3:5]]
    assert first == ["nor_conv_1x1", "nor_conv_3x3"], "a cell that two supernets end with is trained once"
    default = loaded.trial.optimizer["lr"]
    assert {trial.params["optimizer.lr"] for trial in history.trials[:5]} == {default}
    assert all(set(_cell(trial.params)) == {"nor_conv_3x3"} for trial in history.trials[5:])
    assert len({trial.params["optimizer.lr"] for trial in history.trials[5:]}) == N - 5
    assert history.best is not None
    assert history.best.params["model"] == "cell"
    for trial in history.trials:
        assert loaded.space.trial(trial.params).model["name"] == trial.params["model"]


def test_the_same_trials_come_when_the_search_is_made_anew_before_each() -> None:
    whole, halves = (run(derivation(ASHA, config()), OPERATIONS[2:], restarts=again) for again in (False, True))
    assert [trial.params for trial in whole.trials] == [trial.params for trial in halves.trials]
    assert whole.events == halves.events


def test_a_supernet_that_fails_has_no_cell() -> None:
    history = run(derivation({"name": "random", "pruner": "none"}, config()), OPERATIONS[2:], fails=(0,))
    assert {_cell(trial.params)[0] for trial in history.trials[3:]} == {"nor_conv_3x3", "avg_pool_3x3"}
    history = run(derivation({"name": "random", "pruner": "none"}, config()), OPERATIONS[2:], fails=(0, 1, 2))
    assert len(history.trials) == 3


def test_bounds_are_those_of_the_cell_that_is_tuned() -> None:
    seen: list[list[str]] = []

    def measure(params: Mapping[str, Any]) -> dict[str, float]:
        seen.append(_cell(params))
        return {"parameters": 1.0}

    run(
        derivation(
            {"name": "random", "pruner": "none"}, config(), goals=Goals((), {"parameters": 2.0}), measure=measure
        ),
        OPERATIONS[2:],
    )
    assert seen
    assert {operation for cell in seen for operation in cell} == {"nor_conv_3x3"}


def test_a_supernet_ends_with_its_cell_in_words() -> None:
    trial = config().trial
    text = cell_string(dict.fromkeys(NAMES, "nor_conv_3x3"))
    assert ending(trial, mixture("nor_conv_3x3")) == f"supernet: its cell is {text}"
    assert ending(replace(trial, training=replace(trial.training, darts=None)), {}) == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["model=mlp", "training=darts"],
            "training=darts: model=mlp has no architecture parameters; take model=supernet",
        ),
        (["training.darts.order=third"], "training.darts.order: should be 'first' or 'second'"),
        (["training.darts.most_skips=-1"], "training.darts.most_skips: should be greater than or equal to 0"),
    ],
)
def test_a_config_that_cannot_be_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        config(*words)


def test_a_supernet_is_no_model_among_others() -> None:
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(UserError, match="supernet is searched by itself"),
    ):
        load(["choose.model=[supernet,mlp]"])


def test_a_sweep_that_cannot_be_is_refused() -> None:
    random = {"name": "random", "pruner": "none"}
    with pytest.raises(UserError, match=r"n_trials: 5 are too few for 3 supernets .* 6 at least, or .*supernets=2"):
        derivation(random, config(), n_trials=5)
    with pytest.raises(UserError, match=r"model\.operations\.from_0_to_1: training=darts chooses it"):
        derivation(random, config("model.operations.from_0_to_1=none"))
    with pytest.raises(UserError, match=r"warm_start: the first trials with training=darts are supernets"):
        derivation(random, config(), first=[{"optimizer.lr": 0.1}])


@pytest.mark.slow
def test_a_person_gets_a_tuned_and_trained_net_of_a_supernet(tmp_path: Any, prepared: Any) -> None:
    place = Place(tmp_path, prepared)
    place.run(
        "model=supernet", "model.channels=2", "n_trials=4", "epochs=2", "batch_size=128", "search=random",
        "training.darts.supernets=1", "training.darts.warmup=0.0", "objective.candidates=1",
    )  # fmt: skip
    out = tmp_path / "outputs" / "sweep" / "supernet"
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert best["model"]["name"] == "cell"
    assert "darts" not in best["training"]
    assert sorted(path.name for path in (out / "weights").iterdir()) == [f"{k}.safetensors" for k in (1, 2, 3)]
    place.run("model=supernet", "members=seeds", "members.n=2", "refit=false", verb="train")
    members = (tmp_path / "outputs" / "train" / "supernet" / "members.json").read_text()
    assert '"name": "cell"' in members
    assert '"name": "supernet"' not in members
