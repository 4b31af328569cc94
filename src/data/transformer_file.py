"""The file of a fitted transformer: skops' format, which holds data and no code."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

from src.system.errors import UserError

TRUSTED = [
    "numpy.dtype",
    "src.data.preprocessing.smooth_clip",
]  # beside scikit-learn's own types, which skops trusts by itself


def dumps(transformer: Any) -> bytes:
    """Pack a transformer so that the same one gives the same bytes: skops' running object ids, and no time of day."""
    import skops.io

    source = zipfile.ZipFile(io.BytesIO(skops.io.dumps(transformer)))
    pattern = re.compile(r'("__id__": |"file": ")(\d+)')
    schema = source.read("schema.json").decode()
    ids = {old: str(new) for new, old in enumerate(dict.fromkeys(match[2] for match in pattern.finditer(schema)))}
    files = {f"{ids[name.split('.')[0]]}.npy": source.read(name) for name in source.namelist() if name[0].isdigit()}
    files["schema.json"] = pattern.sub(lambda match: match[1] + ids[match[2]], schema).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in sorted(files.items()):
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def loads(data: bytes, place: Path) -> Any:
    """Unpack a transformer; `place` names its file in errors.

    Raises:
        UserError: the file is not whole, or would build anything but scikit-learn's own types and `TRUSTED`.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.loads(data, trusted=TRUSTED)
    except UntrustedTypesFoundException as error:
        raise UserError(f"{place} is refused, since it would build types that are not trusted: {error}") from None
    except Exception as error:  # a damaged file makes skops raise errors of many kinds
        raise UserError(f"{place} is not a whole skops file ({error}): run prepare again") from None
