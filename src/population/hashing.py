"""Random numbers by counting instead of a generator: a hash of (a key of the member; a place)."""

from functools import lru_cache

import torch
from torch import Tensor


def scramble(x: Tensor) -> Tensor:
    """Hash int32 bijectively, so that every input bit changes half of the output bits (Wellons' lowbias32)."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975
    return x ^ ((x >> 16) & 0xFFFF)


def random_bits(key_K: Tensor, count: int) -> Tensor:
    """Return `count` random int32 for each key, an int32 too [K, count]."""
    return scramble(_places(count, key_K.device) + key_K[:, None])


def uniform(bits: Tensor) -> Tensor:
    """Turn random int32 into numbers from 0 to below 1, of their upper 24 bits: exact in a float."""
    return ((bits >> 8) & 0xFFFFFF).float() * 2.0**-24


@lru_cache(maxsize=8)
def _places(count: int, device: torch.device) -> Tensor:
    return scramble(torch.arange(count, dtype=torch.int32, device=device))
