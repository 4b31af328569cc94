"""What members predict with, where that is not what they train on: averaged weights, or those of the best epoch."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from torch import Tensor

from src.population.checkpoint import Checkpoint
from src.population.early_stopping import kept_epochs, stops
from src.population.weight_averaging import Averages, averaged

if TYPE_CHECKING:
    from src.population.population import Population


class PredictionWeights:
    """Rows [K, P], other tensors and predictions of the members; those of `places` count, the others need none."""

    def __init__(self, population: "Population", states: Sequence[Checkpoint | None]) -> None:
        self.p_KP = population.p_KP.clone()
        self.fixed = {
            name: population.fixed[name].clone() for name in set(population.saved.values()) & set(population.fixed)
        }
        self.predictions: list[Tensor | None] = [None] * population.size
        for k, state in enumerate(states):
            if state and state.kept:
                tensors = {own: state.kept[name] for name, own in population.saved.items()}
                self.p_KP[k] = population.layout.flatten(tensors)
                for name, rows in self.fixed.items():
                    rows[k] = tensors[name]
                self.predictions[k] = state.predictions.to(self.p_KP.device)
        self.bind(population)

    @classmethod
    def of(cls, population: "Population", states: Sequence[Checkpoint | None]) -> "PredictionWeights | None":
        """That of a population, if any member needs it."""
        needed = any(averaged(member.config) or stops(member.config) for member in population.members)
        return cls(population, states) if needed else None

    def bind(self, population: "Population") -> None:
        """Take in who the members are."""
        configs = [member.config for member in population.members]
        self.places = [k for k, config in enumerate(configs) if averaged(config) or stops(config)]
        self.averages = Averages(population.members, population.epochs, population.device)

    def keep(self, population: "Population", places: Sequence[int]) -> None:
        """Go on with these members."""
        self.p_KP, self.fixed = self.p_KP[list(places)], {n: rows[list(places)] for n, rows in self.fixed.items()}
        self.predictions = [self.predictions[k] for k in places]
        self.bind(population)

    def evaluate(self, population: "Population") -> list[dict[str, float]]:
        """The points of all members after an epoch, each of the weights that it predicts with by now."""
        epochs = [epoch + 1 for epoch in population.epochs]
        if self.averages.places:
            self.averages.epoch(population.p_KP, population.state["average"], epochs)
        begun = self.averages.begun(epochs)
        with population.showing(*self.averages.shown(population, epochs)) if begun else nullcontext():
            points = population.evaluate()
            better = [k for k in self.places if self._better(population, k, points[k]["val/loss"])]
            self.p_KP[better] = population.p_KP[better]
            for name, rows in self.fixed.items():
                rows[better] = population.fixed[name][better]
            for k in better:
                self.predictions[k] = population.predictions[k].clone() if len(population.predictions) else None
        return points

    def saved(self, population: "Population", place: int) -> tuple[dict[str, Tensor], Tensor]:
        """A member's weights to predict with, by their `state_dict` names, and its predictions."""
        if self.predictions[place] is None:  # of the rows held out none were asked for
            with population.showing(self.p_KP, self.fixed):
                predictions = population.score_on_val()[1]
            self.predictions = [p if p is not None else predictions[k] for k, p in enumerate(self.predictions)]
        tensors = population.layout.unflatten(self.p_KP[place]) | {n: rows[place] for n, rows in self.fixed.items()}
        predicted = self.predictions[place]
        assert predicted is not None
        return {name: tensors[own].clone() for name, own in population.saved.items()}, predicted

    def _better(self, population: "Population", place: int, loss: float) -> bool:
        """Whether the epoch that has just ended is the one to keep."""
        losses = [*population.curves[place].get("val/loss", ()), loss]
        return kept_epochs(population.members[place].config, {"val/loss": losses})[-1] == len(losses)
