"""`-m`: a choice (`model=mlp,cnn`) makes one job each, an interval becomes a dimension of the space of every job.

    python -m src.sweep -m model=mlp,cnn search=random,tpe 'optimizer.lr=tag(log, interval(1e-4, 1e-1))'

Jobs share the live studies, but each has a folder of its own for what it leaves behind. One that fails lets the others
finish; it is listed at the end, and the exit code is 1.
"""

import itertools
import json
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf, read_write

from src.config.compose import is_group, options_of, sentence, with_force_add
from src.system.errors import UserError, masked, require_one_of
from src.system.files import write_text
from src.system.read_back import read_json

READS_OUTPUTS = ("train", "ensemble", "report")  # verbs whose jobs go on from what others have left in `outputs`
PARAMS = "hydra.sweeper.params"
LONGEST = 150  # characters of a folder's name
MOST_JOBS = 1000


@dataclass(frozen=True)
class Job:
    """A command line, named after what distinguishes it from the others: its choices."""

    name: str
    words: list[str]
    choices: list[str]


class LockstepSweeper(basic_sweeper.BasicSweeper):
    """Makes the jobs, has the launcher run them, and tells how they ended."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs of a command line.

        Raises:
            UserError: there are none or too many, they may not be told apart, or some have failed.
        """
        assert self.config is not None
        assert self.launcher is not None
        overrides = self._overrides(arguments)
        own_outputs = self.config.hydra.job.name not in READS_OUTPUTS
        if own_outputs and any(override.key_or_group == "outputs" for override in overrides):
            raise UserError("outputs: each job of a multirun has its own; choose where they stand by hydra.sweep.dir")
        refuse_number(overrides)
        jobs = named(combinations(overrides))
        folder = own_folder(Path(self.config.hydra.sweep.dir), self._chosen("hydra.sweep.dir"))
        with read_write(self.config.hydra):
            self.config.hydra.sweep.dir = str(folder)
        write_text(folder / "multirun.yaml", masked(OmegaConf.to_yaml(self.config)))
        batch = [[*job.words, *_place(job.name, folder, own_outputs)] for job in jobs]
        self.validate_batch_is_legal(batch)
        returns: list[JobReturn] = []
        size = self.max_batch_size or len(batch)
        for start in range(0, len(batch), size):
            returns += self.launcher.launch(batch[start : start + size], initial_job_idx=start)
        report(folder, jobs, returns)
        return returns

    def _overrides(self, arguments: Sequence[str]) -> list[Override]:
        """Parse the command line, and `hydra.sweeper.params` where it sweeps nothing itself or sets these."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(list(arguments))
        bare = not any(override.is_sweep_override() for override in overrides)
        params = [
            with_force_add(f"{key}={value}")
            for key, value in _flat(self.params)
            if bare or self._chosen(f"{PARAMS}.{key}")
        ]
        set_already = {override.key_or_group for override in overrides}
        return [*(o for o in parser.parse_overrides(params) if o.key_or_group not in set_already), *overrides]

    def _chosen(self, key: str) -> bool:
        """Tell whether the command line sets this key of Hydra's."""
        assert self.config is not None
        return any(word.lstrip("+").startswith(f"{key}=") for word in self.config.hydra.overrides.hydra)


def refuse_number(overrides: Sequence[Override]) -> None:
    """Refuse a multirun without jobs or with too many, before any is made.

    Raises:
        UserError: it names the choice that matches nothing, or how many jobs there would be.
    """
    jobs = 1
    for override in overrides:
        word = str(override.input_line).lstrip("+")
        if override.is_discrete_sweep():
            options = list(itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1))
            if not options:
                key = override.key_or_group
                if is_group(key):
                    raise UserError(f"{key}: {word} matches none of {', '.join(options_of(key))}")
                raise UserError(f"{key}: {word} stands for no value; list some, as in -m {key}=1,2")
            jobs *= len(options)
            if jobs > MOST_JOBS:
                text = f"makes more than {MOST_JOBS} jobs, each with a folder of its own"
                raise UserError(f"{override.key_or_group}: {word} {text}; search it, as an interval does")


# --- jobs --------------------------------------------------------------------------------------------------------------


def combinations(overrides: Sequence[Override]) -> Iterator[tuple[list[str], list[str]]]:
    """For each combination of the choices: these, and the whole command line."""
    alternatives = [_alternatives(override) for override in overrides]
    several = [override.is_discrete_sweep() for override in overrides]
    for words in itertools.product(*alternatives):
        yield list(itertools.compress(words, several)), list(words)


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, node in tree.items():
        if isinstance(node, Mapping):
            yield from _flat(node, f"{path}{name}.")
        else:
            yield f"{path}{name}", node


def _alternatives(override: Override) -> list[str]:
    if override.is_discrete_sweep():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if override.is_interval_sweep():
        return [dimension(override)]
    return [str(override.input_line)]


