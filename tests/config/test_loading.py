"""What a command line makes of `conf/`: the config, its search space, and one sentence for what is wrong."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import initialize_config_dir
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.config import loading as schema
from src.config.compose import CONF, options_of, with_force_add
from src.config.loading import Config, load
from src.config.space import Leaf
from src.system.errors import UserError, suggestion

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
ENTRIES = sorted(f"{path.parent.name}={path.stem}" for group in GROUPS for path in (CONF / group).glob("*.yaml"))
CHOOSE = "choose={optimizer:[sgd,adamw]}"


@pytest.fixture(scope="module", autouse=True)
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def made(*words: str) -> Config:
    return load([with_force_add(word) for word in words])


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        made(*words)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def only_leaf(config: Config) -> Leaf:
    ((chosen, leaf),) = config.space.leaves()
    assert chosen == {}
    return leaf


def leaves(*words: str) -> dict[tuple[str, ...], Leaf]:
    return {tuple(chosen.values()): leaf for chosen, leaf in made(*words).space.leaves()}


def dimension(key: str, *words: str) -> Any:
    return only_leaf(made(*words)).dimensions[key].distribution


# --- what is right -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_of_conf_passes_its_own_schema(entry: str) -> None:
    group, _, name = entry.partition("=")
    data, _, model = name.rpartition("_")
    beside = [f"data={data}", f"model={model}"] if group == "data_model" else []
    config = made(*(["model=supernet"] if name == "darts" else beside), entry)
    if group not in ("experiment", "data_model"):
        assert config[group].get("name", name) == name
    for _, leaf in config.space.leaves():
        for _, _, trial in leaf.ends():
            schema.check({**config.root, **trial})


def test_a_value_is_set_and_fixes_its_key() -> None:
    leaf = only_leaf(made("optimizer.lr=0.01", "batch_size=32"))
    assert leaf.config["optimizer"]["lr"] == 0.01
    assert leaf.config["batch_size"] == 32
    assert "optimizer.lr" not in leaf.dimensions
    assert "batch_size" not in leaf.dimensions
    assert "optimizer.weight_decay" in leaf.dimensions


def test_what_a_model_needs_on_some_data_is_there_for_the_two_of_them_alone() -> None:
    turned = {
        names: leaf.config["training"]["augment"]["rotation"]
        for names, leaf in leaves("choose={model:[mlp,cnn]}").items()
    }
    assert turned == {("mlp",): 0.0, ("cnn",): 10.0}
    assert only_leaf(made("model=cnn", "data=fashion_mnist")).config["training"]["augment"]["rotation"] == 0.0
    assert only_leaf(made("model=cnn", "training.augment.rotation=5")).config["training"]["augment"]["rotation"] == 5.0
    searched = only_leaf(
        made("model=cnn", "experiment=regularized", "+space.training.augment.rotation={low:0,high:15}")
    )
    assert "training.augment.rotation" in searched.dimensions


def test_a_key_that_waits_for_its_value_takes_it() -> None:
    """As the README has it, for a table of one's own."""
    words = ["data=csv", "data.file=mine.csv", "data.target=price", "data.task=regression"]
    assert made(*words)["data"]["file"] == "mine.csv"


def test_a_mapping_fixes_each_of_its_keys_and_leaves_the_others() -> None:
    leaf = only_leaf(made("optimizer={lr:0.01}", "model={width:96}"))
    assert leaf.config["optimizer"]["lr"] == 0.01
    assert leaf.config["model"]["width"] == 96
    assert leaf.config["model"]["depth"] == 2
    assert {"optimizer.lr", "model.width"}.isdisjoint(leaf.dimensions)
    assert {"optimizer.weight_decay", "model.depth"} <= set(leaf.dimensions)


@pytest.mark.parametrize("optimizer", options_of("optimizer"))
def test_every_optimizer_has_the_rule_of_the_batch_size(optimizer: str) -> None:
    words = [f"optimizer={optimizer}", "optimizer.batch_scaling.rule=linear", "optimizer.batch_scaling.base_batch=32"]
    leaf = only_leaf(made(*words, "+space.optimizer.batch_scaling.rule={choices:[linear,sqrt]}"))
    assert leaf.config["optimizer"]["batch_scaling"] == {"rule": "linear", "base_batch": 32, "rise_epochs": 0.0}


