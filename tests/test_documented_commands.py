"""Every command that the README and the pages of `docs/` print is one that runs: stages, DVC, make and MLflow."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.lockstep_sweeper.sweeper import combinations, refuse_number
from src.config.compose import CONF, with_force_add
from src.config.loading import load
from tests.support.running import ROOT, Place

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SEVERAL = {"train": ("members",), "ensemble": ("combiner",)}  # of which groups a verb takes more than one option
EXAMPLES = ("combiner=[average,best]",)  # with an option that the page has its reader write
SMALL = ("n_trials=2", "epochs=1", "workers=1")  # put behind a printed command, so that it ends soon


def commands() -> list[str]:
    """All commands of the pages, in blocks and between backticks, without comments; `digits` stands for each `<…>`."""
    found: list[str] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        found += [line for kind, block in blocks if kind in ("sh", "") for line in block.splitlines()]
        found += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    lines = [re.sub("<[^>]*>", "digits", re.split(" +#", line)[0].strip()) for line in found]
    return list(dict.fromkeys(line for line in lines if not any(example in line for example in EXAMPLES)))


def of(start: str) -> list[str]:
    return [line for line in commands() if line.startswith(start)]


STAGES = [
    line for line in of("python -m src.") if re.search(r"src\.(prepare|lr_range|sweep|train|ensemble|report)\b", line)
]


def jobs(verb: str, line: str) -> list[list[str]]:
    """The overrides of a command line, of every job that it makes."""
    words = [with_force_add(word) for word in shlex.split(line) if word not in ("--cfg", "job", "--resolve")]
    if "-m" not in words:
        return [words]
    words.remove("-m")
    parsed = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(words)
    refuse_number(parsed)
    return [words for _, words in combinations(parsed)]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def test_there_are_some() -> None:
    assert len(STAGES) >= 25
    assert len([line for line in STAGES if " -m " in line[12:]]) >= 3
    assert len(of("dvc ")) >= 5
    assert of("make ")
    assert of("mlflow ")


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("command", STAGES)
def test_a_stage_understands_its_command(command: str) -> None:
    _, verb, line = re.split(r"python -m src\.(\w+) ?", command)
    for words in jobs(verb, line):
        assert load(words, components="dask_jobqueue" not in line, several=SEVERAL.get(verb, ()))


@pytest.mark.parametrize("command", of("dvc "))
def test_dvc_understands_its_command(command: str) -> None:
    from dvc.cli import parse_args

    arguments = parse_args(shlex.split(command)[1:])
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for word in getattr(arguments, "set_param", None) or ():
        assert word.partition("=")[0] in params


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("command", of("dvc exp run -S"))
def test_the_stages_of_an_experiment_understand_their_commands(command: str) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    changed = dict(word.split("=") for word in shlex.split(command) if "=" in word)
    params |= {key: yaml.safe_load(value.replace("…", "64")) for key, value in changed.items()}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for verb, stage in stages.items():
        for model in params["models"] if "matrix" in stage else [None]:
            line = stage["cmd"][1]
            for name, value in (params | {"item.model": model}).items():
                line = line.replace(f"${{{name}}}", str(value))
            _, _, words = line.partition(f"src.{verb} ")
            assert load(jobs(verb, words)[0], several=SEVERAL.get(verb, ()))


@pytest.mark.parametrize("command", of("make "))
def test_make_has_the_target(command: str) -> None:
    line = ["make", "-n", "-C", str(ROOT), command.split()[1], "-o", ".venv/ready"]
    assert subprocess.run(line, capture_output=True).returncode == 0


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
@pytest.mark.parametrize("command", of("mlflow "))
def test_mlflow_understands_its_command(command: str) -> None:
    from mlflow.cli import cli

    _, *words = shlex.split(command)
    with cli.make_context("mlflow", words[:1], resilient_parsing=True) as context:
        group = cli.get_command(context, words[0])
        assert group
        if len(words) > 2:
            subcommand = group.get_command(context, words[1])
            subcommand.make_context(words[1], words[2:])


@pytest.mark.parametrize("command", of("python benchmarks/"))
def test_the_script_is_there(command: str) -> None:
    assert (ROOT / command.split()[1]).is_file()


def test_what_pip_is_told_to_install_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for line in of("pip install") for extra in re.findall(r"\.\[(\w+)\]", line)}
    assert named
    assert named <= set(extras)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [line for line in STAGES if line in (ROOT / "README.md").read_text() and "sweep " in line]
)
def test_a_sweep_of_the_readme_runs(command: str, prepared: Path, tmp_path: Path) -> None:
    _, _, line = command.partition("src.sweep ")
    Place(tmp_path, prepared).run(*shlex.split(line), *SMALL)
