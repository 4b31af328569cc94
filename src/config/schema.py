"""The sections of the config that are no component, and what each may hold.

A component's constructor is the schema of its own section: see `src/config/loading.py`, which checks both.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(gt=0)]
From0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # of a file


class Section(BaseModel):
    """A section of the config: no other keys."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Penalty(Section):
    """Strengths of a penalty: of the sum of absolute values, and of the sum of squares."""

    l1: From0
    l2: From0


class Regularization(Penalty):
    """Penalties in the loss: of the kernels, the biases, the activities; and the largest norm of a unit's weights."""

    bias: Penalty
    activity: Penalty
    max_norm: From0


class Augment(Section):
    """Changes of images, each by chance, before every step."""

    flip: Share
    alternating_flip: bool
    shift: Share
    rotation: Annotated[float, Field(ge=0, le=180)]
    erasing: Share

    @model_validator(mode="after")
    def _one_flip(self) -> Self:
        if self.flip and self.alternating_flip:
            raise ValueError("flip mirrors by chance, alternating_flip in every second epoch: take one of them")
        return self


class BatchGrowth(Section):
    """Growth of the batch: it is multiplied by `factor` at each of the shares `at` of the epochs."""

    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    at: list[Annotated[float, Field(gt=0, lt=1)]]


class Averaging(Section):
    """Averages of the weights to predict with: the decay of an EMA, or the share of the epochs after which an SWA begins."""

    ema: Annotated[float, Field(ge=0, lt=1)]
    swa: Annotated[float, Field(ge=0, lt=1)] | None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.ema and self.swa is not None:
            raise ValueError("ema and swa exclude each other: set ema=0 or swa=null")
        return self


class EarlyStopping(Section):
    """Early stopping: a member ends after `patience` epochs without a loss lower by `min_delta`; null: never."""

    patience: Count | None
    min_delta: Annotated[float, Field(ge=0)]


class OuterVariables(Section):
    """The outer variables: how many numbers each has; null: it is not learnt."""

    l1: Literal["one", "layer", "parameter"] | None
    l2: Literal["one", "layer", "parameter"] | None
    label_smoothing: Literal["one"] | None
    class_weights: Literal["class"] | None
    noise: Literal["one"] | None
    rate: Literal["one"] | None


class Hypergradient(Section):
    """The learning of hyperparameters by gradients of a validation loss; with `values` they are constants."""

    estimator: Literal["one_step", "unrolled", "neumann", "conjugate_gradient"]
    steps: Count
    interval: Count
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    variables: OuterVariables
    values: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]


class Darts(Section):
    """The learning of a supernet's architecture parameters, and the nets that are derived from it."""

    derived: dict[str, Name]
    supernets: Count
    order: Literal["first", "second"]
    interval: Count
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    beta_decay: From0
    auxiliary_skip: bool
    most_skips: Annotated[int, Field(ge=0)] | None


class Training(Section):
    """The training of a member, beside its optimizer and schedule."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    clip_norm: From0
    mixup: From0
    noise: From0
    regularization: Regularization
    augment: Augment
    averaging: Averaging
    early_stopping: EarlyStopping
    batch_growth: BatchGrowth
    accumulate: Count
    hypergradient: Hypergradient | None = None
    darts: Darts | None = None


class Tracking(Section):
    """The place of MLflow, and the name of the experiment there."""

    uri: str
    experiment: str


class StudyKeys(Section):
    """The place of live studies, and what to do with one that is there."""

    root: str
    fresh: bool
    accept_code: bool


class TrialKeys(Section):
    """Bounds of a trial: the seconds that it may train between two reports; None: for ever."""

    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


class StoreKeys(Section):
    """The place of files for other machines; None: there is none."""

    url: str | None


class Replay(Section):
    """The schedule that `search=replay` follows: the name of a study, or the path of a schedule.json."""

    study: str | None


class Objective(Section):
    """Minimized measures, bounds of measures, and folds of training rows by which a trial is judged; 1: validation rows.

    `candidates`: between so many of the best trials a second seed decides.
    """

    minimize: list[str] | None
    constraints: dict[str, float]
    candidates: Count
    folds: Count


class LinearRamp(Section):
    """The linear ramp of the range test: its length, and how many times it looks at the accuracy."""

    epochs: Count
    points: Annotated[int, Field(ge=10, le=10_000)]


class SideBySide(Section):
    """The parallel form of the range test: so many rates, each trained so long."""

    members: Annotated[int, Field(ge=2, le=1_000)]
    epochs: Count


class LrRange(Section):
    """The learning-rate range test: an exponential ramp of so many steps for several seeds at once, and the other forms."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=10, le=100_000)]
    rows: Count
    seeds: Annotated[int, Field(gt=0, le=1_000)]
    rule: Literal["valley", "steepest", "parallel"]
    linear: LinearRamp
    parallel: SideBySide

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class Export(Section):
    """Files of the chosen ensemble that need nothing of this project."""

    pt2: bool
    onnx: bool


class Ensemble(Section):
    """The metric of the validation rows by which one ensemble is chosen; null: the NLL, or the RMSE."""

    select_by: str | None


class OfEverySearch(Section):
    """The keys of `search` that every strategy has."""

    rate_prior: Literal["none", "lr_range"]
    terminator: str | dict[str, Any]
    proxy: str | dict[str, Any]


class BatchScaling(Section):
    """The rule by which the rate follows the batch size, and the epochs in which it rises to what that makes of it."""

    rule: Literal["none", "linear", "sqrt"]
    base_batch: Count
    rise_epochs: From0


class RateFactors(Section):
    """Factors of the rate by the kind of parameter; `by_fan_in`: weights have 1 / √(fan in) beside."""

    by_fan_in: bool
    bias: From0
    scale: From0
    activation: From0
    embedding: From0


class OfEveryOptimizer(Section):
    """The keys of `optimizer` that every optimizer has."""

    batch_scaling: BatchScaling
    rate_factors: RateFactors


class OfEveryCombiner(Section):
    """The keys of `combiner` that every way to join has."""

    temperature: bool
    fit_on: Literal["validation", "out_of_fold"] = "validation"
    complexity: From0 | None = None


class OfEveryExecutor(Section):
    """The key of every executor: seconds after which what still trains is given to an idle worker too; None: never."""

    patience: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


SHARED: dict[str, type[Section]] = {
    "search": OfEverySearch,
    "optimizer": OfEveryOptimizer,
    "combiner": OfEveryCombiner,
    "executor": OfEveryExecutor,
}


class Root(Section):
    """The whole config; components and data are checked by their own schemas."""

    data: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    training: Training
    search: dict[str, Any]
    members: dict[str, Any]
    refit: bool
    combiner: dict[str, Any]
    executor: dict[str, Any]
    models: list[Name]
    baselines: list[Literal["majority", "linear", "boosting", "boosting_tuned"]]
    objective: Objective
    n_trials: Count
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    seed: Annotated[int, Field(ge=0)]
    workers: Count | Literal["auto"]
    slots: Annotated[int, Field(gt=0, le=10_000)] | Literal["auto"]
    device: str
    tracking: Tracking
    trial: TrialKeys
    storage: str | None
    store: StoreKeys
    study: StudyKeys
    outputs: str
    unsuitable: Literal["refuse", "skip"]
    ensemble: Ensemble
    export: Export
    lr_range: LrRange
    replay: Replay | None = None
    trusted: list[str]
    warm_start: str | None
    choose: dict[str, Any]
    space: dict[str, Any]
