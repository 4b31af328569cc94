"""Requirements of outer variables that a config, or the data, do not meet."""

from src.bilevel.outer_rows import outer_count
from src.bilevel.settings import Settings
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.trial_config import TrialConfig

OF_CLASSES = ("label_smoothing", "class_weights")


def rows_of_weights(config: TrialConfig, rows: int) -> int:
    """Return how many of a member's training rows its weights train on, by the config of a trial."""
    settings = Settings.of(config)
    return rows - outer_count(rows) if settings and settings.learnt else rows


def refuse_impossible(config: TrialConfig, meta: DataMeta, rows: int) -> None:
    """Refuse a `config` whose outer variables cannot be learnt on the data that `meta` describes.

    Args:
        config: of a trial; one without outer variables is not refused.
        meta: of the data.
        rows: how many training rows a member has.

    Raises:
        UserError: it names the key.
    """
    settings, section = Settings.of(config), "training.darts" if config.training.darts else "training.hypergradient"
    if settings is None:
        return
    if not settings.variables:
        raise UserError(f"{section}.variables: all are null; name one at least, such as {section}.variables.l2=layer")
    for name in OF_CLASSES:
        if name in settings.variables and not meta.classification:
            raise UserError(f"{section}.variables.{name}: it is for classes, but the target is a number: take null")
    for key in ("l1", "l2"):
        if asked := config.training.regularization.activity.strengths[key]:
            raise UserError(
                f"training.regularization.activity.{key}: {asked} is no part of the loss that outer gradients are of: take 0"
            )
    if not settings.learnt:
        return
    instead = "model=cell" if config.training.darts else "training=standard"
    outer, classes = outer_count(rows), len(meta.class_names) if meta.classification else 1
    if outer < classes:
        raise UserError(
            f"{section}: a third of the {rows} training rows are {outer} outer rows, fewer than the {classes} classes; "
            f"take {instead}"
        )
    if config.batch_size > rows_of_weights(config, rows):
        left = f"{rows_of_weights(config, rows)} training rows that {section} leaves to the weights of a member"
        raise UserError(f"batch_size: {config.batch_size} is more than the {left}")
