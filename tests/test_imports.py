"""Dependencies point one way, verbs stand at the top, and nothing heavy is imported where `--help` passes."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
FOR_ALL = {"errors", "files"}  # what every noun may use
MAY_USE: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    # leaves: what a person turns, data, models, arithmetic, pictures
    "bilevel": {"population"},
    "combiners": {"metrics"},
    "compose": set(),
    "components": {"compose"},
    "config": {"components", "compose", "schema", "space"},
    "data": {"raw", "tables"},
    "diagnosis": set(),
    "metrics": set(),
    "models": set(),
    "optim": set(),
    "pareto": {"plots"},
    "plots": set(),
    "range_plots": {"plots"},
    "ensemble_plots": {"plots"},
    "range_test": set(),
    "rate_prior": {"space"},
    "raw": {"tables"},
    "schema": set(),
    "space": set(),
    "tables": set(),
    # the study knows no engine, the engine no study
    "foreign": set(),
    "history": set(),
    "timetable": {"history"},
    "objectives": {"history"},
    "journal": set(),
    "rdb": set(),
    "study": {"history", "journal", "rdb"},
    "search": {"diagnosis", "history", "space"},
    "progress": {"history"},
    "population": {"components", "data", "metrics", "models", "optim"},
    "members": {"components", "models", "optim", "population"},
    "fused": {"models", "population"},
    "product": set(),
    "portable": {"product"},
    "pool": {"models", "population"},
    "judging": {"metrics"},
    "contest": {"combiners", "members", "pool"},
    "verdict": {"combiners", "contest", "judging", "metrics", "pool"},
    "serving": {"combiners", "data", "fused", "models", "product"},
    "tracking": {"serving"},
    # where they meet
    "loop": {"history", "objectives", "population", "search", "space", "study", "timetable"},
    "lineage": {"history", "study"},
    "exports": {"diagnosis", "history", "lineage", "objectives", "population", "space", "study"},
    "records": {"diagnosis", "history", "population", "serving", "space", "study", "tracking"},
    "comparison": {"plots"},
    "choices": {"plots"},
    "remedies": {"diagnosis", "plots"},
    "results": {"diagnosis", "plots", "remedies"},
    "pages": {"choices", "comparison", "ensemble_plots", "pareto", "plots", "range_plots", "remedies", "results"},
    "warm_start": {"history", "space", "stage", "study"},
    "stage": {"compose", "config", "models", "population"},
}
HEAVY = {"torch", "mlflow", "sklearn", "pandas", "optuna", "scipy", "matplotlib", "plotly", "pyarrow", "skops"}


def files() -> list[Path]:
    return sorted(path for path in SRC.rglob("*.py") if path.name != "__init__.py" or path.parent != SRC)


def noun(path: Path) -> str:
    """The file or folder right below `src`."""
    return path.relative_to(SRC).with_suffix("").parts[0]


def verbs() -> set[str]:
    return {noun(path) for path in files() if '__name__ == "__main__"' in path.read_text()}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or anywhere inside, for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            yield from (f"src.{alias.name}" for alias in node.names) if node.module == "src" else [node.module]


def uses(path: Path) -> set[str]:
    """The other nouns and verbs that a file imports."""
    found = {name.split(".")[1] for name in imported(path) if name.startswith("src.")}
    return found - {noun(path)}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SRC)))
def test_a_noun_uses_only_what_stands_below_it(path: Path) -> None:
    assert not uses(path) & verbs(), "nothing imports a verb"
    if noun(path) not in verbs():
        assert noun(path) in MAY_USE, "a new noun: say in this test what it may use"
        assert uses(path) <= MAY_USE[noun(path)] | FOR_ALL


def test_dependencies_point_one_way() -> None:
    order = set(TopologicalSorter(MAY_USE).static_order())  # refuses a circle
    assert {noun(path) for path in files()} - verbs() <= order


def test_only_tracking_imports_mlflow() -> None:
    users = {noun(path) for path in files() if any(name.split(".")[0] == "mlflow" for name in imported(path))}
    assert users == {"tracking"}


def test_there_is_no_drawer_of_leftovers() -> None:
    assert not {noun(path) for path in files()} & {"utils", "helpers", "common", "base", "misc"}
    assert all(len(path.read_text().splitlines()) <= 400 for path in files())


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


@pytest.mark.parametrize("verb", sorted({"diagnose"} | {v for v in verbs() if "stage" in uses(SRC / f"{v}.py")}))
def test_help_imports_nothing_heavy(verb: str, tmp_path: Path) -> None:
    assert not loaded(["-m", f"src.{verb}", "--help"], tmp_path) & HEAVY


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("src.history, src.timetable", {"torch", "mlflow", "optuna", "numpy"}),
        ("src.study, src.search.tpe, src.search.grid", {"torch", "mlflow", "sklearn", "pandas"}),
        ("src.loop, src.population.worker", {"mlflow", "sklearn", "pandas", "matplotlib"}),
        ("src.tracking, src.tracking.writer", {"torch", "mlflow", "optuna", "numpy"}),
    ],
)
def test_who_knows_what_when_it_is_imported(modules: str, without: set[str], tmp_path: Path) -> None:
    assert not loaded(["-c", f"import {modules}"], tmp_path) & without