@pytest.mark.parametrize("words", [["model.depth=3"], [], ["choose={optimizer:[sgd,adamw]}"]])
def test_a_list_of_widths_says_the_depth(words: list[str]) -> None:
    config = made("model.width=[50,40,30]", *words)
    assert config["model"]["depth"] == 3
    for _, leaf in config.space.leaves():
        assert leaf.config["model"]["width"] == [50, 40, 30]
        assert leaf.config["model"]["depth"] == 3
        assert not {"model.width", "model.depth"} & set(leaf.dimensions)
        assert "model.dropout" in leaf.dimensions


def test_a_depth_that_is_given_stays_for_the_model_to_refuse() -> None:
    assert only_leaf(made("model.width=[50,50]", "model.depth=3")).config["model"]["depth"] == 3
    assert "model.depth" in only_leaf(made("model.width=50")).dimensions


def test_the_space_is_changed_in_place() -> None:
    before = dimension("optimizer.lr")
    assert dimension("optimizer.lr", "space.optimizer.lr.high=0.1") == FloatDistribution(before.low, 0.1, log=True)
    assert dimension("optimizer.lr", "space.optimizer.lr={low:0.1,high:0.2}") == FloatDistribution(0.1, 0.2, log=True)


@pytest.mark.parametrize("words", [["~space.optimizer.lr"], ["space.optimizer.lr=null"]])
def test_a_dimension_is_removed(words: list[str]) -> None:
    assert "optimizer.lr" not in only_leaf(made(*words)).dimensions
    assert only_leaf(made(*words)).config == only_leaf(made()).config


def test_a_section_of_the_space_is_removed() -> None:
    assert not any(name.startswith("model.") for name in only_leaf(made("~space.model")).dimensions)


def test_a_dimension_is_added() -> None:
    entry = "+space.model.activation={type:categorical,choices:[relu,gelu]}"
    assert dimension("model.activation", entry) == CategoricalDistribution(["relu", "gelu"])
    assert dimension("optimizer.beta1", "space.optimizer.beta1={low:0.8,high:0.99}") == FloatDistribution(0.8, 0.99)
    assert dimension("model.embedding_dim", "+space.model.embedding_dim={low:4,high:32,log:true}") == IntDistribution(
        4, 32, log=True
    )


def test_a_dimension_of_another_kind_takes_the_place_of_the_old_one() -> None:
    assert dimension("batch_size", "space.batch_size={low:16,high:64}") == IntDistribution(16, 64)
    assert dimension("batch_size", "space.batch_size={type:int,low:16,high:64}") == IntDistribution(16, 64)
    assert dimension("model.width", "space.model.width={choices:[32,64]}") == CategoricalDistribution([32, 64])


def test_fingerprint_of_the_space_follows_every_fixed_key() -> None:
    texts = [made(*words).space.describe() for words in ([], ["epochs=3"], ["model.norm=batch"], ["optimizer.lr=0.1"])]
    assert len(set(texts)) == 4
    assert made("n_trials=7", "workers=1").space.describe() == texts[0]  # budgets are not part of it


# --- choose ------------------------------------------------------------------------------------------------------------


def test_each_choice_brings_its_own_space() -> None:
    found = leaves(CHOOSE)
    assert set(found) == {("sgd",), ("adamw",)}
    assert found["sgd",].config["optimizer"]["name"] == "sgd"
    assert {n for n in found["sgd",].dimensions if "/" in n} == {"sgd/optimizer.lr", "sgd/optimizer.momentum"}
    assert {n for n in found["adamw",].dimensions if "/" in n} == {"adamw/optimizer.lr", "adamw/optimizer.weight_decay"}


def test_a_value_that_only_some_choices_have_applies_there() -> None:
    found = leaves(CHOOSE, "optimizer.momentum=0.8")
    assert found["sgd",].config["optimizer"]["momentum"] == 0.8
    assert set(found["sgd",].dimensions) & {"sgd/optimizer.momentum", "sgd/optimizer.lr"} == {"sgd/optimizer.lr"}
    assert "momentum" not in found["adamw",].config["optimizer"]


