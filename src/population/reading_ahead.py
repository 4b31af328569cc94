"""Batches of rows that lie in a file larger than memory: threads read the rows of the next ones meanwhile."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

THREADS = 8  # which wait for the disk
AHEAD = 16  # batches


def reading_ahead(batches: Sequence[Tensor], x: Tensor) -> Iterator[Tensor]:
    """Yield batches of places [K, B] in their order, each once the rows of `x` [N, ...] at them have been read.

    Nothing of them is kept but what the kernel does: a batch that is due is gathered as ever, from pages that are there.
    """

    def read(index_KB: Tensor) -> None:
        x.index_select(0, index_KB.reshape(-1))

    reads: deque[Future[None]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for place, index_KB in enumerate(batches):
            for ahead in batches[place + len(reads) : place + AHEAD]:
                reads.append(pool.submit(read, ahead))
            reads.popleft().result()
            yield index_KB
