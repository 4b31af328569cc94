"""Unfinished studies that a changed space, seed or setting leaves behind: a person is told their names."""

import re
from pathlib import Path

from src.study.identity import Identity
from src.study.storage import Shelf, storage_errors_as_user_errors
from src.system.locks import is_held


@storage_errors_as_user_errors()
def left_behind(root: Path, url: str | None, identity: Identity) -> str:
    """The sentence that names unfinished studies of the same label but other inputs, of which no sweep runs, or "".

    Args:
        root: the folder of studies.
        url: the database of studies; None for journals below `root`.
        identity: of the study that is about to begin; there is nothing to say of one that is there already.
    """
    shelf = Shelf(root, url)
    names = shelf.names()
    if any(name.startswith(identity.stem) for name in names):
        return ""
    for name in names:
        match = re.fullmatch(rf"({re.escape(identity.label)}-[0-9a-f]{{8}}-)[0-9a-f]{{8}}(-\d+)?", name)
        if match is None or is_held(root / "locks" / match.group(1)):
            continue
        attributes = shelf.attributes(name)
        if "code" in attributes and not attributes.get("finished"):
            before = attributes.get("parts", {})
            changed = [part for part, value in identity.parts.items() if before.get(part, value) != value]
            why = f": it had another {' and '.join(changed)}" if changed else ""
            return f"a new study begins, and {name} is left unfinished{why}"
    return ""