def test_a_dimension_that_only_some_choices_have_applies_there() -> None:
    found = leaves(CHOOSE, "+space.optimizer.beta1={low:0.8,high:0.9}", "~space.optimizer.momentum")
    assert "adamw/optimizer.beta1" in found["adamw",].dimensions
    assert set(found["sgd",].dimensions) & {"sgd/optimizer.beta1", "sgd/optimizer.momentum"} == set()


def test_two_groups_are_chosen_in_every_combination() -> None:
    found = leaves("choose={optimizer:[sgd,adamw],model:[mlp,cnn]}", "model.width=64", "model.channels=8")
    assert {("sgd", "mlp"), ("sgd", "cnn"), ("adamw", "mlp"), ("adamw", "cnn")} == set(found)
    assert found["sgd", "cnn"].config["model"]["channels"] == 8
    assert found["sgd", "mlp"].config["model"]["width"] == 64


def test_an_option_may_bring_a_choice_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "schedule").mkdir()
    text = "# @package _global_\nschedule: {name: cosine, warmup: 0.1, final: 0.0}\nchoose: {optimizer: [sgd, adamw]}\n"
    (tmp_path / "schedule" / "deep.yaml").write_text(text)
    search_path = f"hydra.searchpath=[file://{tmp_path}]"
    found = {tuple(c.items()) for c, _ in made(search_path, "choose={schedule:[constant,deep]}").space.leaves()}
    assert found == {
        (("schedule", "constant"),),
        (("schedule", "deep"), ("deep/optimizer", "sgd")),
        (("schedule", "deep"), ("deep/optimizer", "adamw")),
    }


def test_choosing_an_option_ends_the_choice() -> None:
    assert only_leaf(made(CHOOSE, "optimizer=sgd")).config["optimizer"]["name"] == "sgd"
    assert set(leaves("choose.optimizer=[sgd,adamw]")) == {("sgd",), ("adamw",)}


# --- experiments -------------------------------------------------------------------------------------------------------


def test_the_anchors_are_the_setting_of_the_table() -> None:
    config = made("experiment=anchors")
    leaf = only_leaf(config)
    assert (config["data"]["name"], config["search"]["name"], config["search"]["pruner"]) == ("digits", "tpe", "none")
    assert (config["n_trials"], config["epochs"], leaf.config["optimizer"]["name"]) == (64, 20, "adamw")
    found = {name: d.distribution for name, d in leaf.dimensions.items()}
    assert found.keys() == {
        "optimizer.lr",
        "optimizer.weight_decay",
        "model.dropout",
        "model.width",
        "model.depth",
        "batch_size",
    }
    assert found["model.width"] == IntDistribution(32, 128, step=32)
    assert found["model.depth"] == IntDistribution(1, 3)
    assert found["batch_size"] == CategoricalDistribution([32, 64, 128])
    assert isinstance(found["optimizer.lr"], FloatDistribution)
    assert found["optimizer.lr"].log


def test_the_fixed_net_is_64_64_at_batch_32() -> None:
    config = made("experiment=fixed_net")
    leaf = only_leaf(config)
    assert (config["n_trials"], config["search"]["name"], config["search"]["pruner"]) == (256, "random", "none")
    assert (leaf.config["model"]["width"], leaf.config["model"]["depth"], leaf.config["batch_size"]) == (64, 2, 32)
    assert leaf.dimensions.keys() == {"optimizer.lr", "optimizer.weight_decay"}


def test_the_command_line_goes_before_an_experiment() -> None:
    config = made("experiment=anchors", "n_trials=3", "search=random")
    assert (config["n_trials"], config["search"]["name"], config["epochs"]) == (3, "random", 20)
    assert set(leaves("experiment=optimizers")) == {("sgd",), ("adamw",)}


# --- what is wrong -----------------------------------------------------------------------------------------------------

