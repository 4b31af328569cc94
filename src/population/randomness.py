"""Random numbers by counting instead of a generator: a hash of (a key of the member; a place)."""

from functools import lru_cache

import torch
from torch import Tensor

from src.population.layers import scramble


def random_bits(key_K: Tensor, count: int) -> Tensor:
    """`count` whole numbers of 32 bits for each key, an int32 too [K, count]."""
    return scramble(_places(count, key_K.device) + key_K[:, None])


def uniform(bits: Tensor) -> Tensor:
    """Numbers from 0 to below 1, of their upper 24 bits: exact in a float."""
    return ((bits >> 8) & 0xFFFFFF).float() * 2.0**-24


@lru_cache(maxsize=8)
def _places(count: int, device: torch.device) -> Tensor:
    return scramble(torch.arange(count, dtype=torch.int32, device=device))
