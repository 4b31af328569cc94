"""The sections `training.hypergradient` and `training.darts` of a member's config, of which it has one at most."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from src.system.trial_config import TrialConfig

Width = Literal["one", "layer", "parameter", "class", "edge"]  # how many numbers a variable has
ARCHITECTURE = "architecture"  # the outer variable of a supernet


@dataclass(frozen=True)
class Settings:
    """The estimator and the outer variables of a member: `conf/training/hypergradient.yaml` says what each key is.

    `variables`: the width of each that is on. `values`: constants in their place, by the names of their curves without
    `outer/`; empty: they are learnt.
    """

    estimator: str
    steps: int
    interval: int
    rate: float
    variables: Mapping[str, Width]
    values: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, config: TrialConfig) -> "Settings | None":
        """Read the settings from the config of a trial; None where it has no outer variables."""
        section, darts = config.training.hypergradient, config.training.darts
        if darts:
            estimator = "look_ahead" if darts["order"] == "second" else "direct"
            return cls(estimator, 1, darts["interval"], darts["rate"], {ARCHITECTURE: "edge"})
        if not section:
            return None
        variables = {name: width for name, width in section["variables"].items() if width}
        keys = {key: section[key] for key in ("estimator", "steps", "interval", "rate")}
        return cls(**keys, variables=variables, values=section.get("values") or {})

    @property
    def learnt(self) -> bool:
        """True where outer variables are learnt; else they are constants."""
        return not self.values


@dataclass(frozen=True)
class Guards:
    """Guards of a supernet against skip connections everywhere: `conf/training/darts.yaml` says what each key is."""

    warmup: float
    beta_decay: float
    auxiliary_skip: bool

    @classmethod
    def of(cls, config: TrialConfig) -> "Guards":
        """Read the guards from the config of a trial with `training.darts`."""
        section = config.training.darts
        assert section is not None
        return cls(section["warmup"], section["beta_decay"], section["auxiliary_skip"])
