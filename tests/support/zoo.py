"""Modules as users write them, for `_target_`: each has something that a fused population must not get wrong."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """Two layers; subclasses change one thing."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, width: int = 12, **_: Any) -> None:
        super().__init__()
        self.first = nn.Linear(input_shape[0], width)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.first(x)))

    def hidden(self, h: Tensor) -> Tensor:
        return h.relu()


class Branching(Plain):
    """Control flow that depends on the data."""

    def hidden(self, h: Tensor) -> Tensor:
        return h.relu() if h.mean() > 0 else h.tanh()


class Noisy(Plain):
    """Draws from PyTorch's own generator."""

    def hidden(self, h: Tensor) -> Tensor:
        return F.dropout(h.relu(), 0.3, self.training)


class Tied(Plain):
    """One parameter under two names."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, **_: Any) -> None:
        super().__init__(input_shape, n_outputs)
        self.again = nn.Linear(12, 12)
        self.once_more = nn.Linear(12, 12)
        self.once_more.weight = self.again.weight

    def hidden(self, h: Tensor) -> Tensor:
        return self.once_more(self.again(h.relu()).relu()).relu()


class Frozen(Plain):
    """A layer that shall not learn."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, **_: Any) -> None:
        super().__init__(input_shape, n_outputs)
        self.first.requires_grad_(False)


class Rectified(Frozen):
    """An activation layer in front of which nothing learns, and one behind."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, **_: Any) -> None:
        super().__init__(input_shape, n_outputs)
        self.again = nn.Linear(12, 12)
        self.activation = nn.ReLU()

    def hidden(self, h: Tensor) -> Tensor:
        return self.activation(self.again(self.activation(h)))


class Averaging(Plain):
    """Replaces a buffer in every forward, instead of changing it in place."""

    mean: Tensor

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, **_: Any) -> None:
        super().__init__(input_shape, n_outputs)
        self.register_buffer("mean", torch.zeros(12))

    def hidden(self, h: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return (h - self.mean).relu()


class Reading(Plain):
    """Reads its own `dropout`, which differs in a population."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, dropout: float = 0.1, **_: Any) -> None:
        super().__init__(input_shape, n_outputs)
        self.dropout = dropout

    def hidden(self, h: Tensor) -> Tensor:
        return h.relu() * (1 - self.dropout)


class Viewing(Plain):
    """Relies on the memory order of a linear layer's output, and asks where its parameters are."""

    def hidden(self, h: Tensor) -> Tensor:
        assert next(self.parameters()).device == h.device
        return h.view(len(h) * 12).relu().view(-1, 12)


class Recurrent(nn.Module):
    """Pixels as a sequence of 8 rows."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 10, batch_first=True)
        self.output = nn.Linear(10, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(x.view(-1, 8, 8))[0][:, -1])


class Signal(nn.Module):
    """Convolution over the pixels in a row, batch normalisation over batch and length (here as long as wide)."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.batchwise = nn.BatchNorm1d(64, track_running_stats=False, affine=False)
        self.output = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.batchwise(self.norm(self.convolution(x.view(-1, 8, 8))).flatten(1)))


class Failing(Plain):
    """Fails for some value of a hyperparameter that does not change its signature."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__(input_shape, n_outputs)
        self.drop = nn.Dropout(dropout)
        if dropout == 0.125:
            raise RuntimeError("[Errno 28] a dropout of 0.125 is not for me")

    def hidden(self, h: Tensor) -> Tensor:
        return self.drop(h.relu())


class Greedy(Plain):
    """Asks for more memory than there is."""

    def hidden(self, h: Tensor) -> Tensor:
        return h.relu() + torch.zeros(1 << 50)[0]


class Exhausted(Plain):
    def hidden(self, h: Tensor) -> Tensor:
        raise MemoryError


class Deadly(Plain):
    """Kills its process at the call `at`, `times` times, or for ever (0); counts in the file `log`."""

    def __init__(
        self, input_shape: tuple[int, ...], n_outputs: int, log: str = "", times: int = 0, at: int = 20
    ) -> None:
        super().__init__(input_shape, n_outputs)
        self.log, self.times, self.at, self.calls = Path(log), times, at, 0

    def hidden(self, h: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.at:
            deaths = len(self.log.read_text()) if self.log.exists() else 0
            if not self.times or deaths < self.times:
                self.log.write_text("x" * (deaths + 1))
                os.kill(os.getpid(), signal.SIGKILL)
        return h.relu()


class Sleepless(Plain):
    """Hangs at the call `at` for as long as anybody waits: asleep, or in a loop that forgives all errors."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, way: str = "asleep", at: int = 20) -> None:
        super().__init__(input_shape, n_outputs)
        self.way, self.at, self.calls = way, at, 0

    def hidden(self, h: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.at and self.way == "asleep":
            time.sleep(1000)
        while self.calls == self.at and self.way == "stubborn":
            with suppress(BaseException):
                time.sleep(1000)
        return h.relu()


class Fatal(Plain):
    """Ends whoever builds it, or takes its time or its memory."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, way: str) -> None:
        super().__init__(input_shape, n_outputs)
        if way == "exits":
            os._exit(3)
        elif way == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif way == "hangs":
            time.sleep(1000)
        self.more = torch.empty(1 << 48)


class Leaving(Plain):
    """Ends its process in the middle of its training, or asks Python to."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, way: str) -> None:
        super().__init__(input_shape, n_outputs)
        self.way = way

    def hidden(self, h: Tensor) -> Tensor:
        if self.way == "exits":
            os._exit(3)
        if self.way == "quits":
            sys.exit(3)
        raise RuntimeError("it is broken")


class Sociable(Plain):
    """Fails where a row is alone."""

    def hidden(self, h: Tensor) -> Tensor:
        if h.ndim > 1 and len(h) == 1:
            raise RuntimeError("a row alone")
        return h.relu()
