"""Hyperparameters by which the loss has no gradient, refused as outer variables in one sentence."""

from src.system.errors import UserError

SECTION = "training.hypergradient.variables."
WITHOUT_GRADIENT = {
    **dict.fromkeys(("batch_size", "epochs", "accumulate"), "it is a count"),
    **dict.fromkeys(("depth", "width", "channels", "k", "embedding_dim"), "it is a number of units or layers"),
    **dict.fromkeys(("model", "optimizer", "schedule", "activation", "norm", "embedding", "variant"), "it is a choice"),
    **dict.fromkeys(("dropout", "flip", "erasing"), "it is the probability of a yes or no"),
    "mixup": "it is the shape of a distribution from which shares are drawn at the start of an epoch",
    **dict.fromkeys(("max_norm", "clip_norm"), "it is a limit"),
}


def refuse_without_gradient(key: str) -> None:
    """Refuse a dotted key that asks for an outer variable by which the loss has no gradient.

    Raises:
        UserError: it names the key, and the search as the place for it.
    """
    name = key.removeprefix(SECTION).rpartition(".")[2]
    if key.startswith(SECTION) and name in WITHOUT_GRADIENT:
        why = WITHOUT_GRADIENT[name]
        raise UserError(f"{key}: the loss has no gradient by {name}, since {why}; search it, as a dimension of space")
