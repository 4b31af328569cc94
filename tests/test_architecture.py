"""Verbs stand at the top, rooms use only the rooms of their row, no files form a circle, `--help` imports little."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
VERBS = {"prepare", "lr_range", "sweep", "train", "ensemble", "report", "diagnose", "show"}
ROOMS: dict[str, set[str]] = {  # a room and the rooms that it may use
    "system": set(),
    "metrics": {"system"},
    "optim": {"system"},
    "config": {"system"},
    "data": {"config", "system"},
    "diagnosis": {"system"},
    "tracking": {"system"},
    "models": {"config", "system"},
    "study": {"config", "system"},
    "reporting": {"diagnosis", "metrics", "system"},
    "population": {"metrics", "models", "optim", "system"},
    "bilevel": {"models", "optim", "population", "system"},
    "search": {"config", "diagnosis", "study", "system"},
    "engine": {"bilevel", "config", "data", "metrics", "models", "optim", "population", "system"},
    "cluster": {"config", "data", "engine", "population", "system"},
    "ensembles": {
        "cluster",
        "config",
        "data",
        "engine",
        "metrics",
        "models",
        "optim",
        "population",
        "system",
        "tracking",
    },
    "baselines": {"data", "ensembles", "metrics", "system"},
    "serving": {"data", "ensembles", "metrics", "models", "population", "system", "tracking"},
    "sweeps": {
        "bilevel",
        "cluster",
        "config",
        "data",
        "diagnosis",
        "engine",
        "metrics",
        "population",
        "search",
        "serving",
        "study",
        "system",
        "tracking",
    },
}
OPTIONS = {  # a config group and the folder that holds its options, one a file
    "model": "models/architectures",
    "optimizer": "optim/optimizers",
    "schedule": "optim/schedules",
    "search": "search/strategies",
    "members": "ensembles/members",
    "combiner": "ensembles/combiners",
    "executor": "cluster/executors",
}
HEAVY = {"torch", "mlflow", "sklearn", "pandas", "optuna", "scipy", "matplotlib", "plotly", "pyarrow", "skops"}


def files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in files()}


def room(path: Path) -> str:
    """The folder right below `src`; "" for a verb."""
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or anywhere inside, for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def imported_files(path: Path) -> set[Path]:
    """The files of the project that a file imports."""
    return {MODULES[name] for name in imported(path) if name in MODULES} - {path}


def test_verbs_stand_at_the_top_and_nothing_else() -> None:
    assert {path.stem for path in SRC.glob("*.py")} - {"__init__"} == VERBS
    assert {path.name for path in SRC.iterdir() if path.is_dir()} - {"__pycache__"} == ROOMS.keys()


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SRC)))
def test_a_room_uses_only_the_rooms_of_its_row(path: Path) -> None:
    used = {room(other) for other in imported_files(path) if other != SRC / "__init__.py"}
    assert "" not in used, "nothing imports a verb"
    if room(path):
        assert used <= ROOMS[room(path)] | {room(path)}


def test_rooms_and_files_form_no_circle() -> None:
    """The sorter refuses a circle."""
    list(TopologicalSorter(ROOMS).static_order())
    list(TopologicalSorter({path: imported_files(path) for path in files()}).static_order())


def reachable(start: str) -> set[str]:
    """All rooms that a room may use, directly or through others."""
    return ROOMS[start] | {room for other in ROOMS[start] for room in reachable(other)}


def diagram() -> str:
    """The rooms as a Mermaid diagram; an arrow that a way over other rooms replaces is left out."""
    lines = ["graph TD"]
    tops = ROOMS.keys() - {other for others in ROOMS.values() for other in others}
    arrows = {"verbs": tops, **{name: others - set().union(*map(reachable, others)) for name, others in ROOMS.items()}}
    lines += [f"    {name} --> {other}" for name, others in arrows.items() for other in sorted(others)]
    return "\n".join(["```mermaid", *lines, "```"])


def test_the_picture_of_the_rooms_is_that_of_the_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert diagram() in text, f"docs/architecture.md needs:\n{diagram()}"
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == ROOMS.keys()


def test_the_page_on_the_architecture_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|conf|tests|data|docs)/[\w./]+)`", text)
    assert named
    tracked = {"data/prepared"}  # and what stages write
    assert [path for path in named if not (ROOT / path).exists() and not path.startswith(tuple(tracked))] == []


@pytest.mark.parametrize(("group", "folder"), OPTIONS.items())
def test_a_folder_of_options_holds_those_of_its_config_group(group: str, folder: str) -> None:
    """A model that only others are made of, or that a combination of keys makes, has no YAML; a YAML may name a class."""
    there = {path.stem for path in (SRC / folder).glob("*.py")} - {"__init__"}
    named = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml") if "_target_" not in path.read_text()}
    assert named <= there
    assert there - named <= {"additive", "tabm"}


def test_only_tracking_imports_mlflow() -> None:
    users = {room(path) for path in files() if any(name.split(".")[0] == "mlflow" for name in imported(path))}
    assert users == {"tracking"}


# Who reads text keys of a variable `config`, `best`, `trial` or `meta`, and how often at most: the command's own `Config`,
# the composition of configs, the sections of options, and the JSON and YAML of files where they are read.
TEXT_KEYS = {
    "config/command_line.py": 3,
    "config/loading.py": 10,
    "config/space.py": 1,
    "data/prepared.py": 1,
    "cluster/opening.py": 5,
    "engine/compatibility.py": 3,
    "ensembles/final_members.py": 7,
    "ensembles/members/top.py": 6,
    "reporting/results.py": 7,
    "sweeps/exports.py": 1,
    "sweeps/opening.py": 46,
    "sweeps/run_records.py": 4,
    "system/fingerprint.py": 1,
}


def test_rooms_pass_configs_of_trials_and_metas_of_data_by_their_types() -> None:
    """As `TrialConfig` and `DataMeta`, whose fields mypy knows; a text key is known to nobody before it is read."""
    read = re.compile(r"""\b_?(?:meta|config|best|trial)(?:\[|\.get\()["']""")
    counts = {
        path.relative_to(SRC).as_posix(): len(read.findall(path.read_text(encoding="utf-8")))
        for path in files()
        if room(path)
    }
    assert {name: count for name, count in counts.items() if count > TEXT_KEYS.get(name, 0)} == {}
    assert all(counts[name] for name in TEXT_KEYS), "drop those who read none any more"


def test_there_is_no_drawer_of_leftovers_and_no_long_file() -> None:
    assert not {path.stem for path in files()} & {"utils", "helpers", "common", "base", "misc"}
    assert not [path for path in files() if len(path.read_text().splitlines()) > 400]


def loaded(code: list[str], cwd: Path) -> set[str]:
    """The packages that a Python process has imported by its end."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *code],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.split(".")[0] for line in lines}


@pytest.mark.parametrize("verb", sorted(VERBS - {"show"}))
def test_help_imports_nothing_heavy(verb: str, tmp_path: Path) -> None:
    assert not loaded(["-m", f"src.{verb}", "--help"], tmp_path) & HEAVY


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("src.study.history, src.study.timetable", {"torch", "mlflow", "optuna", "numpy"}),
        (
            "src.study.study, src.search.strategies.tpe, src.search.strategies.grid",
            {"torch", "mlflow", "sklearn", "pandas"},
        ),
        ("src.sweeps.loop, src.engine.worker", {"mlflow", "sklearn", "pandas", "matplotlib"}),
        ("src.sweeps.opening, src.sweeps.exports", {"mlflow", "sklearn", "pandas", "scipy", "matplotlib"}),
        ("src.tracking.tracker, src.tracking.writer", {"torch", "mlflow", "optuna", "numpy"}),
        ("src.reporting.page", {"torch", "mlflow"}),
    ],
)
def test_who_knows_what_when_it_is_imported(modules: str, without: set[str], tmp_path: Path) -> None:
    assert not loaded(["-c", f"import {modules}"], tmp_path) & without


def test_text_is_read_and_written_as_utf_8_whatever_the_locale() -> None:
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("read_text", "write_text"):
                said = any(word.arg == "encoding" for word in node.keywords)
                assert said or len(node.args) == 1 + (node.func.attr == "write_text"), f"{path}:{node.lineno}"  # type: ignore[attr-defined]
