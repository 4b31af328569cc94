"""What every stage shares: a Hydra command line, errors in one sentence, and a lock so that no stage runs twice at once."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
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


def stage(main: Callable[[Any], None], components: bool = True) -> Callable[[], None]:
    """Make `main(config)` a verb: `python -m src.<verb> [Hydra overrides]`.

    `components`: whether it uses any; one that does not need not import them to check their options.
    """

    def run() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors come here, not to its own printer
        sys.argv[1:] = [_added(word) for word in sys.argv[1:]]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _stop)
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        try:
            hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")(_task(main, components))()
        except UserError as error:
            sys.exit(f"error: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            sys.exit(f"error: {_sentence(error)}")
        except Stopped as stopped:
            print(f"stopped by {stopped}; the same command goes on from here", file=sys.stderr)
            sys.exit(128 + stopped.number)

    return run


def _task(main: Callable[[Any], None], components: bool) -> Callable[[Any], None]:
    from hydra.core.hydra_config import HydraConfig

    def task(_: Any) -> None:
        from src.config import load

        main(load(list(HydraConfig.get().overrides.task), components))

    task.__module__ = main.__module__
    return task


def _added(word: str) -> str:
    """`section.key=value` with Hydra's `++`, so that a key of one choice only, or a misspelt one, comes to our own check."""
    return f"++{word}" if re.match(r"^(?!hydra\.)[a-z_]+(\.[\w/]+)*=", word) and not _is_group(word) else word


def _is_group(word: str) -> bool:
    return (ROOT / "conf" / word.split("=")[0]).is_dir()


def _sentence(error: Exception) -> str:
    import difflib

    text = " ".join(str(error).split())
    missing = re.search(r"Could not find '(\w+)/([^']+)'", text)
    if not missing:
        return text
    group, name = missing.groups()
    names = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
    close = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{group}: {name!r} is none of {', '.join(names)}{hint}"


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
        UserError: the stage `prepare` has not run, or the batch is larger than the data.
    """
    import json

    name = config["data"]["name"]
    folder = Path("data/prepared") / name
    if not (folder / "meta.json").exists():
        raise UserError(f"data: {folder} is not prepared; run python -m src.prepare data={name} first")
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    if config["batch_size"] > meta["n_train"]:
        raise UserError(f"batch_size: {config['batch_size']} is more than the {meta['n_train']} training rows of {name}")
    return folder, meta
