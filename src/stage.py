"""What every stage shares: a Hydra command line, errors in one sentence, and a lock so that no stage runs twice at once."""

import inspect
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from src.errors import UserError

ROOT = Path(__file__).parent.parent


class Stopped(BaseException):
    """A signal asked the stage to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def stage(
    main: Callable[[Any], None], components: bool = True, workers: bool = False, several: Sequence[str] = ()
) -> Callable[[], None]:
    """Make `main(config)` a verb: `python -m src.<verb> [Hydra overrides]`.

    `components`: whether it uses any; one that does not need not import them to check their options.
    `workers`: whether it trains on worker processes, which can get ready while it reads its config.
    `several`: the groups of which it can use more than one option (`combiner=[average,greedy]`).
    """

    def run() -> None:
        if workers and not any(word.startswith("-") for word in sys.argv[1:]):
            _prepare_workers()
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        from src.compose import CONF, lenient, register_resolvers, sentence

        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors come here, not to its own printer
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _stop)
        try:
            sys.argv[1:] = [lenient(word) for word in sys.argv[1:]]
            register_resolvers(inspect.getdoc(sys.modules[main.__module__]) or "")
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(
                _task(main, components, several)
            )()
        except UserError as error:
            sys.exit(f"error: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            sys.exit(f"error: {sentence(error)}")
        except Stopped as stopped:
            print(f"stopped by {stopped}; the same command goes on from here", file=sys.stderr)
            sys.exit(128 + stopped.number)
        except BrokenPipeError:  # nobody reads on, as in `--help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return run


def _prepare_workers() -> None:
    """Start the process from which the engine's workers fork: it imports what they need while this one reads its config."""
    from multiprocessing import forkserver

    from src.population import PRELOAD

    multiprocessing.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


def _task(main: Callable[[Any], None], components: bool, several: Sequence[str]) -> Callable[[Any], None]:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    def task(_: Any) -> None:
        from src.config import load

        hydra = HydraConfig.get()
        multirun = hydra.mode is RunMode.MULTIRUN
        if multirun:
            print(f"--- {Path(hydra.runtime.output_dir).name}", flush=True)
            multiprocessing.set_start_method("forkserver", force=True)  # joblib's own is unknown to our workers
        try:
            main(load([*hydra.overrides.hydra, *hydra.overrides.task], components, several))
        except UserError as error:
            if multirun:
                raise  # the other jobs go on
            sys.exit(f"error: {error}")  # past Hydra, which would add a line

    module = sys.modules[main.__module__]
    task.__module__ = module.__spec__.name if module.__spec__ else main.__module__  # names the verb, also under `-m`
    return task


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Stopped(number)


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold `lock` while the stage runs. It falls with the process, however that ends.

    Raises:
        UserError: another process holds it.
    """
    import fcntl

    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise UserError(f"{what} is running already (process {owner}); wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def prepared(config: Any) -> tuple[Path, dict[str, Any]]:
    """The folder of the prepared data and its `meta.json`.

    Raises:
        UserError: the stage `prepare` has not run, or some config of the space cannot be trained on these data.
    """
    import json

    name = config["data"]["name"]
    folder = Path("data/prepared") / name
    if not (folder / "meta.json").exists():
        raise UserError(f"data: {folder} is not prepared; run python -m src.prepare data={name} first")
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    count = config["objective"]["folds"]
    rows = meta["n_train"] - (-(-meta["n_train"] // count) if count > 1 else 0)
    for _, leaf in config.space.leaves():
        _refuse_impossible(leaf.config, meta, rows)
        for key, value, trial in leaf.ends():
            try:
                _refuse_impossible(trial, meta, rows, key)
            except UserError as error:
                raise UserError(f"space.{key}: {value!r} cannot be tried ({error})") from error
    return folder, meta


def _refuse_impossible(trial: Mapping[str, Any], meta: Mapping[str, Any], rows: int, changed: str = "model.") -> None:
    from src.models import build
    from src.population.possible import refuse_impossible

    if trial["batch_size"] > rows:
        whose = "" if rows == meta["n_train"] else " that objective.folds leaves to a member"
        raise UserError(f"batch_size: {trial['batch_size']} is more than the {rows} training rows{whose}")
    if changed.startswith(("model.", "augment.", "regularization.")):
        try:
            refuse_impossible(trial, build(trial["model"], meta), meta)
        except ValueError as error:
            raise UserError(str(error)) from error