WRONG = [  # a command line, the key that the sentence begins with, and what else it says
    # unknown keys
    (["n_trails=3"], "n_trails", "mean n_trials?"),
    (["Model.width=3"], "Model.width", "mean model.width?"),
    (["n-trials=3"], "n-trials", "mean n_trials?"),
    (["optimizer.lrr=1"], "optimizer.lrr", "mean optimizer.lr?"),
    (["+optimizer.lrr=1"], "optimizer.lrr", "mean optimizer.lr?"),
    (["optimizer={lrr:1}"], "optimizer.lrr", "mean optimizer.lr?"),
    (["study.rot=x"], "study.rot", "mean study.root?"),
    (["lr=0.1"], "lr", "mean optimizer.lr?"),
    (["model.kernel_size=3"], "model.kernel_size", "model has name, width, depth, activation"),
    (["+study.rot=x"], "study.rot", "mean study.root?"),
    (["optimizer.momentum=0.8"], "optimizer.momentum", "no such key"),
    ([CHOOSE, "optimizer.momentun=0.8"], "optimizer.momentun", "no such key"),
    (["~space.optimizer.lrr"], "space.optimizer.lrr", "mean space.optimizer.lr?"),
    (["space.optimizer.lr.hihg=1"], "space.optimizer.lr.hihg", "mean space.optimizer.lr.high?"),
    (["+space.optimizer.lr.hihg=1"], "space.optimizer.lr.hihg", "mean space.optimizer.lr.high?"),
    (["+space.model.widht={type:int,low:1,high:2}"], "space.model.widht", "mean space.model.width?"),
    (["+space.seed={low:1,high:4}"], "space.seed", "space has model, optimizer"),
    (["+space.epochs={low:0,high:4}"], "space.epochs", "0 cannot be tried"),
    # wrong types and ranges
    (["n_trials=abc"], "n_trials", "valid integer, not 'abc'"),
    (["n_trials='3'"], "n_trials", "valid integer, not '3'"),
    (["n_trials=1e3"], "n_trials", "valid integer, not 1000.0"),
    (["n_trials=0"], "n_trials", "greater than 0"),
    (["epochs=0"], "epochs", "greater than 0"),
    (["epochs=1.5"], "epochs", "valid integer"),
    (["batch_size=0"], "batch_size", "not 0"),
    (["batch_size=-3"], "batch_size", "not -3"),
    (["seed=true"], "seed", "valid integer, not True"),
    (["workers=0"], "workers", "'auto', not 0"),
    (["workers=atuo"], "workers", "mean auto?"),
    (["study.fresh=maybe"], "study.fresh", "valid boolean"),
    (["optimizer.lr=fast"], "optimizer.lr", "valid number, not 'fast'"),
    (["optimizer.lr=-1"], "optimizer.lr", "greater than 0, not -1"),
    (["optimizer.lr=0"], "optimizer.lr", "greater than 0, not 0"),
    (["optimizer=sgd", "optimizer.momentum=1"], "optimizer.momentum", "less than 1, not 1"),
    (["optimizer=adamw", "optimizer.beta2=1.0"], "optimizer.beta2", "less than 1, not 1.0"),
    (["optimizer.weight_decay=-1e-4"], "optimizer.weight_decay", "greater than or equal to 0"),
    (["schedule=cosine", "schedule.warmup=2"], "schedule.warmup", "less than or equal to 1, not 2"),
    (["schedule=cosine", "schedule.final=-0.1"], "schedule.final", "greater than or equal to 0"),
    (["schedule=step", "schedule.period=0"], "schedule.period", "greater than 0, not 0"),
    (["schedule=sgdr", "schedule.growth=0.5"], "schedule.growth", "greater than or equal to 1"),
    (["schedule=plateau", "schedule.gamma=1.0"], "schedule.gamma", "less than 1, not 1.0"),
    (["schedule=plateau", "schedule.patience=2.5"], "schedule.patience", "valid integer"),
    (["schedule=one_cycle", "schedule.warmup=1.5"], "schedule.warmup", "less than or equal to 1"),
    (["schedule=exponential", "schedule.period=2"], "schedule.period", "schedule=exp_range, sgdr, step,"),
    (["optimizer=adamw", "optimizer.momentum=0.8"], "optimizer.momentum", "optimizer=rmsprop, sgd have it"),
    (["data=digits", "data.separator=x"], "data.separator", "no such key; data=csv, image_table have it"),
    (["experiment.epochs=3"], "experiment.epochs", "no such key"),
    (["optimizer=rmsprop", "optimizer.alpha=1.0"], "optimizer.alpha", "less than 1"),
    (["optimizer=adagrad", "optimizer.lr_decay=-1"], "optimizer.lr_decay", "greater than or equal to 0"),
    (["optimizer=lion", "+optimizer.eps=1e-8"], "optimizer.eps", "no such key"),
    (["optimizer.batch_scaling.rule=quadratic"], "optimizer.batch_scaling.rule", "'none', 'linear' or 'sqrt'"),
    (["optimizer.batch_scaling.rule=liner"], "optimizer.batch_scaling.rule", "mean linear?"),
    (["optimizer.batch_scaling.base_batch=0"], "optimizer.batch_scaling.base_batch", "greater than 0"),
    (
        ["+space.optimizer.batch_scaling.rule={choices:[none,cubic]}"],
        "space.optimizer.batch_scaling.rule",
        "'cubic' cannot be tried",
    ),
    (
        ["space.optimizer.weight_decay={low:-1.0,high:0.1,log:false}"],
        "space.optimizer.weight_decay",
        "-1.0 cannot be tried",
    ),
    (["search=evolution", "search.population=1"], "search.population", "greater than or equal to 2"),
    (["search=cmaes", "search.population=2"], "search.population", "4"),
    (["search=gp", "search.n_startup_trials=0"], "search.n_startup_trials", "greater than or equal to 1"),
    (["model.width=[a]"], "model.width.0", "valid integer, not 'a'"),
    (["model.width=abc"], "model.width", "not 'abc'"),
    (["members.n=0"], "members.n", "greater than 0"),
    (["tracking={uri:3}"], "tracking.uri", "should be a text"),
    (["lr_range.low=20"], "lr_range", "low 20.0 must be below high 10.0"),
    # choices
    (["model=mlpp"], "model", "mean mlp?"),
    (["model="], "model", "one of cell, cnn, linear, mlp"),
    (["model=null"], "model", "one of cell, cnn, linear, mlp"),
    (["experiment=quik"], "experiment", "mean quick?"),
    (["optimizer.name=adamww"], "optimizer.name", "mean adamw?"),
    (["optimizer.name=torch"], "optimizer.name", "none of adagrad, adam, adamw"),
    (["model.activation=rellu"], "model.activation", "mean relu?"),
    (["~optimizer.lrr"], "optimizer.lrr", "no such key"),
    (["~model"], "model", "a value is needed"),
    (["~optimizer.lr"], "optimizer.lr", "a value is needed"),
    (["choose={optimizer:[sgd,adamww]}"], "choose.optimizer", "mean adamw?"),
    (["choose={optimizer:[sgd,sgd]}"], "choose.optimizer", "twice"),
    (["choose={optimizer:[]}"], "choose.optimizer", "expected a list"),
    (["choose={optimizer:sgd}"], "choose.optimizer", "expected a list"),
    (["choose={optimizr:[sgd]}"], "choose", "mean optimizer?"),
    (["choose={search:[random,tpe]}"], "choose", "none of model, optimizer"),
    # what cannot be read
    (["model.activation=relu\\"], "model.activation", "backslash"),
    (["outputs=here\\"], "outputs", "backslash"),
    (["model=mlp\\ "], "model", "backslash"),
    (["n_trials"], "n_trials", "expected key=value"),
    (["outputs=["], "outputs", "cannot be read"),
    (["model.width=64,128"], "model.width", "-m"),
    (["optimizer.lr=interval(0.1,1)"], "optimizer.lr", "-m"),
    (["n_trials="], "n_trials", "valid integer"),
    # dimensions
    (["space.optimizer.lr.high=1e-9"], "space.optimizer.lr", "above high"),
    (["space.optimizer.lr.low=0"], "space.optimizer.lr.low", "above 0"),
    (["space.model.width.step=7"], "space.model.width.step", "does not divide"),
    (["+space.model.activation={type:categorical,choices:[]}"], "space.model.activation.choices", "at least one"),
    (["+space.model.activation={choices:[relu,relu]}"], "space.model.activation.choices", "'relu' stands twice"),
    (["+space.model.activation={choices:[relu,geluu]}"], "space.model.activation", "mean gelu?"),
    (["space.model.depth={type:float,low:1,high:2}"], "space.model.depth", "1.0 cannot be tried"),
    (["space.model.depth.low=1.5"], "space.model.depth.low", "whole number"),
    (["space.batch_size={choices:[16,-4]}"], "space.batch_size", "-4 cannot be tried"),
    (["space.batch_size={low:0,high:4}"], "space.batch_size", "0 cannot be tried"),
    (["space.optimizer.lr=0.1"], "space.optimizer.lr", "{type: float"),
    (["+space.optimizer.lr.points=1"], "space.optimizer.lr.points", "2 or more"),
    (["+space.optimizer.lr.points=2.5"], "space.optimizer.lr.points", "whole number"),
    (["+space.model.width.points=3"], "space.model.width.points", "step"),
    # paths and code
    (["data.name=../x"], "data.name", "not '../x'"),
    (["model.name=a/b"], "model.name", "not 'a/b'"),
    (["models=[mlp,../x]"], "models.1", "not '../x'"),
    (["+model._target_=os.system"], "model._target_", "outside the trusted packages (src.models.architectures)"),
    (["+model._target_=src.system.files.write_text"], "model._target_", "outside the trusted packages"),
    (["+search._target_=src.search.strategies.gp.Any"], "search._target_", "comes from typing"),
    (["+model._target_=src.models.architectures.mlp.Nothing"], "model._target_", "cannot be imported"),
    (["+model._target_=src.models.architectures.mlp.layer"], "model._target_", "derived from torch.nn.Module"),
    (["+model._target_=src.models.architectures.mlp"], "model._target_", "neither a class nor a function"),
    (["+optimizer._target_=srcery.Net"], "optimizer._target_", "outside"),
    (["+optimizer._target_=src.optim.optimizers.sgd.__doc__"], "optimizer._target_", "neither a class nor a function"),
    (["model.name=mlp.x"], "model.name", "'mlp.x' is none of"),
    (["model.name=layers"], "model.name", "'layers' is none of"),
    (["search.name=box"], "search.name", "'box' is none of"),
    (["trusted=os"], "trusted", "a list of packages"),
    (["trusted=[3]"], "trusted", "a list of packages"),
    (["device=gpu"], "device", "this machine has cpu"),
    (["device=cuda:99"], "device", "this machine has cpu"),
]


