"""The config of a trial, and so of a member: by what it is built and trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from src.system.json_object import JsonObject


@dataclass(frozen=True, kw_only=True)
class Section(JsonObject):
    """A section of a trial's config."""

    title: ClassVar[str] = "the config of a trial"


@dataclass(frozen=True, kw_only=True)
class Penalty(Section):
    """Strengths of a penalty: of the sum of absolute values, and of the sum of squares."""

    l1: float = 0.0
    l2: float = 0.0

    @property
    def strengths(self) -> dict[str, float]:
        """Both strengths by name."""
        return {"l1": self.l1, "l2": self.l2}


@dataclass(frozen=True, kw_only=True)
class Regularization(Penalty):
    """Penalties of the kernels, the biases and the activities, and the largest norm of a unit's weights; 0: none."""

    bias: Penalty = field(default_factory=Penalty)
    activity: Penalty = field(default_factory=Penalty)
    max_norm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Augment(Section):
    """Changes of images: see `src/population/augmentation.py`."""

    flip: float = 0.0
    alternating_flip: bool = False
    shift: float = 0.0
    rotation: float = 0.0
    erasing: float = 0.0

    @property
    def strengths(self) -> dict[str, float | bool]:
        """The strengths and switches by name."""
        names = ("flip", "alternating_flip", "shift", "rotation", "erasing")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Averaging(Section):
    """The decay of an EMA of the weights, or the share of the epochs after which their SWA begins."""

    ema: float = 0.0
    swa: float | None = None

    @property
    def on(self) -> bool:
        """True where a member predicts with an average."""
        return bool(self.ema) or self.swa is not None


@dataclass(frozen=True, kw_only=True)
class EarlyStopping(Section):
    """Early stopping: a member ends after `patience` epochs without a loss lower by `min_delta`; None: never."""

    patience: int | None = None
    min_delta: float = 0.0


@dataclass(frozen=True, kw_only=True)
class BatchGrowth(Section):
    """Growth of the batch: it is multiplied by `factor` at each of the shares `at` of the epochs."""

    factor: float = 1.0
    at: Sequence[float] = ()

    @property
    def on(self) -> bool:
        """True where the batch grows."""
        return self.factor != 1.0


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    """The training of a member, beside its optimizer and schedule: `conf/training/standard.yaml` says what each does."""

    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    mixup: float = 0.0
    noise: float = 0.0
    regularization: Regularization = field(default_factory=Regularization)
    augment: Augment = field(default_factory=Augment)
    averaging: Averaging = field(default_factory=Averaging)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    batch_growth: BatchGrowth = field(default_factory=BatchGrowth)
    accumulate: int = 1
    hypergradient: Mapping[str, Any] | None = None
    darts: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class BatchScaling(Section):
    """The rule by which the rate follows the batch size, and the epochs in which it rises to what that makes of it."""

    rule: Literal["none", "linear", "sqrt"]
    base_batch: int
    rise_epochs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrialConfig(Section):
    """The config of a trial. `model`, `optimizer` and `schedule` name a component, whose constructor is their schema."""

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    batch_size: int
    epochs: int
    training: Training = field(default_factory=Training)

    @property
    def lr(self) -> float:
        """The rate of the optimizer."""
        return float(self.optimizer["lr"])

    @property
    def batch_scaling(self) -> BatchScaling:
        """The section `optimizer.batch_scaling`, which every optimizer has; where an earlier version wrote none, no rule."""
        return BatchScaling.from_json(self.optimizer.get("batch_scaling") or {"rule": "none", "base_batch": 1})

    def with_optimizer(self, **keys: Any) -> Self:
        """Return the config with other values for keys of the optimizer."""
        return replace(self, optimizer={**self.optimizer, **keys})

    def with_model(self, **keys: Any) -> Self:
        """Return the config with other values for keys of the model."""
        return replace(self, model={**self.model, **keys})
