"""The command line as a person meets it: help, errors, experiments, multiruns, components of one's own."""

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, json_to_distribution

from hydra_plugins.lockstep_sweeper.sweeper import combinations, dimension, named, own_folder, refuse_number
from src.config.compose import CONF, with_force_add
from src.config.loading import Config, load
from src.engine.compatibility import prepared, refuse_impossible_space, refuse_impossible_trial, with_fitting_batches
from src.system.errors import UserError
from tests.support import warm
from tests.support.metas import data_meta

ROOT = Path(__file__).parents[2]
VERBS = ("prepare", "lr_range", "sweep", "train", "ensemble", "report")
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
LR = "optimizer.lr=tag(log,interval(1e-3,1e-2))"
MODELS = ", ".join(sorted(path.stem for path in (CONF / "model").glob("*.yaml")))


def verb(folder: Path, name: str, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m src.<name>` in a folder of its own."""
    return warm.run(folder, name, *words, PYTHONPATH=f"{ROOT}:{path}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with digits prepared."""
    path = tmp_path_factory.mktemp("work")
    done = verb(path, "prepare", "data=digits")
    assert done.returncode == 0, done.stderr
    return path


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


# --- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("optimizer.lr=0.1", "++optimizer.lr=0.1"),
        ("seed=3", "++seed=3"),
        ("model=mlp", "model=mlp"),
        ("model=mlp,cnn", "model=mlp,cnn"),
        ("~space.optimizer.lr", "++space.optimizer.lr=null"),
        ("~optimizer.lr", "~optimizer.lr"),
        ("+space.model.norm={choices:[none,batch]}", "+space.model.norm={choices:[none,batch]}"),
        ("hydra.sweep.dir=here", "hydra.sweep.dir=here"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib"),
        ("+hydra.sweeper.params.seed=1", "+hydra.sweeper.params.seed=1"),
        ("--config-dir=conf", "--config-dir=conf"),
    ],
)
def test_a_value_is_for_a_key_that_may_be_in_some_choices_only(word: str, seen: str) -> None:
    assert with_force_add(word) == seen


def parsed(*words: str) -> list[Any]:
    return OverridesParser.create().parse_overrides([with_force_add(word) for word in words])


def test_choices_multiply_and_intervals_do_not() -> None:
    combined = list(combinations(parsed("model=mlp,cnn", "seed=range(0,3)", LR, "n_trials=4", "~space.batch_size")))
    assert len(combined) == 6
    assert [choices for choices, _ in combined][:2] == [["model=mlp", "++seed=0"], ["model=mlp", "++seed=1"]]
    for choices, words in combined:
        assert set(choices) <= set(words)
        assert words[2:] == [dimension(parsed(LR)[0]), "++n_trials=4", "++space.batch_size=null"]


def test_names_are_fit_for_folders_and_differ() -> None:
    words = ["model=mlp,cnn", "model.width=32,[50,50]", "tracking.uri=sqlite:///a.db,sqlite:///a:db"]
    names = [job.name for job in named(combinations(parsed(*words)))]
    assert names[0] == "model=mlp,model.width=32,tracking.uri=sqlite-a.db"
    assert "model=cnn,model.width=[50,50],tracking.uri=sqlite-a-db" in names
    assert len(set(names)) == len(names) == 8
    assert not set("/:' ") & set("".join(names))
    assert [job.name for job in named(combinations(parsed(LR)))] == ["sweep"]
    long = named(combinations(parsed(f"data.source={'x' * 300},{'x' * 300}")))
    assert len({job.name for job in long}) == 2
    assert all(len(job.name) < 200 for job in long)


@pytest.fixture
def conf() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        (LR, "optimizer.lr", FloatDistribution(1e-3, 1e-2, log=True)),
        ("optimizer.lr=interval(0.1,1)", "optimizer.lr", FloatDistribution(0.1, 1.0)),
        ("optimizer.beta1=interval(0.8,0.99)", "optimizer.beta1", FloatDistribution(0.8, 0.99)),
        ("model.depth=int(interval(1,2))", "model.depth", IntDistribution(1, 2)),
        ("model.depth=interval(1,2)", "model.depth", IntDistribution(1, 2)),
        ("model.width=interval(64,256)", "model.width", IntDistribution(64, 256)),  # not in the default's steps
        ("model.width=interval(16,64)", "model.width", IntDistribution(16, 64)),
        ("model.width=tag(log,interval(16,256))", "model.width", IntDistribution(16, 256, log=True)),
        ("model.embedding_dim=tag(int,log,interval(4,32))", "model.embedding_dim", IntDistribution(4, 32, log=True)),
        ("batch_size=interval(16,64)", "batch_size", IntDistribution(16, 64)),
    ],
)
def test_an_interval_is_a_dimension(word: str, key: str, expected: Any) -> None:
    ((_, leaf),) = load([dimension(parsed(word)[0])]).space.leaves()
    assert leaf.dimensions[key].distribution == expected


@pytest.mark.usefixtures("conf")
def test_an_interval_goes_where_its_key_is() -> None:
    words = ["++choose={optimizer:[sgd,adamw]}", dimension(parsed("optimizer.momentum=interval(0.5,0.9)")[0])]
    (_, sgd), (_, adamw) = load(words).space.leaves()
    assert sgd.dimensions["sgd/optimizer.momentum"].distribution == FloatDistribution(0.5, 0.9)
    assert not any("momentum" in name for name in adamw.dimensions)


@pytest.mark.parametrize(
    ("word", "says"),
    [("model=interval(1,2)", "mlp"), ("optimizer.lr=tag(lgo,interval(1,2))", "mean log?")],
)
def test_an_interval_that_makes_no_sense_is_refused(word: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        dimension(parsed(word)[0])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("model=glob(x*)", f"model: model=glob(x*) matches none of {MODELS}"),
        (
            "model.width=glob(*)",
            "model.width: model.width=glob(*) stands for no value; list some, as in -m model.width=1,2",
        ),
        ("seed=range(3,1)", "seed: seed=range(3,1) stands for no value"),
        ("seed=range(0,1000000)", "seed: seed=range(0,1000000) makes more than 1000 jobs"),
    ],
)
@pytest.mark.usefixtures("conf")
def test_a_multirun_without_jobs_or_with_too_many_is_refused(word: str, says: str) -> None:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    with pytest.raises(UserError) as caught:
        refuse_number(parser.parse_overrides([with_force_add(word)]))
    assert str(caught.value).startswith(says)


def test_multiruns_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: own_folder(tmp_path / "multirun" / "now", chosen=False), range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)
    chosen = tmp_path / "mine"
    assert own_folder(chosen, chosen=True) == own_folder(chosen, chosen=True) == chosen


# --- before the first epoch --------------------------------------------------------------------------------------------


@pytest.fixture
def meta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conf: None) -> None:
    """Prepared data of 100 rows of 8 × 8 pixels, or so they say."""
    monkeypatch.chdir(tmp_path)
    metas = {"digits": data_meta(1, 8, 8, n_train=100), "adult": data_meta(3, n_train=100, bins=[[0.0, 1.0]] * 3)}
    for name, facts in metas.items():
        (tmp_path / "data" / "prepared" / name).mkdir(parents=True)
        (tmp_path / "data" / "prepared" / name / "meta.json").write_text(json.dumps(facts.to_json()))
    monkeypatch.setattr("src.data.dataset.verify", lambda folder: None)  # there are no arrays


def config(*words: str) -> Config:
    return load([with_force_add(word) for word in words])


def refused(*words: str) -> None:
    loaded = config(*words)
    refuse_impossible_space(loaded, prepared(loaded)[1])


SMALL = "space.batch_size.choices=[16,32]"


@pytest.mark.usefixtures("meta")
def test_what_can_train_is_let_through() -> None:
    lists = ["model.width=[50,50]"], ["model.width=[50,50,50]", "model.depth=3"]
    for words in ([], ["model=cnn", "training.augment.rotation=10"], *lists, ["data=adult"]):
        loaded = config(SMALL, "batch_size=16", *words)
        _, meta = prepared(loaded)
        assert meta.n_train == 100
        refuse_impossible_space(loaded, meta)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize(
    ("words", "rows", "default", "searched", "line"),
    [
        ([], 200, 64, [32, 64, 128], ""),
        ([], 100, 64, [32, 64], "batch_size: 128 not searched: more than the 100 training rows\n"),
        ([], 60, 32, [32], "batch_size: 64 becomes 32; 64, 128 not searched: more than the 60 training rows\n"),
        ([], 18, 16, [], "batch_size: 64 becomes 16; 32, 64, 128 not searched: more than the 18 training rows\n"),
        (["objective.folds=3"], 90, 32, [32], "batch_size: 64 becomes 32; 64, 128 not searched: more than the 60 "),
        (["choose.optimizer=[sgd,adamw]"], 18, 16, [], "batch_size: 64 becomes 16; 32, 64, 128 not searched: "),
    ],
)
def test_batches_of_more_rows_than_there_are_leave_the_space(
    words: list[str], rows: int, default: int, searched: list[int], line: str, capsys: Any
) -> None:
    """A table of 30 rows trains by the defaults."""
    loaded = config(*words)
    meta = replace(prepared(loaded)[1], n_train=rows)
    fitting = with_fitting_batches(loaded, meta)
    for _, leaf in fitting.space.leaves():
        dimension = leaf.dimensions.get("batch_size")
        assert (list(dimension.choices) if dimension else []) == searched
        assert leaf.config["batch_size"] == default
    assert fitting.trial.batch_size == default
    out = capsys.readouterr().out
    assert out.startswith(line)
    assert out.count("\n") == bool(line)
    refuse_impossible_space(fitting, meta)
    refuse_impossible_trial(fitting, meta)


@pytest.mark.usefixtures("meta")
def test_an_interval_of_batch_sizes_ends_at_the_rows() -> None:
    interval = "space.batch_size={type: int, low: 4, high: 64, step: 4}"
    loaded = config(interval)
    meta = replace(prepared(loaded)[1], n_train=30)
    (leaf,) = [leaf for _, leaf in with_fitting_batches(loaded, meta).space.leaves()]
    distribution = leaf.dimensions["batch_size"].distribution
    assert (distribution.low, distribution.high) == (4, 28)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("meta")
def test_a_batch_size_of_the_persons_own_is_refused_where_it_does_not_fit() -> None:
    loaded = config("batch_size=64")
    meta = replace(prepared(loaded)[1], n_train=18)
    fitting = with_fitting_batches(loaded, meta)
    with pytest.raises(UserError, match=r"^batch_size: 64 is more than the 18 training rows$"):
        refuse_impossible_trial(fitting, meta)


@pytest.mark.usefixtures("meta")
def test_a_space_that_a_verb_does_not_use_is_no_obstacle_to_it() -> None:
    loaded = config("batch_size=16")  # of which the space has 128
    _, meta = prepared(loaded)
    refuse_impossible_trial(loaded, meta)
    larger = config("batch_size=101")
    with pytest.raises(UserError, match="100 training rows"):
        refuse_impossible_trial(larger, meta)


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize(
    ("words", "key", "says"),
    [
        (["data=csv"], "data", "python -m src.prepare data=csv"),
        (["batch_size=101"], "batch_size", "100 training rows"),
        ([], "space.batch_size", "128 cannot be tried"),
        ([SMALL, "model.width=[50,50]", "model.depth=3"], "model.width", "model.depth is 3"),
        ([SMALL, "model.dropout=1.5"], "model.dropout", "below 1"),
        ([SMALL, "space.model.dropout.high=1.0"], "space.model.dropout", "1.0 cannot be tried"),
        ([SMALL, "model=cnn", "data=adult"], "model.name=cnn", "needs images"),
        (
            [SMALL, "training.augment.flip=0.5", "data=adult"],
            "training.augment.flip",
            "0.5 is for images, but the data is a table",
        ),
        (
            [SMALL, "+space.training.augment.shift={low:0,high:0.2}", "data=adult"],
            "space.training.augment.shift",
            "0.2 cannot be tried",
        ),
        (
            [SMALL, "model=linear", "training.regularization.activity.l1=0.1"],
            "training.regularization.activity.l1",
            "the model has none",
        ),
        ([SMALL, "choose={model:[mlp,cnn]}", "data=adult"], "model.name=cnn", "needs images"),
        ([SMALL, "choose={model:[cnn,mlp]}", "model.width=0"], "model.width", "at least 1"),
    ],
)
def test_what_cannot_train_is_refused_in_every_leaf(words: list[str], key: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        refused(*words)
    assert str(caught.value).startswith(key)


# --- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERBS)
def test_help_says_what_the_verb_does(tmp_path: Path, name: str) -> None:
    shown = verb(tmp_path, name, "--help")
    assert shown.returncode == 0
    about = (ROOT / "src" / f"{name}.py").read_text().split('"""')[1].strip()
    assert shown.stdout.startswith(about)
    assert "experiment: " + ", ".join(EXPERIMENTS) in shown.stdout
    assert f"python -m src.{name} data=digits" in shown.stdout


def test_the_config_is_shown_as_it_would_be(tmp_path: Path) -> None:
    shown = verb(tmp_path, "sweep", "--cfg", "job", "--resolve", "experiment=quick", "optimizer.lr=0.5")
    assert shown.returncode == 0, shown.stderr
    found = yaml.safe_load(shown.stdout)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        expected = load(["experiment=quick", "++optimizer.lr=0.5"]).root
    assert found == expected
    assert "models: ${params:models}" in verb(tmp_path, "sweep", "--cfg", "job").stdout
    info = verb(tmp_path, "sweep", "--info")
    assert info.returncode == 0
    assert "LockstepSweeper" in info.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["optimizer.lrr=1"], "error: optimizer.lrr: no such key; did you mean optimizer.lr?\n"),
        (["optimizer={lrr:1}"], "error: optimizer.lrr: no such key; did you mean optimizer.lr?\n"),
        (["outputs=here\\"], "error: outputs: a backslash is left at the end; remove it\n"),
        (
            ["-m", "model=mlp,cnnn"],
            f"error: model: 'cnnn' is none of {MODELS}; did you mean cnn?\n",
        ),
        (
            ["data_model=digits_cn"],
            "error: data_model: 'digits_cn' is none of digits_cnn, fashion_mnist_cnn; did you mean digits_cnn?\n",
        ),
    ],
)
def test_an_error_is_one_line_and_a_code(tmp_path: Path, words: list[str], error: str) -> None:
    done = verb(tmp_path, "sweep", *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", error)


# --- whole sweeps ------------------------------------------------------------------------------------------------------


OF_TABLES = ("embeddings", "realmlp")


def table(folder: Path) -> list[str]:
    """The words for a prepared table of 600 rows of numbers."""
    words = ["data=csv", "data.file=mine.csv", "data.target=c", "data.task=classification"]
    if not (folder / "mine.csv").exists():
        rng = np.random.default_rng(0)
        rows = [f"{a:.4f},{b:.4f},{'yes' if a > b else 'no'}" for a, b in rng.normal(size=(600, 2))]
        (folder / "mine.csv").write_text("\n".join(["a,b,c", *rows]) + "\n")
        done = verb(folder, "prepare", *words)
        assert done.returncode == 0, done.stderr
    return words


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs(folder: Path, name: str) -> None:
    data = table(folder) if name in OF_TABLES else []
    done = verb(folder, "sweep", f"experiment={name}", *data, "n_trials=3", "epochs=1", f"outputs=outputs/{name}")
    assert done.returncode == 0, done.stderr
    assert summary(folder / "outputs" / name / "sweep" / "mlp")["states"]["complete"] >= 1


@pytest.mark.slow
def test_a_multirun_goes_through_its_jobs_and_lists_those_that_failed(folder: Path) -> None:
    words = ["search=random,tpe", "model.width=32,fifty", LR, "n_trials=2", "epochs=1", "search.pruner=none"]
    done = verb(folder, "sweep", "-m", *words, "hydra.sweep.dir=multirun/mine")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("model.width: should be a valid integer") == 2
    assert "2 of 4 jobs failed" in done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("job ", "search="))]
    assert head == ["job", "val/accuracy", "trials", "seconds"]
    assert [row[:2] for row in rows if "fifty" in row[0]] == [
        ["search=random,model.width=fifty", "failed"],
        ["search=tpe,model.width=fifty", "failed"],
    ]
    for search in ("random", "tpe"):
        job = f"search={search},model.width=32"
        out = folder / "multirun" / "mine" / job / "sweep" / "mlp"
        found = summary(out)
        assert found["search"] == search
        assert json_to_distribution(found["distributions"]["optimizer.lr"]) == FloatDistribution(1e-3, 1e-2, log=True)
        assert "model.width" not in found["distributions"]
        trials = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
        assert [trial["number"] for trial in trials] == ["0", "1"]
        row = next(row for row in rows if row[0] == job)
        assert row[1:3] == [f"{max(float(trial['value']) for trial in trials):.4f}", "2"]
        assert (folder / ".lockstep" / "studies" / found["study"]).is_dir()


@pytest.mark.slow
def test_a_multirun_compares_its_strategies_over_seeds(folder: Path) -> None:
    words = ["search=random,tpe", "seed=0,1,2", "n_trials=6", "epochs=3", "hydra.sweep.dir=multirun/compared"]
    done = verb(folder, "sweep", "-m", *words)
    assert done.returncode == 0, done.stderr
    out = folder / "multirun" / "compared"
    with (out / "comparison.csv").open() as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"search=random", "search=tpe"}
    for strategy, row in rows.items():
        tables = [out / f"{strategy},seed={seed}" / "sweep" / "mlp" / "progress.csv" for seed in range(3)]
        ends = [float(table.read_text().split(",")[-1]) for table in tables]
        low, median, high = np.quantile(ends, [0.25, 0.5, 0.75])
        found = [float(row[f"best_{name}"]) for name in ("q1", "median", "q3")]
        assert found == pytest.approx([low, median, high])
        assert re.search(rf"^{strategy} +{median:.4f} \[{low:.4f}, {high:.4f}\]", done.stdout, re.M)
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    done = verb(folder, "report", "models=[mlp]", f"outputs='{out}/search=tpe,seed=0'")
    assert done.returncode == 0, done.stderr
    page = (out / "search=tpe,seed=0" / "report" / "index.html").read_text()
    assert "The strategies of this multirun" in page
    assert all(f'id="compared-{over}-data"' in page for over in ("epochs", "seconds"))


@pytest.mark.slow
def test_a_bare_multirun_compares_the_default_strategies(folder: Path) -> None:
    done = verb(folder, "sweep", "-m", "n_trials=2", "epochs=1")
    assert done.returncode == 0, done.stderr
    jobs = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("---")]
    assert jobs == ["search=random", "search=tpe"]


OWN = {
    "theirs/__init__.py": """
        from dataclasses import dataclass
        from math import prod
        from typing import ClassVar
        import numpy as np
        from torch import nn

        class Net(nn.Module):
            def __init__(self, input_shape: tuple[int, ...], n_outputs: int, *, hidden: int) -> None:
                super().__init__()
                self.layers = nn.Sequential(
                    nn.Flatten(), nn.Linear(prod(input_shape), hidden), nn.Tanh(), nn.Linear(hidden, n_outputs)
                )

            def forward(self, x):
                return self.layers(x)

        @dataclass(frozen=True)
        class SignSGD:
            lr: float
            state: ClassVar[tuple[str, ...]] = ()

            @staticmethod
            def columns(h, step_SK1):
                return {"rate": -h["lr"]}

            @staticmethod
            def update(p_KP, g_KP, state, c):
                p_KP.add_(g_KP.sign_().mul_(c["rate"]))

        @dataclass(frozen=True)
        class Halving:
            def factor(self, at):
                return 0.5 ** np.floor(4 * at.step / at.total)

        def alphabetical(spec, *, pruner):
            from src.search.strategies.random import random
            return random(spec, pruner=pruner)
        """,
    "conf/model/net.yaml": """
        # @package _global_
        model: {_target_: theirs.Net, hidden: 16}
        space: {model: {hidden: {type: categorical, choices: [8, 24]}}}
        """,
    "conf/optimizer/signsgd.yaml": """
        # @package _global_
        optimizer: {_target_: theirs.SignSGD, lr: 0.001}
        """,
    "conf/schedule/halving.yaml": """
        # @package _global_
        schedule: {_target_: theirs.Halving}
        """,
    "conf/search/alphabetical.yaml": """
        # @package _global_
        search: {_target_: theirs.alphabetical, pruner: none}
        """,
}


@pytest.mark.slow
def test_components_of_ones_own_take_a_file_and_a_yaml_each(folder: Path, tmp_path: Path) -> None:
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join(line[8:] for line in text.strip("\n").splitlines()))
    words = ["model=net", "optimizer=signsgd", "schedule=halving", "search=alphabetical", "n_trials=3", "epochs=2"]
    own = ["--config-dir", str(tmp_path / "conf"), *words]
    done = verb(folder, "sweep", *own, "trusted=[theirs]", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = summary(folder / "outputs" / "sweep" / "net")
    assert found["states"] == {"complete": 3, "pruned": 0, "fail": 0}
    assert json_to_distribution(found["distributions"]["model.hidden"]) == CategoricalDistribution([8, 24])
    best = yaml.safe_load((folder / "outputs" / "sweep" / "net" / "best.yaml").read_text())
    assert best["optimizer"]["_target_"] == "theirs.SignSGD"
    refused = verb(folder, "sweep", *own, path=str(tmp_path))
    assert refused.returncode == 1
    assert "theirs.Net is outside the trusted packages" in refused.stderr
