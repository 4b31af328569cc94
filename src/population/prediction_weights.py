"""The weights that members predict with, where they train on others: averaged weights, or those of the best epoch."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from torch import Tensor

from src.population.checkpoint import Checkpoint
from src.population.early_stopping import prediction_epochs, stops
from src.population.stack import Stack
from src.population.weight_averaging import Averages


class PredictionWeights:
    """Parameters [K, P], other saved tensors [K, ...] and predictions of a stack's members, for those at `places`."""

    def __init__(self, stack: Stack, epochs: Sequence[int], checkpoints: Sequence[Checkpoint | None]) -> None:
        """Begin with the weights of `checkpoints`, or as the `stack`'s own; `epochs`: those that each member has done."""
        self.stack, self.p_KP = stack, stack.p_KP.clone()
        names = set(stack.saved.values()) & set(stack.fixed)
        self.fixed = {name: stack.fixed[name].clone() for name in names}
        self.predictions: list[Tensor | None] = [None] * stack.size
        for k, checkpoint in enumerate(checkpoints):
            if checkpoint and checkpoint.prediction_weights:
                tensors = {first: checkpoint.prediction_weights[name] for name, first in stack.saved.items()}
                self.p_KP[k] = stack.layout.flatten(tensors)
                for name, rows in self.fixed.items():
                    rows[k] = tensors[name]
                self.predictions[k] = checkpoint.predictions.to(stack.device)
        self._bind(epochs)

    @classmethod
    def of(
        cls, stack: Stack, epochs: Sequence[int], checkpoints: Sequence[Checkpoint | None]
    ) -> "PredictionWeights | None":
        """Make the prediction weights of a `stack` after `epochs` of `checkpoints`; None if no member needs its own."""
        needed = any(member.config.training.averaging.on or stops(member.config) for member in stack.members)
        return cls(stack, epochs, checkpoints) if needed else None

    def keep(self, places: Sequence[int], epochs: Sequence[int]) -> None:
        """Go on with the members at `places`, which have done `epochs`; the stack does so already."""
        self.p_KP, self.fixed = self.p_KP[list(places)], {n: rows[list(places)] for n, rows in self.fixed.items()}
        self.predictions = [self.predictions[k] for k in places]
        self._bind(epochs)

    def evaluate(
        self,
        epochs: Sequence[int],
        curves: Sequence[Mapping[str, Sequence[float]]],
        average_KP: Tensor | None,
        batches: Sequence[Tensor],
    ) -> list[dict[str, float]]:
        """Take in the weights after an epoch, and return a point of each member's curves for those it now predicts with.

        Args:
            epochs: how many each member has done, with this one.
            curves: each member's curves before this epoch.
            average_KP: the rows of averaged weights, changed in place; None where no member averages.
            batches: the epoch's batches, training rows [K, B] each.
        """
        stack, averaged_tensors = self.stack, None
        if average_KP is not None:
            self.averages.epoch(stack.p_KP, average_KP, epochs)
            averaged_tensors = self.averages.tensors(stack, average_KP, epochs, batches)
        with stack.predicting_with(*averaged_tensors) if averaged_tensors else nullcontext():
            points = stack.evaluate()
            best = [k for k in self.places if self._is_best(k, curves[k], points[k]["val/loss"])]
            self.p_KP[best] = stack.p_KP[best]
            for name, rows in self.fixed.items():
                rows[best] = stack.fixed[name][best]
            for k in best:
                self.predictions[k] = stack.predictions[k].clone() if len(stack.predictions) else None
        return points

    def saved(self, place: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return a member's weights to predict with, by their `state_dict` names, and its predictions."""
        predictions = self.predictions[place]
        if predictions is None:  # of the holdout rows none were asked for
            with self.stack.predicting_with(self.p_KP, self.fixed):
                scored = self.stack.score_on_val()[1]
            self.predictions = [scored[k] if p is None else p for k, p in enumerate(self.predictions)]
            predictions = scored[place]
        return self.stack.state_dict(place, self.p_KP, self.fixed), predictions

    def _bind(self, epochs: Sequence[int]) -> None:
        """Note which members need weights of their own, and how they average."""
        members = self.stack.members
        self.places = [k for k, m in enumerate(members) if m.config.training.averaging.on or stops(m.config)]
        self.averages = Averages(members, epochs, self.stack.device)

    def _is_best(self, place: int, curves: Mapping[str, Sequence[float]], loss: float) -> bool:
        """Tell whether an epoch with this validation loss is the one to predict with, by the member's curves before it."""
        losses = [*curves.get("val/loss", ()), loss]
        return prediction_epochs(self.stack.members[place].config, {"val/loss": losses})[-1] == len(losses)
