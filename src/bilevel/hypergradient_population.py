"""A population whose members learn outer variables by hypergradients while their weights train."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from src.bilevel.constants import CURVES as STATE  # in a checkpoint as in curves
from src.bilevel.estimating import batches_needed, estimator
from src.bilevel.outer_rows import outer_batches, with_outer_rows
from src.bilevel.outer_step import begin, take
from src.bilevel.problem import Loss, Problem, outer_gradients
from src.bilevel.settings import Settings
from src.bilevel.variables import OuterVariables, spread
from src.population.batching import pieces
from src.population.checkpoint import Checkpoint
from src.population.losses import loss_of_targets, losses
from src.population.member import Member
from src.population.population import Population
from src.population.rows import Rows
from src.system.errors import UserError

OF_PENALTIES = {"l1", "l2", "rate"}  # variables on which the training loss does not depend, but for penalties
OF_DATA = {"label_smoothing", "class_weights", "noise"}  # variables on which the loss of rows depends, not a penalty


class HypergradientPopulation(Population):
    """Members with a set of outer variables each: an outer step after every `interval` steps, or constants.

    An outer step judges the weights in evaluation mode on a batch of rows that they do not train on. The training loss in
    it is that of the latest batch, with its noise and masks and with penalties, whose gradient is neither clipped nor
    stepped by the optimizer: a step within an estimator is a plain one at the rate of the schedule. The `rate` alone follows
    the step that the optimizer has just made (Baydin et al. 2018).
    """

    def __init__(
        self,
        members: Sequence[Member],
        data: Rows,
        optimizer: Any,
        schedule: Any,
        checkpoints: Sequence[Checkpoint | None] | None = None,
        fused: bool | None = None,
    ) -> None:
        """Begin the members anew, or where their checkpoints left them: as `Population`.

        Args:
            members: K members of one signature, with `training.hypergradient`. A third of the training rows of each
                becomes its outer rows, unless its outer variables are constants.
            data: the rows.
            optimizer: makes a member's optimizer from its config.
            schedule: makes a member's schedule from its config.
            checkpoints: for each member where it goes on, or None where it begins; None: all begin.
            fused: one vmapped call for all members, or a plain call each; None fuses two or more.

        Raises:
            UserError: a member's config asks for what its model or the data do not have.
        """
        settings = Settings.of(members[0].config)
        assert settings is not None
        self.settings, self.estimate = settings, estimator(settings)
        if settings.learnt:
            members = [with_outer_rows(member, len(data.x_train)) for member in members]
        self._latest: deque[tuple[Tensor, Mapping[str, Tensor]]] = deque(maxlen=batches_needed(settings))
        self.class_weights_KC: Tensor | None = None
        self._moved_KP = torch.empty(0)
        super().__init__(members, data, optimizer, schedule, checkpoints, fused)
        if self.stack.looks_up and settings.learnt:
            raise UserError(
                "training.hypergradient: the model looks up training rows, and would find the targets of outer rows there: "
                "take training=standard"
            )

    @property
    def numbers_KV(self) -> Tensor:
        """The outer variables, as numbers without bounds."""
        return self.state[f"{STATE}numbers"]

    def _optimizer_state(self, saved: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Stack the optimizer's rows, and the outer variables with the state of their own steps, as saved or new."""
        stack = self.stack
        self.variables, rows = self._variables(), []
        for member, before in zip(stack.members, saved, strict=True):
            settings = Settings.of(member.config)
            assert settings is not None
            numbers_1V = self.variables.start(member, settings)[None].to(stack.device)
            fresh = {"numbers": numbers_1V, **begin(numbers_1V, list(self.variables.groups.values()))}
            rows.append({name: before.get(STATE + name, row[0]).to(stack.device) for name, row in fresh.items()})
        outer = {STATE + name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return super()._optimizer_state(saved) | outer

    def _variables(self) -> OuterVariables:
        """Lay out the outer variables."""
        stack, data = self.stack, self.data
        classes = int(data.y_train.max()) + 1 if data.classification else 0
        classes = len(data.meta.class_names or range(classes))
        return OuterVariables.of(self.settings, stack.layout, stack.modules[0], classes, stack.device)

    def _bind(self) -> None:
        """Make what follows from the members, and put the outer variables in the places of their hyperparameters."""
        super()._bind()
        self._fixed_l = {
            name: self._without_kernels(strength_KP)
            for name, strength_KP in (("l1", self.penalties.l1_KP), ("l2", self.penalties.l2_KP))
            if name in self.variables.groups
        }
        self._fixed_factors_KP = self.factors_KP
        rates = [s.rate for member in self.members if (s := Settings.of(member.config))]
        self._own_rate_K1 = self._rate_K1 = torch.tensor(rates, device=self.stack.device)[:, None]
        self._settle()

    def _without_kernels(self, strength_KP: Tensor | None) -> Tensor:
        strength_KP = torch.zeros_like(self.stack.p_KP) if strength_KP is None else strength_KP
        return strength_KP * (1 - self.variables.kernels_P)

    def _settle(self) -> None:
        """Train by the outer variables as they are now."""
        self._use(self.numbers_KV)

    def _tensors(self, numbers_KV: Tensor) -> dict[str, Tensor]:
        """Return the tensors by name [K, ...] that these outer variables are in the models; here there are none."""
        return {}

    def _use(self, numbers_KV: Tensor) -> dict[str, Tensor]:
        """Train by these outer variables from now on; return them as hyperparameters."""
        values = self.variables.values(numbers_KV)
        for name, fixed_KP in self._fixed_l.items():
            setattr(self.penalties, f"{name}_KP", fixed_KP + self.variables.strengths(name, values[name]))
        if "rate" in values:
            factors_KP = values["rate"].expand_as(self.stack.p_KP)
            self.factors_KP = factors_KP if self._fixed_factors_KP is None else self._fixed_factors_KP * factors_KP
        self.smoothing_K1 = values.get("label_smoothing", self.smoothing_K1)
        self.inputs.noise_K1 = values.get("noise", self.inputs.noise_K1)
        self.class_weights_KC = values.get("class_weights")
        return values

    def _row_weights(self, index_KB: Tensor, y_KB: Tensor) -> Tensor | None:
        """Return how much each row counts [K, B], by its class too."""
        weight_KB = super()._row_weights(index_KB, y_KB)
        if self.class_weights_KC is None:
            return weight_KB
        of_class_KB = torch.stack([w_C.gather(0, y_B) for w_C, y_B in zip(self.class_weights_KC, y_KB, strict=True)])
        return of_class_KB if weight_KB is None else weight_KB * of_class_KB

    # --- one epoch ---------------------------------------------------------------------------------------------------

    def next_steps(self, count: int) -> list[dict[str, Tensor]]:
        """Return what each of `count` steps needs; those with an outer step have its rows, `outer_rows` [K, B], too.

        An epoch that is shorter than `interval` has one outer step, its last.
        """
        steps = super().next_steps(count)
        self._latest.clear()
        if self.settings.learnt:
            interval = min(self.settings.interval, count)
            due = range(interval - 1, count, interval)
            size = self.members[0].config.batch_size
            index_SKB = torch.from_numpy(outer_batches(self.members, self.epochs, len(due), size))
            for place, index_KB in zip(due, index_SKB.to(self.stack.device), strict=True):
                steps[place]["outer_rows"] = index_KB
        return steps

    def step(self, index_KB: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Take one step of each member, and an outer step where it is due; return the losses before the step [K]."""
        before_KP = (
            self.stack.p_KP.detach().clone() if "outer_rows" in columns and "rate" in self.variables.groups else None
        )
        loss_K = super().step(index_KB, columns)
        self._latest.append((index_KB, columns))
        if "outer_rows" in columns:
            moved_KP = None if before_KP is None else self.stack.p_KP.detach() - before_KP
            self._outer_step(columns["outer_rows"], columns["lr"], moved_KP)
        return loss_K

    def _outer_step(self, index_KB: Tensor, lr_K1: Tensor, moved_KP: Tensor | None) -> None:
        """Step the outer variables by their hypergradients at the weights of now.

        Args:
            index_KB: the outer rows.
            lr_K1: the rate of the schedule.
            moved_KP: how far the latest step has moved the weights, where the rate is an outer variable.
        """
        numbers_KV, p_KP = self.numbers_KV, self.stack.p_KP.detach()
        groups, of_data = self.variables.groups, self.variables.groups.keys() & OF_DATA
        train = [self._train_loss(*batch, learnt=bool(of_data)) for batch in self._latest]
        in_penalties = groups.keys() <= OF_PENALTIES
        problem = Problem(train, self._outer_loss(index_KB), lr_K1, self._penalty_gradient if in_penalties else None)
        gradient_KV = torch.zeros_like(numbers_KV)
        if groups.keys() - {"rate"}:
            gradient_KV += self.estimate(problem, p_KP, numbers_KV)
        if moved_KP is not None:
            by_weights_KP, _ = outer_gradients(problem, p_KP, numbers_KV)
            gradient_KV[:, groups["rate"]] = torch.stack([row_P.sum() for row_P in by_weights_KP * moved_KP])[:, None]
        state = {name: self.state[STATE + name] for name in ("mean", "square", "steps")}
        take(numbers_KV, gradient_KV, state, list(groups.values()), self._rate_K1)
        self.variables.bound(numbers_KV)
        self._settle()
        self.stack.train_mode()

    def _train_loss(self, index_KB: Tensor, columns: Mapping[str, Tensor], learnt: bool) -> Loss:
        """Return the training loss of a batch, with penalties, as a function of weights and outer variables.

        Args:
            index_KB: the rows.
            columns: those of its step, which has the random numbers of noise and masks.
            learnt: whether outer variables change the batch, so that it must be made in the function.
        """
        stack, config = self.stack, self.members[0].config
        keys = {f"{name}.key": columns["keys"][:, 1 + place] for place, name in enumerate(stack.dropouts)}
        ready = None if learnt else pieces(self._batch(index_KB, columns), config)[0]
        noised = self.data.x_train[:1, ..., : self.inputs.numbers].numel() * index_KB.shape[1]

        def loss(weights_KP: Tensor, numbers_KV: Tensor) -> Tensor:
            penalty_K = self._penalty(weights_KP, numbers_KV)
            if "noise" in self.variables.groups and self.inputs.noise_K1 is not None:
                self.inputs.noise_K1 = spread(self.inputs.noise_K1, noised)
            piece = pieces(self._batch(index_KB, columns), config)[0] if ready is None else ready
            stack.train_mode()
            tensors = keys | self._tensors(numbers_KV)
            output_KBC = stack.compute(weights_KP, tensors, piece[0], columns["keys"][:, 0])
            return self._losses_alone(output_KBC, piece[1:]) + penalty_K

        return loss

    def _losses_alone(self, output_KBC: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """Return the losses [K], each by tensors of its own: shapes decide in which order second derivatives sum."""
        smoothing = None if self.smoothing_K1 is None else spread(self.smoothing_K1, output_KBC[0, ..., 0].numel())
        parts = []
        for k in range(len(output_KBC)):
            one = slice(k, k + 1)
            of_member = None if smoothing is None else smoothing[one]
            parts.append(loss_of_targets(output_KBC[one], [part[one] for part in targets], of_member).mean(1))
        return torch.cat(parts)

    def _penalty(self, weights_KP: Tensor, numbers_KV: Tensor) -> Tensor:
        """Return the penalties of the weights [K], and train by these outer variables."""
        self._use(numbers_KV)
        penalty_K = torch.zeros_like(weights_KP[:, 0])
        if self.penalties.l1_KP is not None:
            penalty_K = penalty_K + (self.penalties.l1_KP * weights_KP.abs()).sum(1)
        if self.penalties.l2_KP is not None:
            penalty_K = penalty_K + (self.penalties.l2_KP * weights_KP.square()).sum(1)
        return penalty_K

    def _penalty_gradient(self, weights_KP: Tensor, numbers_KV: Tensor) -> Tensor:
        """Return the penalties' gradient by the weights [K, P], and train by these outer variables."""
        self._use(numbers_KV)
        slope_KP = torch.zeros_like(weights_KP)
        if self.penalties.l1_KP is not None:
            slope_KP = slope_KP + self.penalties.l1_KP * weights_KP.sign()
        if self.penalties.l2_KP is not None:
            slope_KP = slope_KP + self.penalties.l2_KP * (2 * weights_KP)
        return slope_KP

    def _outer_loss(self, index_KB: Tensor) -> Loss:
        """Return the loss of outer rows as they are, in evaluation mode."""
        x_KB, y_KB = self.data.x_train[index_KB], self.data.y_train[index_KB]

        def loss(weights_KP: Tensor, numbers_KV: Tensor) -> Tensor:
            self._judging_mode()
            return losses(self.stack.compute(weights_KP, self._tensors(numbers_KV), x_KB), y_KB).mean(1)

        return loss

    def _judging_mode(self) -> None:
        """Put the models in the mode in which outer rows judge them."""
        self.stack.eval_mode()

    def _evaluate(self, batches: Sequence[Tensor]) -> list[dict[str, float]]:
        """Return a point of each member's curves, those of the outer variables too."""
        points = super()._evaluate(batches)
        outer = self.variables.points(self.numbers_KV)
        return [point | values for point, values in zip(points, outer, strict=True)]
