"""Growth: a larger net computes what the smaller one did, goes on learning, and the search stops when it gains nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from safetensors.torch import load_file

from src.config.space import Dimension, Leaf, Space
from src.engine.net_growth import growth_obstacle, inherited
from src.engine.task import Task
from src.engine.worker import train
from src.models.building import build
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.population.rows import Rows
from src.search.protocol import Spec
from src.search.strategies.grow import grow
from src.study.history import Goals, History, Trial
from src.system.errors import UserError
from tests.support.running import Place
from tests.support.training import assert_same, config, digits, images, population, setup, table, trained
from tests.support.virtual import BASE, Sweep

MLP, CNN = {"width": 12, "depth": 2}, {"model": "cnn", "channels": 4, "depth": 2}
EXACT: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "wider": (digits, MLP, {"width": 29}),
    "wider, batch norm": (digits, MLP | {"norm": "batch", "activation": "gelu"}, {"width": 29}),
    "wider, tanh": (digits, MLP | {"activation": "tanh"}, {"width": 36}),
    "of several widths": (digits, MLP | {"width": [12, 5]}, {"width": [12, 17]}),
    "deeper": (digits, MLP, {"depth": 4}),
    "deeper and wider": (digits, MLP, {"depth": 3, "width": 29}),
    "with another dropout": (digits, MLP | {"dropout": 0.1}, {"width": 24, "dropout": 0.3}),
    "a table": (table, MLP | {"embedding": "piecewise_linear"}, {"width": 29}),
    "regression": (lambda: table("regression"), MLP, {"width": 29, "depth": 3}),
    "channels": (images, CNN | {"norm": "none"}, {"channels": 7}),
    "channels, batch norm": (images, CNN, {"channels": 8}),
}
NOT_EXACT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "tanh": (MLP | {"activation": "tanh"}, {"depth": 3}, "only an mlp's rectifiers without a norm"),
    "batch norm": (MLP | {"norm": "batch"}, {"depth": 3}, "only an mlp's rectifiers without a norm"),
    "stages": (CNN, {"depth": 3}, "only an mlp's rectifiers without a norm"),
    "layer norm": (MLP | {"norm": "layer"}, {"width": 29}, "new units change what a layer norm does"),
    "group norm": (CNN | {"norm": "group"}, {"channels": 8}, "new units change what a group norm does"),
    "smaller": (MLP, {"width": 8}, "it is smaller"),
    "activation": (MLP, {"width": 24, "activation": "gelu"}, "another kind of net"),
}


def family(small: dict[str, Any], more: dict[str, Any]) -> tuple[Member, Member]:
    return Member(config(**small), 1), Member(config(**small | more), 2)


def outputs(member: Member, state: Checkpoint, data: Rows) -> torch.Tensor:
    return population([member], data, [state]).predict(data.x_val)[0]


@pytest.mark.parametrize("case", EXACT)
def test_the_function_is_preserved_to_1e_6(case: str) -> None:
    make, small, more = EXACT[case]
    data, (parent, child) = make(), family(small, more)
    assert growth_obstacle(parent.config.model, child.config.model) == ""
    (state,) = trained([parent], data, 3)
    grown = inherited(state, parent, child, data.meta)
    assert grown
    assert (grown.epoch, grown.curves, grown.optimizer) == (0, {}, {})
    before, after = outputs(parent, state, data), outputs(child, grown, data)
    assert before.std() > 0.1
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6 * before.abs().max().item())
    (further,) = trained([child], data, 2, [grown])
    assert further.epoch == 2
    assert further.curves["train/loss"][-1] < state.curves["train/loss"][-1]
    sizes = {name: tensor.shape for name, tensor in build(child.config.model, data.meta).state_dict().items()}
    assert {name: tensor.shape for name, tensor in further.weights.items()} == sizes


@pytest.mark.parametrize("case", NOT_EXACT)
def test_what_would_be_another_function_begins_anew(case: str) -> None:
    small, more, why = NOT_EXACT[case]
    parent, child = family(small, more)
    data = images() if "channels" in small else digits()
    assert why in growth_obstacle(parent.config.model, child.config.model)
    assert inherited(trained([parent], data, 1)[0], parent, child, data.meta) is None


def test_new_units_come_to_be_used() -> None:
    parent, child = family(MLP, {"width": 24})
    (state,) = trained([parent], digits(), 3)
    grown = inherited(state, parent, child, digits().meta)
    (further,) = trained([child], digits(), 5, [grown])
    before, after = (s.weights["output.weight"][:, 12:].abs().mean() for s in (grown, further) if s)
    assert before == 0
    assert after > 0.1 * further.weights["output.weight"][:, :12].abs().mean()


def test_a_state_of_the_same_net_is_its_own() -> None:
    parent, child = family(MLP, {"dropout": 0.5, "lr": 1e-4})
    (state,) = trained([parent], digits(), 1)
    assert inherited(state, parent, child, digits().meta) is state


def test_company_kills_and_lost_ancestors_do_not_show(tmp_path: Path) -> None:
    where = setup(digits(), tmp_path)
    line = [Member(config(width=w, depth=d, dropout=0.1), 7 + d) for w, d in ((8, 1), (16, 1), (16, 2))]
    tasks: list[Task] = []
    for k, member in enumerate(line):
        tasks.append(Task(f"{k}", member, 3, None, tmp_path / f"{k}", lineage=tuple(tasks)))
        train([tasks[-1]], where)
    last = Checkpoint.load(tmp_path / "2")
    assert last.epoch == 3
    for lost in ([2], [1, 2], [0, 1, 2]):
        for k in lost:
            (tmp_path / f"{k}").unlink(missing_ok=True)
        train([tasks[2]], where)
        assert_same(Checkpoint.load(tmp_path / "2"), last)
    (tmp_path / "2").unlink()
    beside = Task("beside", Member(line[2].config, 99), 3, None, tmp_path / "beside")
    train([beside, tasks[2]], where)
    assert_same(Checkpoint.load(tmp_path / "2"), last)


# --- the search --------------------------------------------------------------------------------------------------------


def space() -> Space:
    sizes = {"model.width": IntDistribution(8, 128, log=True), "model.depth": IntDistribution(1, 5)}
    return Space(Leaf(BASE, {key: Dimension(key, d) for key, d in sizes.items()}))


@pytest.mark.parametrize(("width", "depth"), [(8, 1), (32, 1), (64, 3), (128, 5)])
def test_it_stops_at_the_net_beyond_which_nothing_is_gained(
    width: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(params: Any, epoch: int) -> float:
        """Halved by each doubling up to a width, and by each layer up to a depth."""
        return float((width / min(params["model.width"], width)) * 2.0 ** (depth - min(params["model.depth"], depth)))

    monkeypatch.setattr("tests.support.virtual.objective", error)
    live = Sweep(grow(Spec(space(), "minimize", 2, 18, 0), factor=2.0, gain=0.002), cost=lambda params: 1.0).run()
    best = live.history.best
    assert best
    assert best.params == {"model.width": width, "model.depth": depth}
    assert all(trial.params["model.width"] <= 2 * width for trial in live.history.trials)
    assert all(trial.params["model.depth"] <= depth + 1 for trial in live.history.trials)
    for trial in live.history.trials:
        assert trial.epochs == 18
        assert trial.weights_only == bool(trial.start_from)
        if trial.start_from:
            parent: Trial = live.history.trials[trial.start_from[0]]
            changed = [key for key in trial.params if trial.params[key] != parent.params[key]]
            assert len(changed) == 1
            assert trial.params[changed[0]] in (2 * parent.params[changed[0]], parent.params[changed[0]] + 1)


def test_a_bound_is_for_the_smallest_net_at_first() -> None:
    wide = Space(Leaf(BASE, {"model.width": Dimension("model.width", IntDistribution(8, 4096))}))
    goals = Goals((), {"parameters": 100.0})
    spec = Spec(wide, "minimize", 2, 18, 0, goals=goals, measure=lambda p: {"parameters": 10.0 * p["model.width"]})
    (first,) = grow(spec, factor=2.0, gain=0.0).propose(History("minimize", goals=goals), 1)
    assert first.params == {"model.width": 8}


def test_a_space_without_sizes_is_refused() -> None:
    choices = {"model.width": Dimension("model.width", CategoricalDistribution([8, 16]))}
    with pytest.raises(UserError, match=r"^search: grow has nothing to grow; give space\.model\.depth, "):
        grow(Spec(Space(Leaf(BASE, choices)), "minimize", 2, 18, 0), factor=2.0, gain=0.0)


@pytest.mark.slow
def test_a_sweep_that_grows(prepared: Path, tmp_path: Path) -> None:
    """The same table on two workers; the final members are grown as the best trial was."""
    words = ["search=grow", "n_trials=2", "epochs=4", "space.model.width.low=8", "space.model.width.step=8"]
    words += ["space.model.dropout=null", "model.norm=batch", "optimizer.lr=0.01", "batch_size=32"]
    places = [Place(tmp_path / str(workers), prepared) for workers in (1, 2)]
    for workers, place in enumerate(places, start=1):
        place.run(*words, f"workers={workers}")
    one, two = places
    assert one.trials == two.trials
    deeper = [row for row in one.rows() if row["diagnosis"].startswith("began anew, not with the weights of trial ")]
    assert deeper
    assert all(row["parent"] and row["epochs"] == "4" for row in deeper)
    assert not (one.out / "schedule.json").exists()
    one.run("members.n=1", *words, verb="train")
    number = json.loads((one.out / "summary.json").read_text())["best_number"]
    best, final = (
        one.out / "weights" / f"{number}.safetensors",
        one.folder / "outputs/train/mlp/seeds-0/weights.safetensors",
    )
    shapes = [{name: tensor.shape for name, tensor in load_file(path).items()} for path in (best, final)]
    assert shapes[0] == shapes[1]
