"""Files of a folder that are also in a store, from which another machine takes them and goes on."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from src.system.files import write_bytes
from src.system.store import Store

THREADS = 8  # that ask the store at once


@dataclass(frozen=True)
class Mirror:
    """A folder whose files are read here, and are also in a store below `name`. Without a store it is the folder alone."""

    folder: Path
    store: Store | None = None
    name: str = ""

    @classmethod
    def of(cls, folder: Path, url: str | None, name: str) -> "Mirror":
        """Open the mirror of `folder` below `name` in the store of a `url`; None: there is no store.

        Raises:
            UserError: nothing can be written there.
        """
        return cls(folder, Store.writable(url) if url else None, name)

    def fetch(self) -> None:
        """Take from the store what is not here, or not in its size."""
        if self.store is None:
            return
        wanted = [name for name, size in self.store.sizes(self.name).items() if size != _size(self.folder / name)]
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(self._fetch, wanted))

    def save(self, paths: Iterable[Path]) -> None:
        """Put files of the folder into the store, those that are there."""
        for path in paths:
            if self.store is not None and path.exists():
                self.store.upload(f"{self.name}/{path.name}", path)

    def remove(self, path: Path) -> None:
        """Delete a file of the folder, here and in the store."""
        path.unlink(missing_ok=True)
        if self.store is not None:
            self.store.remove(f"{self.name}/{path.name}")

    def _fetch(self, name: str) -> None:
        assert self.store is not None
        if (data := self.store.read(f"{self.name}/{name}")) is not None:
            write_bytes(self.folder / name, data)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
