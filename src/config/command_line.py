"""The frame of every stage: a Hydra command line, errors in one sentence, and an end that a signal asks for."""

import errno
import inspect
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from src.system.errors import UserError, printable

ROOT = Path(__file__).parents[2]
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # by a disk or its owner: no bug of ours


class Stopped(BaseException):
    """A signal asked the stage to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def stage(
    main: Callable[[Any], None],
    components: bool = True,
    preload: Sequence[str] = (),
    several: Sequence[str] = (),
    output: str = "",
) -> Callable[[], None]:
    """Make `main(config)` a verb: `python -m src.<verb> [Hydra overrides]`.

    Args:
        main: the stage.
        components: whether it uses any; one that does not need not import them to check their options.
        preload: the modules that its worker processes need, which can import them while it reads its config.
        several: the groups of which it can use more than one option (`combiner=[average,greedy]`).
        output: the folder below `outputs` that it writes, `{model}` in it being the model's name: one writes at a time.
    """

    def run() -> None:
        if preload and not any(word.startswith("-") for word in sys.argv[1:]):
            _prepare_workers(preload)
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        from src.config import data_only
        from src.config.compose import CONF, register_resolvers, sentence, with_force_add
        from src.config.flags import flags_and_overrides

        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors come here, not to its own printer
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _stop)
        data_only.install()
        try:
            flags, overrides = flags_and_overrides(sys.argv[1:])
            sys.argv[1:] = [*flags, *map(with_force_add, overrides)]
            register_resolvers(inspect.getdoc(sys.modules[main.__module__]) or "")
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(
                _task(main, components, several, output)
            )()
        except UserError as error:
            sys.exit(f"error: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            sys.exit(f"error: {printable(sentence(error))}")
        except Stopped as stopped:
            print(f"stopped by {stopped}; the same command goes on from here", file=sys.stderr)
            sys.exit(128 + stopped.number)
        except BrokenPipeError:  # nobody reads on, as in `--help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return run


def _prepare_workers(preload: Sequence[str]) -> None:
    """Start the process from which the engine's workers fork: it imports what they need while this one reads its config."""
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload(list(preload))
    forkserver.ensure_running()


def _task(main: Callable[[Any], None], components: bool, several: Sequence[str], output: str) -> Callable[[Any], None]:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    def task(_: Any) -> None:
        from src.config.loading import load

        hydra = HydraConfig.get()
        multirun = hydra.mode is RunMode.MULTIRUN
        if multirun:
            print(f"--- {Path(hydra.runtime.output_dir).name}", flush=True)
            multiprocessing.set_start_method("forkserver", force=True)  # joblib's own is unknown to our workers
        try:
            config = load([*hydra.overrides.hydra, *hydra.overrides.task], components, several)
            with _locked(config, output):
                main(config)
        except UserError as error:
            if multirun:
                raise  # the other jobs go on
            sys.exit(f"error: {error}")  # past Hydra, which would add a line
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            sys.exit(
                f"error: {printable(str(error))}; free the disk or allow it, and the same command goes on from here"
            )

    module = sys.modules[main.__module__]
    task.__module__ = module.__spec__.name if module.__spec__ else main.__module__  # names the verb, also under `-m`
    return task


def _locked(config: Any, output: str) -> AbstractContextManager[None]:
    """The lock of a stage on the folder that it writes.

    A stage that lost its parent goes on by itself: whoever starts another meanwhile is told so.
    """
    from src.system.locks import exclusive, output_lock

    if not output:
        return nullcontext()
    out = Path(config["outputs"]) / output.format(model=config["model"]["name"])
    return exclusive(output_lock(Path(config["study"]["root"]), out), f"{output.partition('/')[0]} into {out}")


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Stopped(number)
