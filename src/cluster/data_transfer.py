"""Prepared data on a worker, by digest: from a shared folder, from its own cache, from the store, or with the job."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from src.data.dataset import ARRAYS
from src.system.errors import UserError
from src.system.files import atomic_folder
from src.system.store import Store

FILES = (*ARRAYS[:4], "meta.json")  # what training reads: the test rows stay where they are
MOST_BYTES = 64 * 2**20  # of data that travel with a job, once to each worker
CACHE = "LOCKSTEP_CACHE"  # an environment variable of workers: the folder of their data


@dataclass(frozen=True)
class PreparedData:
    """Prepared data by what is in them: `digests` of the files that training reads, by name, and where they stand here."""

    folder: Path
    digests: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """The name of these data in a cache or a store."""
        return hashlib.sha256(json.dumps(self.digests).encode()).hexdigest()[:32]


def describe(folder: Path) -> PreparedData:
    """Compute the digests of prepared data, once a process for the same files."""
    return PreparedData(folder, _digests(folder, _stamps(folder)))


def contents(data: PreparedData) -> dict[str, bytes]:
    """Read the files to send with a job.

    Raises:
        UserError: they are too many bytes for that.
    """
    size = sum((data.folder / name).stat().st_size for name in FILES)
    if size > MOST_BYTES:
        raise UserError(
            f"store.url: the prepared data have {size:,} bytes, and more than {MOST_BYTES:,} do not travel with a job; "
            f"name a store, or a folder that workers share as {data.folder.absolute()}"
        )
    return {name: (data.folder / name).read_bytes() for name in FILES}


def upload(data: PreparedData, store: Store) -> None:
    """Put prepared data into the store, unless they are there."""
    there = store.sizes(f"data/{data.key}")
    for name in FILES:
        if there.get(name) != (data.folder / name).stat().st_size:
            store.upload(f"data/{data.key}/{name}", data.folder / name)


def locate(data: PreparedData, store_url: str | None, sent: Mapping[str, bytes] | None) -> Path | None:
    """Return a folder on this machine with these data, verified; None where there is none and they must be sent.

    Args:
        data: as the driver describes them.
        store_url: of the store; None: there is none.
        sent: the files that came with the job, by name; None: none did.
    """
    cached = cache_folder() / data.key
    if _has(cached, data):
        return cached
    if cached.is_symlink():
        cached.unlink(missing_ok=True)
    if _has(data.folder, data):  # by a name of its own, since a worker that stays remembers data by their folder
        cached.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            cached.symlink_to(data.folder)
        return cached
    if sent is None and store_url is None:
        return None
    with atomic_folder(cached) as new:
        for name in FILES:
            if sent is not None:
                (new / name).write_bytes(sent[name])
            elif store_url is None or not Store(store_url).download(f"data/{data.key}/{name}", new / name):
                return None
        if not _has(new, data):
            return None
    return cached


def cache_folder() -> Path:
    """Return the folder in which this machine keeps data that were sent to it."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "lockstep")


def _has(folder: Path, data: PreparedData) -> bool:
    try:
        return _digests(folder, _stamps(folder)) == data.digests
    except OSError:
        return False


def _stamps(folder: Path) -> tuple[tuple[int, int, int], ...]:
    """Return what changes with the files, so that they are read once."""
    stats = [(folder / name).stat() for name in FILES]
    return tuple((stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats)


@lru_cache(maxsize=8)
def _digests(folder: Path, stamps: tuple[tuple[int, int, int], ...]) -> tuple[tuple[str, str], ...]:
    digests = []
    for name in FILES:
        with (folder / name).open("rb") as file:
            digests.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    return tuple(digests)
