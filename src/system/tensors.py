"""Files of tensors that know when they have changed: safetensors with a checksum of all the rest in their metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

METADATA, CHECKSUM = "__metadata__", "sha256"


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file of `tensors` and `metadata`; the same input gives the same bytes."""
    import torch
    from safetensors.torch import save

    order = torch.contiguous_format
    plain = {name: tensor.detach().cpu().clone(memory_format=order) for name, tensor in tensors.items()}
    header, body = _split(save(plain, dict(metadata or {})))
    header[METADATA] = {**header.get(METADATA, {}), CHECKSUM: _checksum(header, body)}
    text = _text(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file that `tensor_bytes` made; one without a checksum is believed.

    Raises:
        OSError: the file is not there, is torn, or has changed since it was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = path.read_bytes()
    try:
        header, body = _split(data)
        metadata = dict(header.get(METADATA, {}))
        expected = metadata.pop(CHECKSUM, None)
        if expected not in (None, _checksum({**header, METADATA: metadata}, body)):
            raise OSError(f"{path} has changed since it was written")
        return load(data), metadata
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise OSError(f"{path} is torn: {error}") from error


def read_weights(path: Path, advice: str) -> dict[str, Tensor]:
    """Return the tensors of a file of weights.

    Raises:
        UserError: the file is not there, is torn or has changed; it ends with `advice`.
    """
    try:
        return read_tensors(path)[0]
    except OSError as error:
        raise UserError(f"{error}; {advice}") from error


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the tensors' bytes of a safetensors file."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    return header, data[end:]


def _checksum(header: Mapping[str, Any], body: bytes) -> str:
    whole = {**header, METADATA: header.get(METADATA, {})}
    return hashlib.sha256(_text(whole) + body).hexdigest()


def _text(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
