"""K members of one signature, trained in lock-step as one computation."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from src.optim.optimizer import Optimizer
from src.optim.schedule import Schedule
from src.population.activity_penalty import Activity, tapped
from src.population.batching import batch_at, batch_starts, pieces
from src.population.checkpoint import Checkpoint
from src.population.hashing import scramble
from src.population.hyperparameters import column
from src.population.input_noise import Inputs
from src.population.losses import loss_of_targets
from src.population.member import Member
from src.population.prediction_weights import PredictionWeights
from src.population.rate_factors import rate_factors
from src.population.reading_ahead import reading_ahead
from src.population.rows import Rows
from src.population.stack import Stack
from src.population.step_columns import Columns
from src.population.training_statistics import Statistics
from src.population.weight_penalties import Penalties, clip
from src.system.trial_config import TrialConfig


class Population:
    """Members in training. Between epochs any may be saved, dropped or cloned; each stands at an epoch of its own.

    `stack` has their parameters as one [K, P] tensor, a row a member; so are the gradients `g_KP` and every tensor of
    `state`, the optimizer's. `epochs` and `curves` are lists with an entry a member.
    """

    def __init__(
        self,
        members: Sequence[Member],
        data: Rows,
        optimizer: Callable[[TrialConfig], Optimizer],
        schedule: Callable[[TrialConfig], Schedule],
        checkpoints: Sequence[Checkpoint | None] | None = None,
        fused: bool | None = None,
    ) -> None:
        """Begin the members anew, or where their checkpoints left them.

        Args:
            members: K members of one signature.
            data: the rows that they learn from and are judged on; their device is the population's.
            optimizer: makes a member's optimizer from its config.
            schedule: makes a member's schedule from its config.
            checkpoints: for each member where it goes on, or None where it begins; None: all begin.
            fused: one vmapped call for all members, or a plain call each; None fuses two or more.

        Raises:
            UserError: a member's config asks for what its model or the data do not have.
        """
        checkpoints = checkpoints or [None] * len(members)
        self.data = data
        self.optimizers = [optimizer(member.config) for member in members]
        self.schedules = [schedule(member.config) for member in members]
        self.epochs = [start.epoch if start else 0 for start in checkpoints]
        self.curves = [{n: list(c) for n, c in start.curves.items()} if start else {} for start in checkpoints]
        self.stack = Stack(members, data, checkpoints, len(members) > 1 if fused is None else fused)
        self.state = self._optimizer_state([start.optimizer if start else {} for start in checkpoints])
        self.statistics: Statistics | None = None
        self._bind()
        self.prediction_weights = PredictionWeights.of(self.stack, self.epochs, checkpoints)

    @property
    def members(self) -> list[Member]:
        """The K members."""
        return self.stack.members

    def predict(self, x: Tensor) -> Tensor:
        """Compute all members' logits or standardised values [K, N, C] for the same rows, with the weights in training."""
        return self.stack.predict(x)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the members at `places` only; a place named twice is cloned."""
        self.stack.keep(places)
        index = torch.tensor(places, dtype=torch.long, device=self.stack.device)
        self.state = {name: rows[index] for name, rows in self.state.items()}
        for name in ("epochs", "optimizers", "schedules"):
            setattr(self, name, [getattr(self, name)[k] for k in places])
        self.curves = [{name: list(curve) for name, curve in self.curves[k].items()} for k in places]
        self._bind()
        if self.prediction_weights:
            self.prediction_weights.keep(places, self.epochs)

    def save(self, place: int) -> Checkpoint:
        """Return everything of the member at `place` that its next epoch needs, after at least one epoch."""
        stack, member = self.stack, self.members[place]
        if self.prediction_weights and place in self.prediction_weights.places:
            weights, predictions = self.prediction_weights.saved(place)
        else:
            if not len(stack.predictions):
                _, stack.predictions = stack.score_on_val()
            weights, predictions = {}, stack.predictions[place]
        rows = {
            name: rows[place]
            for name, rows in self.state.items()
            if name != "average" or member.config.training.averaging.on
        }
        return Checkpoint(
            self.epochs[place],
            stack.state_dict(place, stack.p_KP, stack.fixed),
            {name: row_P.clone() for name, row_P in rows.items()},
            {name: list(curve) for name, curve in self.curves[place].items()},
            predictions.clone(memory_format=torch.contiguous_format),
            weights,
        )

    def _optimizer_state(self, saved: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Stack the optimizer's rows [K, P], zero where a member begins; of averaged weights the weights themselves."""
        p_KP, device = self.stack.p_KP, self.stack.device
        zero_P = torch.zeros(p_KP.shape[1])
        names = self.optimizers[0].state
        state = {name: torch.stack([rows.get(name, zero_P) for rows in saved]).to(device) for name in names}
        if any(member.config.training.averaging.on for member in self.members):
            averages = [rows.get("average", p_P).to(device) for rows, p_P in zip(saved, p_KP, strict=True)]
            state["average"] = torch.stack(averages)
        return state

    def _bind(self) -> None:
        """Make what follows from the members: gradients, and columns of what each has of its own."""
        stack, device = self.stack, self.stack.device
        self.g_KP = torch.zeros_like(stack.p_KP)
        self.gradients = stack.views(self.g_KP)
        layers, rows = len(stack.dropouts), len(self.data.x_train)
        self.columns = Columns(self.members, self.optimizers, self.schedules, layers, rows, device)
        self.inputs = Inputs(self.members, self.data.meta, device)
        self.penalties = Penalties(self.members, stack.modules[0], stack.layout, stack.p_KP)
        self.activity = Activity(self.members, device)
        self.factors_KP = rate_factors(self.members, stack.modules[0], stack.layout, stack.p_KP)
        self.clip_K1 = column(self.members, lambda training: training.clip_norm, device)
        self.smoothing_K1 = column(self.members, lambda training: training.label_smoothing, device)
        weights = [torch.from_numpy(member.weights) for member in self.members if member.weights is not None]
        self.weights_KN = torch.stack(weights).to(device) if weights else None

    # --- one epoch ---------------------------------------------------------------------------------------------------

    def epoch(self) -> list[dict[str, float]]:
        """Train every member for one epoch of its own and evaluate it; returns a point of each member's curves."""
        order_KN, batch = self.next_order(), batch_at(self.members[0].config, self.epochs[0])
        batches = [order_KN[:, start : start + batch] for start in batch_starts(order_KN.shape[1], batch)]
        steps = self.next_steps(len(batches))
        total_K, rows = torch.zeros(self.stack.size, device=self.stack.device), 0
        self.statistics = Statistics(self.stack, self.epochs, len(batches))
        self.stack.train_mode()
        in_memory = reading_ahead(batches, self.data.x_train) if self.data.larger_than_memory else batches
        for index_KB, step in zip(in_memory, steps, strict=True):
            total_K += self.step(index_KB, step) * index_KB.shape[1]
            rows += index_KB.shape[1]
        self.stack.collect_buffers()
        statistics = self.statistics.points(self.curves)
        points = self._evaluate(batches)
        for k, (point, total) in enumerate(zip(points, total_K.tolist(), strict=True)):
            point |= {"train/loss": total / rows, "lr": float(steps[-1]["lr"][k])} | statistics[k]
            for name, value in point.items():  # one that an earlier version had not begins with what is undefined
                self.curves[k].setdefault(name, [math.nan] * self.epochs[k]).append(value)
            self.epochs[k] += 1
        return points

    def _evaluate(self, batches: Sequence[Tensor]) -> list[dict[str, float]]:
        """Return a point of each member's curves for the weights that it predicts with after these batches."""
        if not self.prediction_weights:
            return self.stack.evaluate()
        epochs = [epoch + 1 for epoch in self.epochs]
        return self.prediction_weights.evaluate(epochs, self.curves, self.state.get("average"), batches)

    def step(self, index_KB: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Take one step of each member on its rows, with `columns` of `next_steps`; return the losses before it [K]."""
        losses_K = []
        batch = [index_KB, *self._batch(index_KB, columns)]
        for k, (rows_KB, *piece) in enumerate(pieces(batch, self.members[0].config)):
            keys = columns["keys"] if k == 0 else scramble(columns["keys"] + k)
            self.stack.use_rows(rows_KB)
            loss_K, gradients = self._gradients(piece, keys, index_KB.shape[1])
            with torch.no_grad():
                (torch._foreach_add_ if k else torch._foreach_copy_)(self.gradients, gradients)
            losses_K.append(loss_K.detach())
        with torch.no_grad():
            self._update(columns)
        return reduce(torch.add, losses_K)

    def _update(self, columns: Mapping[str, Tensor]) -> None:
        """Change the parameters by the gradients that stand in `g_KP`."""
        p_KP = self.stack.p_KP
        self.penalties.add_gradient(p_KP, self.g_KP)
        if self.statistics:
            self.statistics.see(self.g_KP)
        if self.clip_K1 is not None:
            clip(self.g_KP, self.clip_K1)
        if self.factors_KP is None:
            self.optimizers[0].update(p_KP, self.g_KP, self.state, columns)
        else:
            before_KP = p_KP.clone()
            self.optimizers[0].update(p_KP, self.g_KP, self.state, columns)
            torch.lerp(before_KP, p_KP, self.factors_KP, out=p_KP)
        self.penalties.after_step(p_KP)
        if self.prediction_weights and "average" in self.state:
            self.prediction_weights.averages.step(p_KP, self.state["average"])

    def _batch(self, index_KB: Tensor, columns: Mapping[str, Tensor]) -> list[Tensor]:
        """Return inputs [K, B, ...], targets and, where rows do not count alike, weights [K, B]: see `Inputs.targets`."""
        x, y = self.data.x_train, self.data.y_train
        flat = index_KB.reshape(-1)
        x_KB = x.index_select(0, flat).view(*index_KB.shape, *x.shape[1:])
        y_KB = y.index_select(0, flat).view(index_KB.shape)
        weight_KB = self._row_weights(index_KB, y_KB)
        return [self.inputs(x_KB, index_KB, columns), *self.inputs.targets(y_KB, weight_KB, columns)]

    def _row_weights(self, index_KB: Tensor, y_KB: Tensor) -> Tensor | None:
        """Return how much each row counts [K, B], given its place and its target; None where all count alike."""
        return None if self.weights_KN is None else self.weights_KN.gather(1, index_KB)

    def _gradients(self, piece: list[Tensor], keys_KL: Tensor, rows: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute what a piece adds to the losses [K] and to the gradients of a batch of so many `rows`."""
        stack = self.stack
        stack.use_dropout_keys(keys_KL[:, 1:])
        with tapped(stack.modules, self.activity.on) as taps:
            output_KBC = stack.forward(piece[0], per_member=True, seed_K=keys_KL[:, 0])
        loss_K = loss_of_targets(output_KBC, piece[1:], self.smoothing_K1).mean(1)
        if piece[0].shape[1] < rows:
            loss_K = loss_K * (piece[0].shape[1] / rows)
        slopes = [torch.ones_like(loss_K), *(self.activity.gradient(k, a, rows, stack.fused) for k, a in taps)]
        ends = [loss_K, *(activity for _, activity in taps)]
        return loss_K, torch.autograd.grad(ends, stack.leaves, slopes, materialize_grads=True)

    def next_order(self, ahead: int = 0) -> Tensor:
        """Return each member's rows in the order of its next epoch, or of one further `ahead` [K, N]."""
        return self.columns.order([epoch + ahead for epoch in self.epochs])

    def next_steps(self, count: int) -> list[dict[str, Tensor]]:
        """Return what each of `count` steps in the coming epoch needs: see `Columns.steps` and `Inputs.columns`."""
        steps = self.columns.steps(self.epochs, self.curves, count)
        for name, column_SK in self.inputs.columns(self.epochs, count).items():
            for step, column_K in zip(steps, column_SK, strict=True):
                step[name] = column_K
        return steps