def dimension(override: Override) -> str:
    """Write an interval as an entry of the space: its bounds and scale, without the step of the default.

    As in Hydra's sweeper for Optuna it is linear unless tagged `log`, and of whole numbers if cast or tagged `int`; else
    the type of the entry that is there stays.

    Raises:
        UserError: its key chooses from a config group, or a tag is unknown.
    """
    key, interval = override.key_or_group, override.value()
    assert isinstance(interval, IntervalSweep)
    if is_group(key):
        raise UserError(f"{key}: an interval is for a key with a number; choose from {', '.join(options_of(key))}")
    for tag in interval.tags:
        require_one_of(f"{key}, tag", tag, ["log", "int"])
    entry: dict[str, Any] = {"low": interval.start, "high": interval.end, "log": "log" in interval.tags, "step": None}
    if isinstance(interval.start, int) or "int" in interval.tags:
        entry["type"] = "int"
    fields = ",".join(f"{name}:{json.dumps(value)}" for name, value in entry.items())
    return f"++space.{key}={{{fields}}}".replace('"', "")


def named(combined: Iterator[tuple[list[str], list[str]]]) -> list[Job]:
    """Jobs whose names are fit for folders and differ from each other."""
    jobs: list[Job] = []
    for choices, words in combined:
        name = masked(",".join(word.lstrip("+") for word in choices)) or "sweep"
        name = re.sub(r"[^\w=,.\[\]-]+", "-", name)[:LONGEST]
        taken = any(job.name.lower() == name.lower() for job in jobs)
        jobs.append(Job(f"{name}-{len(jobs)}" if taken else name, words, choices))
    return jobs


def own_folder(path: Path, chosen: bool) -> Path:
    """`path` itself if a person chose it, else it or the next that no other multirun of the same second has."""
    for number in itertools.count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}_{number}")
        try:
            folder.mkdir(parents=True, exist_ok=chosen)
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def _place(name: str, folder: Path, own_outputs: bool) -> list[str]:
    places = {"hydra.sweep.dir": folder, "hydra.sweep.subdir": name}
    if own_outputs:
        places["++outputs"] = folder / name
    return [f"{key}={QuotedString(str(value), Quote.single).with_quotes()}" for key, value in places.items()]


# --- how they ended ----------------------------------------------------------------------------------------------------


def report(folder: Path, jobs: Sequence[Job], returns: Sequence[JobReturn]) -> None:
    """Print a line a job.

    Args:
        folder: of the multirun.
        jobs: all of them.
        returns: what became of each, in the same order.

    Raises:
        UserError: some have failed; it lists them.
    """
    errors = [
        None if r.status is JobStatus.COMPLETED else r._return_value or UserError("it did not end") for r in returns
    ]
    outcomes = [{} if error else results(folder / job.name) for job, error in zip(jobs, errors, strict=True)]
    metric = next((one["metric"] for one in outcomes if one), "best")
    rows = [("job", metric, "trials", "seconds")]
    rows += [_row(job.name, one, bool(error)) for job, one, error in zip(jobs, outcomes, errors, strict=True)]
    width = max(len(row[0]) for row in rows)
    print()
    for row in rows:
        print((f"{row[0]:<{width}}" + "".join(f"  {cell:>12}" for cell in row[1:])).rstrip())
    compare(folder, [job for job, error in zip(jobs, errors, strict=True) if not error])
    print(f"\nin {folder}")
    failed = {job.name: error for job, error in zip(jobs, errors, strict=True) if error}
    for error in failed.values():
        if not isinstance(error, UserError):
            traceback.print_exception(error)
    if failed:
        lines = [f"  {name}: {sentence(error)}" for name, error in failed.items()]
        raise UserError("\n".join([f"{len(failed)} of {len(jobs)} jobs failed", *lines]))


def compare(folder: Path, jobs: Sequence[Job]) -> None:
    """Sweeps that differ in more than their seeds, on the same data: a table, and `comparison.{csv,json,png}`."""
    from src.reporting import comparison  # at the end alone: it brings NumPy

    names = comparison.strategies([job.choices for job in jobs])
    runs = [run for job, name in zip(jobs, names, strict=True) for run in comparison.read(folder / job.name, name)]
    on_other_data = any(word.lstrip("+").startswith("data") for job in jobs for word in job.choices)
    if len({run.strategy for run in runs}) < 2 or on_other_data:
        return
    comparison.write(folder, runs)
    rows = comparison.table(runs)
    width = max(len(row["strategy"]) for row in rows)
    print(f"\n{'strategy':<{width}}  {'best ' + runs[0].metric + ' [quartiles]':>28}  {'epochs':>8}  {'seconds':>8}")
    for row in rows:
        value = "{best_median:.4f} [{best_q1:.4f}, {best_q3:.4f}]".format(**row)
        print(f"{row['strategy']:<{width}}  {value:>28}  {row['epochs']:>8.0f}  {row['wall_s']:>8.1f}")


def results(folder: Path) -> dict[str, Any]:
    """Read what a sweep has left in its folder; nothing if it was another verb's."""
    content: dict[str, Any] = {}
    for path in folder.glob("sweep/*/*.json"):
        if path.name in ("summary.json", "timing.json"):
            content |= read_json(path, "run the sweep again")
    return content


def _row(name: str, outcome: Mapping[str, Any], failed: bool) -> tuple[str, str, str, str]:
    if not outcome:
        return name, "failed" if failed else "done", "", ""
    return name, f"{outcome['best_value']:.4f}", str(outcome["n_trials"]), f"{outcome['wall_s']:.1f}"
