"""The agreement of a config, with every end of its search space, and the prepared data, checked before the first epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.errors import UserError

if TYPE_CHECKING:
    from src.config.space import Leaf, Space


def prepared(config: Any) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the prepared data and its `meta.json`.

    Raises:
        UserError: the stage `prepare` has not run, or its files have changed since.
    """
    from src.data.dataset import read_meta, verify
    from src.data.prepared import prepared_folder

    folder = prepared_folder(config["data"], config.typed("data"))
    verify(folder)
    return folder, read_meta(folder)


def unsuitable(config: Any, meta: Mapping[str, Any], out: Path, placeholders: Sequence[str] = ()) -> bool:
    """Pass the model over, where it cannot take the data and `unsuitable=skip` lets the pipeline go on without it.

    Args:
        config: of the stage.
        meta: of the prepared data.
        out: the folder of the model that the stage writes.
        placeholders: the files in it on which the next stage depends.
    """
    from src.models.building import build
    from src.system.passed_over import FILE, pass_over

    (out / FILE).unlink(missing_ok=True)
    if config["unsuitable"] != "skip":
        return False
    try:
        build(config.trial["model"], meta)
    except ValueError as error:
        pass_over(out, str(error), placeholders)
        return True
    return False


def refuse_impossible_space(config: Any, meta: Mapping[str, Any]) -> None:
    """Refuse a search space of which some config cannot be trained on the data that `meta` describes.

    Raises:
        UserError: it names the key and the value.
    """
    rows = _rows_of_a_member(config, meta)
    for _, leaf in config.space.leaves():
        _refuse_impossible(leaf.config, meta, rows)
        for key, value, trial in leaf.ends():
            try:
                _refuse_impossible(trial, meta, rows, key)
            except UserError as error:
                raise UserError(f"space.{key}: {value!r} cannot be tried ({error})") from error


def without_large_batches(config: Any, meta: Mapping[str, Any]) -> tuple[Space, list[int]]:
    """Return the search space without the choices of `batch_size` that are more than a member's training rows, and those.

    A space of which no choice fits stays as it is, to be refused.

    Args:
        config: of the sweep.
        meta: of the prepared data.
    """
    from optuna.distributions import CategoricalDistribution

    rows, large = _rows_of_a_member(config, meta), set[int]()

    def fitting(leaf: Leaf) -> Leaf:
        dimension = leaf.dimensions.get("batch_size")
        fit = [size for size in dimension.choices if size <= rows] if dimension else []
        if not dimension or not fit or len(fit) == len(dimension.choices):
            return leaf
        large.update(set(dimension.choices) - set(fit))
        smaller = replace(dimension, choices=fit, distribution=CategoricalDistribution(fit))
        return replace(leaf, dimensions={**leaf.dimensions, "batch_size": smaller})

    return config.space.changed(fitting), sorted(large)


def _rows_of_a_member(config: Any, meta: Mapping[str, Any]) -> int:
    """Count the training rows that cross-validation leaves to a member of the smallest share."""
    count = config["objective"]["folds"]
    return int(meta["n_train"] - (-(-meta["n_train"] // count) if count > 1 else 0))


def refuse_impossible_trial(config: Any, meta: Mapping[str, Any]) -> None:
    """Refuse a config whose trial with every default cannot be trained on the data that `meta` describes.

    Raises:
        UserError: it names the key.
    """
    _refuse_impossible(config.trial, meta, meta["n_train"])


def _refuse_impossible(trial: Mapping[str, Any], meta: Mapping[str, Any], rows: int, changed: str = "model.") -> None:
    from src.engine.inspection import INSPECTOR, NoAnswerError
    from src.engine.model_size import refuse_untrainable

    if trial["batch_size"] > rows:
        whose = "" if rows == meta["n_train"] else " that objective.folds leaves to a member"
        raise UserError(f"batch_size: {trial['batch_size']} is more than the {rows} training rows{whose}")
    if changed.startswith(("model.", "batch_size", "training.augment.", "training.regularization.")):
        with suppress(NoAnswerError):  # a bug in the model: its worker says which, and the trial fails
            INSPECTOR.ask(refuse_untrainable, trial["model"], trial, meta)
