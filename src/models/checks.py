"""Checks of hyperparameters that the architectures share."""

MOST_LAYERS = 1000


def check_dropout(**shares: float) -> None:
    """Check shares of units that a training step leaves out, by their keys in `model`.

    Raises:
        ValueError: one is not within [0, 1).
    """
    for key, share in shares.items():
        if not 0.0 <= share < 1.0:
            raise ValueError(f"model.{key} is {share}: it must be at least 0 and below 1.")


def check_positive(**values: int) -> None:
    """Check counts, by their keys in `model`.

    Raises:
        ValueError: one is below 1.
    """
    for key, value in values.items():
        if value < 1:
            raise ValueError(f"model.{key} is {value}: it must be at least 1.")


def check_depth(depth: int) -> None:
    """Check a number of layers.

    Raises:
        ValueError: it is below 1, or so large that building them would take minutes.
    """
    check_positive(depth=depth)
    if depth > MOST_LAYERS:
        raise ValueError(f"model.depth is {depth}: it must be at most {MOST_LAYERS}.")
