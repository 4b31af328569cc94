"""A store: files by name below a URL, in a folder, in S3 or wherever else fsspec reaches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.system.errors import UserError, first_line, masked
from src.system.files import atomic_write

EXTRAS = {"s3": "s3", "s3a": "s3"}  # a protocol and the extra of this project that has its package


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

    def sizes(self, folder: str) -> dict[str, int]:
        """List the files right below `folder` by name, with their bytes."""
        with self._errors():
            try:
                entries: list[dict[str, Any]] = self._fs.ls(self._path(folder), detail=True, refresh=True)
            except FileNotFoundError:
                return {}
        files = [entry for entry in entries if entry["type"] == "file"]
        names = [str(entry["name"]).rsplit("/", 1)[-1] for entry in files]
        return {name: int(file["size"]) for name, file in zip(names, files, strict=True) if not name.startswith(".")}

    def read(self, name: str) -> bytes | None:
        """Read a file; None where there is none."""
        with self._errors():
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of the one before."""
        with self._errors():
            if self._is_local:
                atomic_write(Path(self._path(name)), data)
            else:
                self._fs.pipe_file(self._path(name), data)  # an object is there whole, or not

    def upload(self, name: str, path: Path) -> None:
        """Copy the file at `path` into the store."""
        if self._is_local:
            self.write(name, path.read_bytes())
            return
        with self._errors():
            self._fs.put_file(str(path), self._path(name))

    def download(self, name: str, path: Path) -> bool:
        """Copy a file of the store to `path`; False where there is none."""
        with self._errors():
            try:
                self._fs.get_file(self._path(name), str(path))
            except FileNotFoundError:
                return False
        return True

    def remove(self, name: str) -> None:
        """Delete a file, where there is one."""
        with self._errors():
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what a service or its package raises into one sentence; a file that is not there is no error.

        Raises:
            UserError: the store does not answer, or does not allow it.
        """
        try:
            yield
        except Exception as error:
            raise UserError(f"store.url: {masked(self.url)} does not work ({first_line(error)})") from error
