"""The exponential ramp of a learning-rate range test, for several seeds as one population."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.components import make
from src.optim import rate_scale
from src.optim.schedules.ramp import Ramp
from src.population.member import Member, derived_seed
from src.population.population import Population
from src.population.worker import Bench, rows

WATCHED = 512  # validation rows on which accuracy is read after every step


def ramp(
    config: Mapping[str, Any], bench: Bench, seed: int, seeds: int, low: float, high: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """Raise `optimizer.lr` from `low` to `high`: rates [S], training losses [K, S], accuracies [K, S] (None: regression).

    The optimizer is the config's, its scaling by the batch size too; the schedule is the ramp.
    """
    data = rows(bench)
    config = {**config, "optimizer": {**config["optimizer"], "lr": low}, "epochs": 1}
    members = [Member(config, derived_seed(seed, 4, k)) for k in range(seeds)]
    population = Population(
        members,
        data,
        lambda c: make("optimizer", c["optimizer"], bench.trusted),
        lambda c: Ramp(high / low),
    )
    batch = config["batch_size"]
    passes = -(-steps * batch // len(data.x_train))
    order_KN = torch.cat([population.next_order(epoch) for epoch in range(passes)], 1)
    losses, hits = [], []
    columns = population.next_steps(steps)
    for s, column in enumerate(columns):
        population.train_mode()
        losses.append(population.step(order_KN[:, s * batch : (s + 1) * batch], column).tolist())
        if data.classification:
            right = population.predict(data.x_val[:WATCHED]).argmax(2) == data.y_val[:WATCHED]
            hits.append(right.double().mean(1).tolist())
    rates = np.array([float(column["lr"][0]) for column in columns]) / rate_scale(config)
    return rates, np.array(losses).T, np.array(hits).T if hits else None
