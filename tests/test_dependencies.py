"""What a stage depends on: `dvc.yaml`, the fingerprints of studies and members, the imports and `conf/` say the same."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from src.config.compose import register_resolvers
from src.system.fingerprint import FINAL_MEMBER, TRAINING, TRIAL
from tests.test_architecture import OPTIONS, ROOT, SRC, files, imported_files

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
MAKES = {  # the groups whose options a stage makes by name
    "lr_range": ("model", "optimizer", "schedule"),
    "sweep": ("model", "optimizer", "schedule", "search", "executor"),
    "train": ("model", "optimizer", "schedule", "members", "executor"),
    "ensemble": ("model", "combiner"),
}
# What Hydra composes and a stage does not read: the arrays stand for the data, best.yaml and the weights for the rest.
TRAINS = {"model", "optimizer", "schedule", "training", "search"}
WHERE = {"hydra", "executor"}  # how and where a stage runs: nothing that it writes follows from it
UNREAD = {
    "prepare": TRAINS | {"members", "combiner", "config.yaml"},
    "lr_range": {"data", "search", "members", "combiner"},
    "sweep": {"data", "members", "combiner"},
    "train": TRAINS | {"data", "combiner"},
    "ensemble": TRAINS | {"data", "members"},
    "report": TRAINS | {"data", "members", "combiner"},
}
# What a training imports although no number comes from it: files and their locks, workers elsewhere, the storage of a study,
# the reading of raw rows and of a command line, of which the results (arrays, config, space) are in a study's fingerprint
# themselves.
IDLE = (
    *("cluster", "system", "data", "config/compose.py", "config/command_line.py", "study/study.py", "study/storage.py"),
    *("study/journal.py", "study/database.py", "study/identity.py", "study/records.py", "study/writer.py"),
    *("config/data_defaults.py", "config/data_only.py", "config/params.py", "config/quoting.py"),
    *("config/flags.py", "config/secrets.py"),
)
JUDGES = ("ensembles/final_members.py",)  # after a member is trained


@cache
def imports(path: Path) -> frozenset[Path]:
    """The files that one file imports, and the `__init__.py` of their folders, unless they are empty."""
    direct = imported_files(path)
    packages = {parent / "__init__.py" for file in direct for parent in file.parents if SRC in parent.parents}
    return frozenset(file for file in direct | packages if file.exists() and file.stat().st_size)


def closure(start: Iterable[Path]) -> set[Path]:
    """All files that `start` imports, directly or not, and itself."""
    reached, waiting = set[Path](), list(start)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += imports(path)
    return reached


def options(*groups: str) -> list[Path]:
    return [path for group in groups for path in (SRC / OPTIONS[group]).glob("*.py") if path.stat().st_size]


def covered(path: Path, table: Iterable[str], root: Path = SRC) -> bool:
    """Whether a file is in a table of files and folders."""
    name = path.relative_to(root).as_posix()
    return any(name == entry or name.startswith(f"{entry}/") for entry in table)


def uncovered(paths: Iterable[Path], table: Iterable[str], root: Path = SRC) -> list[str]:
    table = list(table)
    return sorted(path.relative_to(root).as_posix() for path in paths if not covered(path, table, root))


def deps(stage: str, top: str) -> list[str]:
    """The dependencies of a stage below a folder, for the first model and the other choices of `params.yaml`."""
    texts = [filled(text) for text in STAGES[stage]["deps"]]
    return [text for text in texts if text.startswith(f"{top}/")]


def filled(text: str) -> str:
    """A text of `dvc.yaml` with the values of `params.yaml`."""
    values = PARAMS | {"item.model": PARAMS["models"][0]}
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(values[match[1]]), text)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports_and_on_no_other(stage: str) -> None:
    code = closure([SRC / f"{stage}.py", *options(*MAKES.get(stage, ()))])
    assert uncovered(code, deps(stage, "src"), ROOT) == [], "add these to its deps"
    idle = [entry for entry in deps(stage, "src") if not any(covered(path, [entry], ROOT) for path in code)]
    assert idle == [], "drop these from its deps"


def composed(stage: str) -> set[str]:
    """The files under `conf/` that Hydra reads for the command of a stage."""
    register_resolvers()
    words = filled(STAGES[stage]["cmd"][-1]).split()[3:]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra
        loader: Any = hydra.config_loader
        groups = [word for word in words if (ROOT / "conf" / word.partition("=")[0]).is_dir()]
        tree = loader.compute_defaults_list("config", groups, RunMode.RUN)
    paths = {f"{each.config_path}.yaml" for each in tree.defaults if each.config_path}
    return {path for path in paths if (ROOT / "conf" / path).exists()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_configs_that_it_composes(stage: str) -> None:
    read = {path for path in composed(stage) if path.split("/")[0] not in UNREAD[stage] | WHERE}
    assert uncovered((ROOT / "conf" / path for path in read), deps(stage, "conf"), ROOT) == []


@pytest.mark.parametrize("stage", ["lr_range", "sweep"])
def test_a_stage_of_a_supernet_depends_on_the_configs_of_the_nets_that_it_derives(stage: str) -> None:
    darts = yaml.safe_load((ROOT / "conf" / "training" / "darts.yaml").read_text(encoding="utf-8"))["training"]["darts"]
    read = [ROOT / "conf" / "training" / "darts.yaml"]
    read += [ROOT / "conf" / "model" / f"{name}.yaml" for name in darts["derived"].values()]
    assert uncovered(read, deps(stage, "conf"), ROOT) == []


def test_the_fingerprint_of_a_study_knows_all_code_that_computes_its_numbers() -> None:
    start = [SRC / "sweeps" / "loop.py", SRC / "engine" / "worker.py"]
    code = closure([*start, *options("model", "optimizer", "schedule", "search")])
    assert uncovered(code, (*TRIAL, *IDLE)) == []


def test_the_fingerprint_of_a_final_member_knows_all_code_that_computes_its_numbers() -> None:
    start = [SRC / "ensembles" / "final_members.py", SRC / "engine" / "worker.py"]
    code = closure([*start, *options("model", "optimizer", "schedule", "members")])
    assert uncovered(code, (*FINAL_MEMBER, *IDLE, *JUDGES)) == []


@pytest.mark.parametrize("table", [TRIAL, FINAL_MEMBER])
def test_a_fingerprint_names_only_code_that_its_stage_depends_on(table: tuple[str, ...]) -> None:
    """So an edit that makes a study another one reruns the stage, and an edit of a plot or of the tracking does neither."""
    stage = "sweep" if table is TRIAL else "train"
    named = [path for path in files() if covered(path, table)]
    assert uncovered(named, deps(stage, "src"), ROOT) == []
    assert all((SRC / entry).exists() for entry in table)
    assert set(TRAINING) <= set(table)
    assert not {entry.split("/")[0] for entry in table} & {"reporting", "serving", "system", "tracking"}


def test_an_edit_of_a_plot_reruns_the_report_alone() -> None:
    plots = SRC / "reporting" / "plots.py"
    assert [stage for stage in STAGES if covered(plots, deps(stage, "src"), ROOT)] == ["report"]
