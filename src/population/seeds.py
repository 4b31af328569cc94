"""Seeds derived from one seed, each for a named purpose: no two purposes, and no two numbers of one, share a stream."""

import hashlib

import numpy as np

ESTABLISHED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # keys of before purposes had names, kept since every result follows from them: what stands around the numbers
    "initial weights": ((0,), ()),  # under a member's seed, all others under that of a study or of the data
    "trial": ((), ()),
    "seeds": ((3,), ()),
    "bagging": ((3,), (1,)),
    "folds": ((3,), (2,)),
    "adaboost": ((3,), (3,)),
    "snapshot": ((3,), (4,)),
    "gradient_boosting": ((3,), (5,)),
    "gradient_boosting correction": ((3,), (6,)),
    "tabm": ((3,), (7,)),
    "rate ramp": ((4,), ()),
    "cut into folds": ((5,), ()),
}


def derived_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Derive a seed of 63 bits for `purpose` and the `numbers` that tell its uses apart (NumPy's SeedSequence).

    Under one seed a purpose always has equally many numbers. A purpose that is not established needs no entry: the digest
    of its name begins its key, which is longer than any established one.
    """
    before, after = ESTABLISHED.get(purpose) or (_digest(purpose), ())
    sequence = np.random.SeedSequence(seed, spawn_key=(*before, *numbers, *after))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def _digest(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u4").tolist())
