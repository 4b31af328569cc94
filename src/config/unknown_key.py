"""The error for a key that the config does not have, with the name that was probably meant."""

from collections.abc import Iterable

from src.config.renamed import name_of_today
from src.system.errors import UserError, suggestion

OUTER_VARIABLES = "training.hypergradient.variables."
WITHOUT_GRADIENT = {  # hyperparameters by which the loss has no gradient, so that they are no outer variables
    **dict.fromkeys(("batch_size", "epochs", "accumulate"), "it is a count"),
    **dict.fromkeys(("depth", "width", "channels", "k", "embedding_dim"), "it is a number of units or layers"),
    **dict.fromkeys(("model", "optimizer", "schedule", "activation", "norm", "embedding", "variant"), "it is a choice"),
    **dict.fromkeys(("dropout", "flip", "erasing"), "it is the probability of a yes or no"),
    "mixup": "it is the shape of a distribution from which shares are drawn at the start of an epoch",
    **dict.fromkeys(("max_norm", "clip_norm"), "it is a limit"),
}


def unknown_key(key: str, names: Iterable[str], hint: str = "") -> UserError:
    """Make the error for a dotted key that does not exist: a first name, no outer variable, or a slip of the pen.

    Args:
        key: as a person wrote it.
        names: the keys that exist, dotted.
        hint: the end of the sentence where the caller knows better than the nearest name.
    """
    if (today := name_of_today(key)) != key:
        return UserError(f"{key}: this key is {today} now")
    name = key.removeprefix(OUTER_VARIABLES).rpartition(".")[2]
    if key.startswith(OUTER_VARIABLES) and name in WITHOUT_GRADIENT:
        why = WITHOUT_GRADIENT[name]
        return UserError(f"{key}: the loss has no gradient by {name}, since {why}; search it, as a dimension of space")
    names = list(names)
    return UserError(f"{key}: no such key{hint or suggestion(key, names) or _section_has(key, names)}")


def _section_has(key: str, names: Iterable[str]) -> str:
    section = key.rpartition(".")[0]
    inside = [name.removeprefix(f"{section}.") for name in names if name.startswith(f"{section}.")]
    there = dict.fromkeys(name.partition(".")[0] for name in inside)
    return f"; {section} has {', '.join(there)}" if there else ""
