"""The agreement of a config, with every end of its search space, and the prepared data, checked before the first epoch."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from src.system.errors import UserError


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
    count = config["objective"]["folds"]
    rows = meta["n_train"] - (-(-meta["n_train"] // count) if count > 1 else 0)
    for _, leaf in config.space.leaves():
        _refuse_impossible(leaf.config, meta, rows)
        for key, value, trial in leaf.ends():
            try:
                _refuse_impossible(trial, meta, rows, key)
            except UserError as error:
                raise UserError(f"space.{key}: {value!r} cannot be tried ({error})") from error


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
    if changed.startswith(("model.", "training.augment.", "training.regularization.")):
        with suppress(NoAnswerError):  # a bug in the model: its worker says which, and the trial fails
            INSPECTOR.ask(refuse_untrainable, trial["model"], trial, meta)
