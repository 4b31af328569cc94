"""The agreement of a config, with every end of its search space, and the prepared data, checked before the first epoch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.files import require_writable
from src.system.trial_config import TrialConfig

if TYPE_CHECKING:
    from src.config.loading import Config
    from src.config.space import Dimension, Leaf

KEY = "batch_size"


def prepared(config: Any) -> tuple[Path, DataMeta]:
    """Return the folder of the prepared data and its `meta.json`.

    Raises:
        UserError: the stage `prepare` has not run, or its files have changed since.
    """
    from src.data.dataset import read_meta, verify
    from src.data.prepared import prepared_folder

    folder = prepared_folder(config["data"], config.typed("data"))
    verify(folder)
    return folder, read_meta(folder)


def unsuitable(config: Any, meta: DataMeta, out: Path, placeholders: Sequence[str] = ()) -> bool:
    """Pass the model over, where it cannot take the data and `unsuitable=skip` lets the pipeline go on without it.

    Args:
        config: of the stage.
        meta: of the prepared data.
        out: the folder of the model that the stage writes.
        placeholders: the files in it on which the next stage depends.

    Raises:
        UserError: the folder cannot be written.
    """
    from src.engine.inspection import INSPECTOR, NoAnswerError
    from src.engine.model_size import refuse_unsuitable
    from src.system.passed_over import FILE, pass_over

    require_writable("outputs", out)
    (out / FILE).unlink(missing_ok=True)
    if config["unsuitable"] != "skip":
        return False
    try:
        with suppress(NoAnswerError):  # a bug in the model: its worker says which, and the trial fails
            INSPECTOR.ask(refuse_unsuitable, config.trial.model, meta)
    except UserError as error:
        pass_over(out, str(error), placeholders)
        return True
    return False


def refuse_impossible_space(config: Any, meta: DataMeta) -> None:
    """Refuse a search space of which some config cannot be trained on the data that `meta` describes.

    Raises:
        UserError: it names the key and the value.
    """
    rows = _rows_of_a_member(config, meta)
    for _, leaf in config.space.leaves():
        _refuse_impossible(leaf.trial, meta, rows)
        for key, value, trial in leaf.ends():
            try:
                _refuse_impossible(TrialConfig.from_json(trial), meta, rows, key)
            except UserError as error:
                raise UserError(f"space.{key}: {value!r} cannot be tried ({error})") from error


def with_fitting_batches(config: Config, meta: DataMeta) -> Config:
    """Return the config with no batch of more than a member's training rows, and say in a line what was changed.

    Such choices and ends leave the space; a default becomes the largest power of two that fits. What the command line sets
    stays, to be refused.

    Args:
        config: of the stage.
        meta: of the prepared data.
    """
    from src.bilevel.requirements import rows_of_weights

    rows, dropped = rows_of_weights(config.trial, _rows_of_a_member(config, meta)), set[int]()

    def fitting(size: int) -> int:
        return size if size <= rows or KEY in config.fixed else 1 << (rows.bit_length() - 1)

    def changed(leaf: Leaf) -> Leaf:
        dimensions = {name: _up_to(d, rows, dropped) if d.key == KEY else d for name, d in leaf.dimensions.items()}
        left = {name: dimension for name, dimension in dimensions.items() if dimension}
        return replace(leaf, config={**leaf.config, KEY: fitting(leaf.config[KEY])}, dimensions=left)

    space, default, size = config.space.changed(changed), config[KEY], fitting(config[KEY])
    words = [f"{default} becomes {size}"] if size != default else []
    words += [f"{', '.join(map(str, sorted(dropped)))} not searched"] if dropped else []
    if words:
        print(f"{KEY}: {'; '.join(words)}: more than the {rows} training rows{_whose(rows, meta)}")
    return replace(config, root={**config.root, KEY: size}, space=space)


def _up_to(dimension: Dimension, most: int, dropped: set[int]) -> Dimension | None:
    """The part of a dimension of whole numbers up to `most`, None where there is none; the rest goes into `dropped`."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    distribution = dimension.distribution
    if isinstance(distribution, CategoricalDistribution):
        fit = [choice for choice in dimension.choices if choice <= most]
        if len(fit) == len(dimension.choices):
            return dimension
        dropped.update(set(dimension.choices) - set(fit))
        return replace(dimension, choices=fit, distribution=CategoricalDistribution(fit)) if fit else None
    if not isinstance(distribution, IntDistribution) or distribution.high <= most:
        return dimension
    dropped.add(distribution.high)
    if distribution.low > most:
        return None
    high = most - (most - distribution.low) % distribution.step
    return replace(dimension, distribution=IntDistribution(distribution.low, high, distribution.log, distribution.step))


def _rows_of_a_member(config: Any, meta: DataMeta) -> int:
    """Count the training rows that cross-validation leaves to a member of the smallest share."""
    count = config["objective"]["folds"]
    return meta.n_train - (-(-meta.n_train // count) if count > 1 else 0)


def _whose(rows: int, meta: DataMeta) -> str:
    return "" if rows == meta.n_train else " that are left to the weights of a member"


def refuse_impossible_trial(config: Any, meta: DataMeta) -> None:
    """Refuse a config whose trial with every default cannot be trained on the data that `meta` describes.

    Raises:
        UserError: it names the key.
    """
    _refuse_impossible(config.trial, meta, meta.n_train)


def _refuse_impossible(trial: TrialConfig, meta: DataMeta, rows: int, changed: str = "model.") -> None:
    from src.bilevel.requirements import refuse_impossible
    from src.engine.inspection import INSPECTOR, NoAnswerError
    from src.engine.model_size import refuse_untrainable

    if trial.batch_size > rows:
        raise UserError(f"{KEY}: {trial.batch_size} is more than the {rows} training rows{_whose(rows, meta)}")
    refuse_impossible(trial, meta, rows)
    if changed.startswith(("model.", KEY, "training.augment.", "training.regularization.")):
        with suppress(NoAnswerError):  # a bug in the model: its worker says which, and the trial fails
            INSPECTOR.ask(refuse_untrainable, trial.model, trial, meta)
