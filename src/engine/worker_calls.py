"""Calls of functions that train models outside of a study, in a worker's process: no model's code runs in the caller's."""

from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from src.config.components import trust
from src.engine.processes import last_words, pool, time_limit
from src.engine.task import Outcome, WorkerSetup
from src.engine.worker import failure
from src.system.errors import UserError
from src.system.trial_config import TrialConfig

MAX_DEATHS = 3  # of the worker in one call, after which it is the call's fault

P = ParamSpec("P")
T = TypeVar("T")
Training = Callable[Concatenate[TrialConfig, WorkerSetup, P], T]


class WorkerCalls:
    """A worker that calls one function after another; a worker that died is replaced, and the call made again."""

    def __init__(self, setup: WorkerSetup, folder: Path) -> None:
        """Start the worker.

        Args:
            setup: the data and the device, and how long one call may take.
            folder: holds a file while a call is limited in time.
        """
        self._setup, self._note = setup, folder / "call.timeout"
        self._pool = pool(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let the worker go; after an error in the middle of its call."""
        processes = list(self._pool._processes.values())
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        for process in processes:
            if kind is not None:
                process.kill()

    def __call__(self, function: Training[P, T], config: TrialConfig, *more: P.args, **named: P.kwargs) -> T:
        """Return `function(config, setup, *more, **named)`; `function` is one of a module.

        Raises:
            UserError: it raised an error, took more than the time that it may, or ended its process.
        """
        name = config.model.get("_target_", config.model.get("name"))
        for _ in range(MAX_DEATHS):
            try:
                answer = self._pool.submit(_call, function, config, self._setup, self._note, more, named).result()
            except (BrokenExecutor, EOFError, ConnectionError):  # the last two: the forkserver itself is gone
                self._pool = pool(1)
                if text := last_words(self._note):
                    seconds = self._setup.timeout
                    raise UserError(f"model {name}: it took more than trial.timeout={seconds:g} s\n{text}") from None
                continue
            if isinstance(answer, Outcome):
                raise UserError(f"model {name}: {answer.error}\n{answer.detail}".strip())
            return answer  # type: ignore[no-any-return]
        raise UserError(f"model {name}: it ends the process that trains it (out of memory?)")


def _call(
    function: Callable[..., Any],
    config: TrialConfig,
    setup: WorkerSetup,
    note: Path,
    more: tuple[Any, ...],
    named: dict[str, Any],
) -> Any:
    """Call a function, in the worker; an error is an outcome that has it."""
    trust(setup.trusted)
    try:
        with time_limit(setup.timeout, note):
            return function(config, setup, *more, **named)
    except (Exception, SystemExit) as error:
        return failure("", config, error)
