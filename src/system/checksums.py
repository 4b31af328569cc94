"""Checksums of the files of a folder, in a `SHA256SUMS` beside them, which `sha256sum -c` reads too."""

import hashlib
from pathlib import Path

from src.system.errors import UserError
from src.system.files import write_text

FILE = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of each file right in `folder` into its `SHA256SUMS`, as the last act of whoever filled it."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    lines = [f"{_file_digest(folder / name)}  {name}\n" for name in names if name != FILE]
    write_text(folder / FILE, "".join(lines))


def read_checked(path: Path, advice: str) -> bytes:
    """Read a file that was written by a stage; where no checksum of it is beside it, as it stands.

    Args:
        path: of the file.
        advice: the end of the sentence.

    Raises:
        UserError: it is not there, or has changed since its checksum was written.
    """
    try:
        content = path.read_bytes()
        checksums = path.with_name(FILE).read_bytes() if path.with_name(FILE).exists() else b""
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; {advice}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {advice}") from error
    expected = {name: digest for digest, _, name in (line.partition(b"  ") for line in checksums.splitlines())}
    if expected.get(path.name.encode(), b"").decode(errors="replace") not in ("", hashlib.sha256(content).hexdigest()):
        raise UserError(f"{path} has changed since it was written; {advice}")
    return content


def unchecked(folder: Path) -> Path | None:
    """Find the first file below `folder` that has changed or has no checksum; weights, which have theirs inside, aside."""
    for path in sorted(path for path in folder.rglob("[!.]*") if path.is_file()):
        sums = path.with_name(FILE)
        lines = sums.read_bytes().splitlines() if sums.exists() else []
        elsewhere = path.name == FILE or path.suffix == ".safetensors"
        if not elsewhere and f"{_file_digest(path)}  {path.name}".encode() not in lines:
            return path
    return None


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