def test_nothing_is_near_where_there_is_nothing() -> None:
    assert suggestion("", []) == suggestion("a.b", []) == suggestion("", ["tpe"]) == ""


@pytest.mark.parametrize(("words", "key", "says"), WRONG, ids=[" ".join(words) for words, *_ in WRONG])
def test_bad_input_is_refused_in_one_sentence(words: list[str], key: str, says: str) -> None:
    message = refusal(*words)
    assert re.match(rf"{re.escape(key)}(:| )", message)
    assert says in message


def test_lists_of_different_lengths_say_the_depth_each() -> None:
    leaf = only_leaf(made("space.model.width={choices:[[64],[64,32],[128,64,32]]}"))
    assert "model.depth" not in leaf.dimensions
    assert [config["model"]["depth"] for key, _, config in leaf.ends() if key == "model.width"] == [1, 2, 3]
    space = made("space.model.width={choices:[32,[64,32,16]]}").space
    rest = {"optimizer.lr": 0.01, "optimizer.weight_decay": 0.01, "model.dropout": 0.0, "batch_size": 64}
    assert space.config(rest | {"model.width": "[64, 32, 16]"})["model"]["depth"] == 3
    assert space.config(rest | {"model.width": 32})["model"]["depth"] == 2
    fixed = only_leaf(made("space.model.width={choices:[[64],[64,32]]}", "model.depth=2"))
    assert {config["model"]["depth"] for _, _, config in fixed.ends()} == {2}


