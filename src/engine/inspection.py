"""Questions about models that are answered in a process apart, so that no model's code runs in the process that asks.

A model may crash, hang, end its process or ask for all memory where it is built or looked at. Then the answer is missing,
the process is replaced, and whoever has asked goes on.
"""

import multiprocessing
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from src.config.components import trust, trusted
from src.engine import PRELOAD
from src.engine.memory import memory
from src.engine.processes import start
from src.system.errors import UserError, first_line

SECONDS = 30.0  # for one answer
ATTEMPTS = 3  # a model that ends the process does so in each; one that the system or a person ended is asked again
T = TypeVar("T")


class NoAnswerError(Exception):
    """The model raised an error that is none of a person's input, or its process died or took too long."""


class Inspector:
    """A process apart that answers questions about models, started at the first one."""

    def __init__(self, seconds: float = SECONDS) -> None:
        """`seconds`: how long one answer may take; a model that took longer once is not asked about again."""
        self._seconds = seconds
        self._pipe: Connection | None = None
        self._process: Any = None
        self._slow: set[str] = set()

    def ask(self, question: Callable[..., T], model: Mapping[str, Any], *more: Any) -> T:
        """Return `question(model, *more)` as the process apart computes it; `question` is a function of a module.

        Raises:
            UserError: the question raised it, or a ValueError.
            NoAnswerError: there is no answer.
        """
        name = str(model.get("_target_", model.get("name")))
        if name in self._slow:
            raise NoAnswerError(f"model {name} took more than {self._seconds:.0f} s before")
        for _ in range(ATTEMPTS):
            try:
                pipe = self._pipe or self._start()
                pipe.send((trusted(), question, (model, *more)))
                if not pipe.poll(self._seconds):
                    self._slow.add(name)
                    self.close()
                    raise NoAnswerError(f"model {name} takes more than {self._seconds:.0f} s")
                kind, answer = pipe.recv()
            except (EOFError, OSError):
                self.close()
                continue
            if kind == "answer":
                return answer  # type: ignore[no-any-return]
            raise UserError(answer) if kind == "refusal" else NoAnswerError(answer)
        raise NoAnswerError(f"model {name} ends the process that looks at it")

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._pipe:
            self._pipe.close()
            self._process.kill()
            self._process.join()
        self._pipe = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOAD))
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._pipe, self._process = ours, process
        return ours


INSPECTOR = Inspector()


def _serve(pipe: Connection) -> None:
    """Answer questions until the one who asks is gone."""
    start()
    _limit_memory()
    with suppress(EOFError, OSError):
        while True:
            packages, question, arguments = pipe.recv()
            trust(packages)
            pipe.send(_answer(question, arguments))


def _answer(question: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Return the kind of answer, which no class of a user's code is part of, and the answer."""
    try:
        return "answer", question(*arguments)
    except (UserError, ValueError) as error:
        return "refusal", str(error)
    except Exception as error:
        return "error", first_line(error)


def _limit_memory() -> None:
    """Let this process have no more memory than the machine, so that what asks for more fails at once."""
    with suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory(), hard))
