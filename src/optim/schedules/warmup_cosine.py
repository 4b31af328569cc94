"""Half a cosine after a long warm-up."""

from dataclasses import dataclass

from src.optim.optimizer import Share
from src.optim.schedules.cosine import Cosine


@dataclass(frozen=True)
class WarmupCosine(Cosine):
    """Schedule `cosine`, with a `warmup` that takes 15 % of the run where none is given."""

    warmup: Share = 0.15