def test_a_logarithmic_scale_over_the_steps_of_the_default() -> None:
    word = "space.model.width={type:int,low:16,high:64,log:true}"
    assert dimension("model.width", word) == IntDistribution(16, 64, log=True)


def test_an_interval_of_ones_own_has_not_the_steps_of_the_default() -> None:
    assert dimension("model.width", "space.model.width={type:int,low:16,high:64}") == IntDistribution(16, 64)
    stepped = dimension("model.width", "space.model.width={low:16,high:64,step:8}")
    assert stepped == IntDistribution(16, 64, step=8)
    rate = dimension("optimizer.lr", "space.optimizer.lr={low:1e-4,high:1e-2}")
    assert rate == FloatDistribution(1e-4, 1e-2, log=True), "its scale is that of the default"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert refusal("device=cuda") == "device: 'cuda' is not there; this machine has cpu"


def test_an_option_without_code_behind_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "ghost.yaml").write_text("# @package _global_\nmodel: {name: ghost}\n")
    message = refusal(f"hydra.searchpath=[file://{tmp_path}]", "model=ghost")
    assert message.startswith("model.name: ")
    assert "ghost" in message


def test_a_stage_without_components_need_not_import_them() -> None:
    with pytest.raises(UserError):
        load(["++optimizer.lr=fast"])
    assert load(["++optimizer.lr=fast"], components=False)["optimizer"]["lr"] == "fast"
    with pytest.raises(UserError):
        load(["++n_trials=0"], components=False)


