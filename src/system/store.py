"""A store: files by name below a URL, in a folder, in S3 or wherever else fsspec reaches."""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from src.system.errors import UserError, first_line, masked
from src.system.files import atomic_write
from src.system.services import until_it_answers

EXTRAS = {"s3": "s3", "s3a": "s3"}  # a protocol and the extra of this project that has its package
PATIENCE = 90.0  # seconds for which a service that does not answer is asked again
AWAY = {
    "ConnectionError",
    "HTTPClientError",
    "TimeoutError",
    "ClientConnectionError",
}  # errors by which packages say so

T = TypeVar("T")


class Store:
    """Files below a URL, each whole or not there. Credentials come from the environment or from each service's files."""

    def __init__(self, url: str) -> None:
        """Raises:
        UserError: the URL is none, or its package is not installed.
        """
        import fsspec

        self.url = url
        protocol = url.partition("://")[0] if "://" in url else "file"
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            extra = f"'.[{EXTRAS[protocol]}]'" if protocol in EXTRAS else f"the package of {protocol} for fsspec"
            raise UserError(f"store.url: {protocol}:// needs pip install -e {extra}") from error
        except Exception as error:  # whatever a package makes of a URL
            raise UserError(f"store.url: {masked(url)} is no place for files ({first_line(error)})") from error
        self._is_local = protocol in ("file", "local")

    @classmethod
    def writable(cls, url: str) -> "Store":
        """Open a store, once a file could be written, read and deleted there: what is no store may say that it is empty.

        Raises:
            UserError: it does not work, or is none.
        """
        store, probe, content = cls(url), f".{secrets.token_hex(8)}", secrets.token_bytes(4096)
        store.write(probe, content)
        if store.read(probe) != content:
            raise UserError(f"store.url: {masked(url)} is no store: what is written there does not come back")
        store.remove(probe)
        return store

    def sizes(self, folder: str) -> dict[str, int]:
        """List the files right below `folder` by name, with their bytes."""
        path = self._path(folder)
        entries: list[dict[str, Any]] = self._ask(lambda: self._fs.ls(path, detail=True, refresh=True)) or []
        files = [entry for entry in entries if entry["type"] == "file"]
        names = [str(entry["name"]).rsplit("/", 1)[-1] for entry in files]
        return {name: int(file["size"]) for name, file in zip(names, files, strict=True) if not name.startswith(".")}

    def read(self, name: str) -> bytes | None:
        """Read a file; None where there is none."""
        return self._ask(lambda: bytes(self._fs.cat_file(self._path(name))))

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of the one before; an object is there whole, or not."""
        path = self._path(name)
        if self._is_local:
            self._require(lambda: atomic_write(Path(path), data))
        else:
            self._require(lambda: self._fs.pipe_file(path, data))

    def upload(self, name: str, path: Path) -> None:
        """Copy the file at `path` into the store, piece by piece."""

        def copy(there: BinaryIO) -> None:
            with path.open("rb") as here:
                shutil.copyfileobj(here, there)

        if self._is_local:
            self._require(lambda: atomic_write(Path(self._path(name)), copy))
        else:
            self._require(lambda: self._fs.put_file(str(path), self._path(name)))

    def download(self, name: str, path: Path) -> bool:
        """Copy a file of the store to `path`; False where there is none."""
        return self._ask(lambda: (self._fs.get_file(self._path(name), str(path)), True)[1]) or False

    def remove(self, name: str) -> None:
        """Delete a file, where there is one."""
        self._ask(lambda: self._fs.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _ask(self, query: Callable[[], T]) -> T | None:
        """Return the answer to `query`; None where there is no such file.

        Raises:
            UserError: the store does not allow it, or has not answered for long.
        """
        try:
            return until_it_answers(query, self._away, f"the store {masked(self.url)}", PATIENCE)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a service or its package raises
            raise UserError(f"store.url: {masked(self.url)} does not work ({first_line(error)})") from error

    def _require(self, query: Callable[[], object]) -> None:
        """Do what needs no file to be there.

        Raises:
            UserError: the store does not allow it, or has not answered for long.
        """

        def required() -> None:
            try:
                query()
            except FileNotFoundError as error:  # of a bucket
                raise NotADirectoryError(first_line(error)) from error

        self._ask(required)

    def _away(self, error: Exception) -> str:
        """Say what a service that is away answers; "" where it is there, or a folder."""
        away = AWAY & {kind.__name__ for kind in type(error).__mro__}
        return first_line(error) if away and not self._is_local else ""