# --- components of one's own -------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    code = """
        from pathlib import Path
        from torch.nn import Linear, Module
        class Net(Module):
            def __init__(self, input_shape, n_outputs, *, hidden: int, betas: tuple[float, float] = (0.1, 0.2)): ...
    """
    (tmp_path / "theirs.py").write_text("\n".join(line[8:] for line in code.splitlines()))
    (tmp_path / "model").mkdir()
    yaml = "# @package _global_\nmodel: {name: net, _target_: theirs.Net, hidden: 16}\n"
    (tmp_path / "model" / "net.yaml").write_text(yaml + "space: {model: {hidden: {low: 8, high: 32}}}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield f"hydra.searchpath=[file://{tmp_path}]"
    sys.modules.pop("theirs", None)


def test_what_a_constructor_takes_is_its_schema(package: str) -> None:
    theirs = [package, "model=net", "trusted=[theirs]"]
    assert dimension("model.hidden", *theirs) == IntDistribution(8, 32)
    assert only_leaf(made(*theirs, "+model.betas=[0.5,0.6]")).config["model"]["betas"] == [0.5, 0.6]
    assert refusal(*theirs, "model.hidden=many").startswith("model.hidden: should be a valid integer")
    assert refusal(*theirs, "+model.hiden=3") == "model.hiden: no such key; did you mean model.hidden?"
    assert refusal(*theirs, "+model.input_shape=[3]").startswith("model.input_shape: no such key")
    assert refusal(*theirs, "~model.hidden").startswith("model.hidden: a value is needed")
    assert refusal(*theirs, "model._target_=theirs.Path").startswith("model._target_: theirs.Path is no model")
    assert "theirs.Linear comes from torch" in refusal(*theirs, "model._target_=theirs.Linear")
    assert refusal(package, "model=net").startswith("model._target_: theirs.Net is outside the trusted packages")


def test_a_file_that_is_chosen_trusts_nobody(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "theirs.yaml").write_text("# @package _global_\ntrusted: [theirs]\n")
    assert refusal(package, "experiment=theirs", "model=net").startswith(
        "trusted: only the command line and params.yaml"
    )
    assert "theirs" not in sys.modules
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("models: [mlp]\ntrusted: [theirs]\n")
    assert dimension("model.hidden", package, "model=net") == IntDistribution(8, 32)


def test_options_are_those_of_conf() -> None:
    assert options_of("model") == sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize(
    "key",
    ["lr_range.steps", "lr_range.seeds", "lr_range.parallel.members", "lr_range.linear.points", "slots", "members.n"],
)
def test_counts_out_of_all_proportion_are_refused_before_any_work(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(key)}: .*less than or equal to"):
        load([f"{key}=1000000000"])
