"""K members of one signature, trained in lock-step as one computation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from src.optim.optimizer import Optimizer
from src.optim.schedule import Schedule
from src.population.activity_penalty import Activity, tapped
from src.population.batching import batch_at, batch_starts, pieces
from src.population.checkpoint import Checkpoint
from src.population.exact_layers import Dropout
from src.population.hashing import scramble
from src.population.hyperparameters import column
from src.population.input_noise import Inputs
from src.population.losses import loss_of_targets, score
from src.population.member import Member
from src.population.parameter_layout import Layout, fixed, saved_names
from src.population.prediction_weights import PredictionWeights
from src.population.requirements import refuse_impossible
from src.population.rows import Rows
from src.population.stack import EVALUATION_ROWS, HELD_ROWS, build_model, stacked_modules
from src.population.step_columns import Columns
from src.population.training_statistics import Statistics
from src.population.vmapped import Stacked
from src.population.weight_averaging import averaged
from src.population.weight_penalties import Penalties, clip

NEVER = -(2**31)  # the threshold of a dropout that drops nothing


class Population:
    """Members in training. Between epochs any may be saved, dropped or cloned; each stands at an epoch of its own.

    All parameters are one [K, P] tensor, a row a member; so are the gradients and every state of the optimizer.
    """

    def __init__(
        self,
        members: Sequence[Member],
        data: Rows,
        optimizer: Callable[[Mapping[str, Any]], Optimizer],
        schedule: Callable[[Mapping[str, Any]], Schedule],
        states: Sequence[Checkpoint | None] | None = None,
        fused: bool | None = None,
    ) -> None:
        """Begin the members anew, or where `states` left them.

        `optimizer` and `schedule` make a member's own from its config. `fused`: one vmapped call for all, or a plain
        call each; None fuses two or more.
        """
        states = states or [None] * len(members)
        self.data, self.device = data, data.x_train.device
        self.members = list(members)
        self.optimizers = [optimizer(m.config) for m in members]
        self.schedules = [schedule(m.config) for m in members]
        self.epochs = [s.epoch if s else 0 for s in states]
        self.curves = [{n: list(c) for n, c in s.curves.items()} if s else {} for s in states]
        self.fused = len(members) > 1 if fused is None else fused
        self.modules = [build_model(m, data.meta, s).to(self.device) for m, s in zip(members, states, strict=True)]
        for member, module in zip(members, self.modules, strict=True):
            refuse_impossible(member.config, module, data.meta)
        self.layout, self.saved = Layout.of(self.modules[0]), saved_names(self.modules[0])
        self.dropouts = [name for name, layer in self.modules[0].named_modules() if isinstance(layer, Dropout)]
        self.p_KP = torch.stack([self.layout.flatten(dict(m.named_parameters())) for m in self.modules]).to(self.device)
        others = [fixed(m) for m in self.modules]
        self.fixed = {n: torch.stack([o[n] for o in others]) for n in others[0]}
        zero = torch.zeros(self.p_KP.shape[1])
        slots = self.optimizers[0].state
        rows = [s.optimizer if s else {} for s in states]
        self.state = {n: torch.stack([row.get(n, zero) for row in rows]).to(self.device) for n in slots}
        if any(averaged(m.config) for m in members):
            own = [row.get("average", p_P).to(self.device) for row, p_P in zip(rows, self.p_KP, strict=True)]
            self.state["average"] = torch.stack(own)
        self.predictions = torch.empty(0)
        self.statistics: Statistics | None = None
        if self.fused:
            self.modules = self.modules[:1]
            self.stacked = Stacked(self.modules[0], [*self.layout.shapes, *self.fixed])
        self._bind()
        self.kept = PredictionWeights.of(self, states)

    @property
    def size(self) -> int:
        return len(self.members)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the members at `places` only; a place named twice is cloned."""
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        self.p_KP = self.p_KP[index]
        self.state = {n: s[index] for n, s in self.state.items()}
        self.fixed = {n: b[index] for n, b in self.fixed.items()}
        self.predictions = self.predictions[index] if len(self.predictions) else self.predictions
        for name in ("members", "epochs", "optimizers", "schedules"):
            setattr(self, name, [getattr(self, name)[k] for k in places])
        self.curves = [{n: list(c) for n, c in self.curves[k].items()} for k in places]
        if self.size == 1 and self.device.type == "cpu":  # elsewhere the fused form has bits of its own
            self.fused = False
        if not self.fused:
            self.modules = [build_model(m, self.data.meta, None).to(self.device) for m in self.members]
        self._bind()
        if self.kept:
            self.kept.keep(self, places)

    def save(self, place: int) -> Checkpoint:
        """Everything of one member that its next epoch needs, after at least one epoch."""
        kept, predictions = self.kept.saved(self, place) if self.kept and place in self.kept.places else ({}, None)
        if predictions is None:
            if not len(self.predictions):
                _, self.predictions = self.score_on_val()
            predictions = self.predictions[place]
        own = averaged(self.members[place].config)
        tensors = self.layout.unflatten(self.p_KP[place]) | {n: b[place] for n, b in self.fixed.items()}
        return Checkpoint(
            self.epochs[place],
            {n: tensors[own].clone() for n, own in self.saved.items()},
            {n: s[place].clone() for n, s in self.state.items() if n != "average" or own},
            {n: list(c) for n, c in self.curves[place].items()},
            predictions.clone(memory_format=torch.contiguous_format),
            kept,
        )

    @contextmanager
    def showing(self, p_KP: Tensor, fixed: Mapping[str, Tensor]) -> Iterator[None]:
        """For a while the members predict with these parameters, and these of their other tensors."""
        others = [self.fixed[name] for name in fixed]
        shown, own = [p_KP, *fixed.values()], [tensor.clone() for tensor in (self.p_KP, *others)]
        with torch.no_grad():
            torch._foreach_copy_([self.p_KP, *others], shown)
            try:
                yield
            finally:
                self._collect()
                torch._foreach_copy_([self.p_KP, *others], own)

    def _bind(self) -> None:
        """Make the views through which the flat rows are computed with, and the members' columns."""
        self.keys_KL = torch.zeros(self.size, len(self.dropouts), dtype=torch.int32, device=self.device)
        self.fixed |= {f"{name}.key": self.keys_KL[:, k] for k, name in enumerate(self.dropouts)}
        self.g_KP = torch.zeros_like(self.p_KP)
        self.leaves, self.gradients = self._views(self.p_KP), self._views(self.g_KP)
        if self.fused:
            for leaf in self.leaves:
                leaf.requires_grad_()
        else:
            self._own()
        self.active = any(bool((self.fixed[f"{name}.threshold"] > NEVER).any()) for name in self.dropouts)
        for module in self.modules:
            for name in self.dropouts:
                module.get_submodule(name).active = self.active  # type: ignore[assignment]
        count, rows = len(self.dropouts), len(self.data.x_train)
        self.columns = Columns(self.members, self.optimizers, self.schedules, count, rows, self.device)
        self.inputs = Inputs(self.members, self.data.meta, self.device)
        self.penalties = Penalties(self.members, self.modules[0], self.layout, self.p_KP)
        self.activity = Activity(self.members, self.device)
        self.clip_K1 = column(self.members, "training.clip_norm", self.device)
        self.smoothing_K1 = column(self.members, "training.label_smoothing", self.device)
        weights = [torch.from_numpy(m.weights) for m in self.members if m.weights is not None]
        self.weights_KN = torch.stack(weights).to(self.device) if weights else None
        held = [torch.from_numpy(m.held) for m in self.members if m.held is not None]
        self.held_KN = torch.stack(held).to(self.device) if held else None

    def _own(self) -> None:
        """Let the tensors of each member's own module lie in the rows: to the module they are the objects they were."""
        owned: list[Tensor] = []
        for k, module in enumerate(self.modules):
            parameters = dict(module.named_parameters())
            for name, view in zip(self.layout.shapes, self.leaves[k * len(self.layout.shapes) :], strict=False):
                parameters[name].data = view
                owned.append(parameters[name])
            for name, tensor in fixed(module).items():
                tensor.data = self.fixed[name][k]
        self.leaves = owned

    def _collect(self) -> None:
        """Bring home the buffers that a forward has replaced instead of changing them in place."""
        for k, module in enumerate([] if self.fused else self.modules):
            for name, tensor in fixed(module).items():
                row: Tensor = self.fixed[name][k]
                if tensor.data_ptr() != row.data_ptr():
                    row.copy_(tensor)
                    tensor.data = row

    def _views(self, flat_KP: Tensor) -> list[Tensor]:
        stacked = self.layout.stacked(flat_KP)
        return stacked if self.fused else [view[k] for k in range(self.size) for view in stacked]

    # --- one epoch ---------------------------------------------------------------------------------------------------

    def epoch(self) -> list[dict[str, float]]:
        """Train every member for one epoch of its own and evaluate it; returns a point of each member's curves."""
        order_KN = self.next_order()
        batch = batch_at(self.members[0].config, self.epochs[0])
        starts = batch_starts(order_KN.shape[1], batch)
        steps = self.next_steps(len(starts))
        total_K, rows = torch.zeros(self.size, device=self.device), 0
        self.statistics = Statistics(self, len(starts))
        self.train_mode()
        for start, step in zip(starts, steps, strict=True):
            index_KB = order_KN[:, start : start + batch]
            total_K += self.step(index_KB, step) * index_KB.shape[1]
            rows += index_KB.shape[1]
        self._collect()
        statistics = self.statistics.points()
        points = self.kept.evaluate(self) if self.kept else self.evaluate()
        for k, (point, total) in enumerate(zip(points, total_K.tolist(), strict=True)):
            point |= {"train/loss": total / rows, "lr": float(steps[-1]["lr"][k])} | statistics[k]
            self.epochs[k] += 1
            for name, value in point.items():
                self.curves[k].setdefault(name, []).append(value)
        return points

    def train_mode(self) -> None:
        """Before a step."""
        for module in self.modules:
            module.train()

    def step(self, index_KB: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """One step of every member on its own rows, with `columns` of `next_steps`; returns the losses before it [K]."""
        losses_K = []
        for k, piece in enumerate(pieces(self._batch(index_KB, columns), self.members[0].config)):
            keys = columns["keys"] if k == 0 else scramble(columns["keys"] + k)
            loss_K, gradients = self._gradients(piece, keys, index_KB.shape[1])
            with torch.no_grad():
                (torch._foreach_add_ if k else torch._foreach_copy_)(self.gradients, gradients)
            losses_K.append(loss_K.detach())
        with torch.no_grad():
            self.penalties.add_gradient(self.p_KP, self.g_KP)
            if self.statistics:
                self.statistics.see(self.g_KP)
            if self.clip_K1 is not None:
                clip(self.g_KP, self.clip_K1)
            self.optimizers[0].update(self.p_KP, self.g_KP, self.state, columns)
            self.penalties.after_step(self.p_KP)
            if self.kept and "average" in self.state:
                self.kept.averages.step(self.p_KP, self.state["average"])
        return reduce(torch.add, losses_K)

    def _batch(self, index_KB: Tensor, columns: Mapping[str, Tensor]) -> list[Tensor]:
        """Inputs [K, B, ...], targets and, where rows do not count alike, weights [K, B]: see `Inputs.targets`."""
        x, y = self.data.x_train, self.data.y_train
        flat = index_KB.reshape(-1)
        x_KB = x.index_select(0, flat).view(*index_KB.shape, *x.shape[1:])
        y_KB = y.index_select(0, flat).view(index_KB.shape)
        weight_KB = None if self.weights_KN is None else self.weights_KN.gather(1, index_KB)
        return [self.inputs(x_KB, columns), *self.inputs.targets(y_KB, weight_KB, columns)]

    def _gradients(self, piece: list[Tensor], keys_KL: Tensor, rows: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What a piece adds to the losses [K] and to the gradients of a batch of so many rows."""
        if self.active:
            self.keys_KL.copy_(keys_KL[:, 1:])
        with tapped(self.modules, self.activity.on) as taps:
            output_KBC = self._forward(piece[0], keys_KL[:, 0], own=True)
        loss_K = loss_of_targets(output_KBC, piece[1:], self.smoothing_K1).mean(1)
        if piece[0].shape[1] < rows:
            loss_K = loss_K * (piece[0].shape[1] / rows)
        slopes = [torch.ones_like(loss_K), *(self.activity.gradient(k, a, rows, self.fused) for k, a in taps)]
        ends = [loss_K, *(activity for _, activity in taps)]
        return loss_K, torch.autograd.grad(ends, self.leaves, slopes, materialize_grads=True)

    def predict(self, x: Tensor) -> Tensor:
        """Outputs of all members in evaluation mode for the same rows: logits or standardised values [K, N, C]."""
        self.eval_mode()
        with torch.no_grad():
            parts = [self._forward(part) for part in x.chunk(-(-len(x) // EVALUATION_ROWS))]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _predict_held(self, held_KN: Tensor) -> Tensor:
        """The same of each member for training rows of its own [K, N, C]."""
        self.eval_mode()
        chunks = held_KN.chunk(-(-held_KN.shape[1] // HELD_ROWS), 1)
        with torch.no_grad():
            return torch.cat([self.outputs(part_KB) for part_KB in chunks], 1)

    def outputs(self, index_KB: Tensor) -> Tensor:
        """The outputs of each member for training rows of its own [K, B, C], in whatever mode it is."""
        return self._forward(self.data.x_train[index_KB], own=True)

    def eval_mode(self) -> None:
        """Before a prediction."""
        for module in self.modules:
            module.eval()

    def evaluate(self) -> list[dict[str, float]]:
        """The points of all members' curves, on the held-out rows where they have some.

        What those predict for the validation rows is of use only in a checkpoint, so that `save` asks for it.
        """
        if self.held_KN is None:
            points, self.predictions = self.score_on_val()
        else:
            points, _ = score(self._predict_held(self.held_KN), self.data.y_train[self.held_KN], self.data.meta)
            self.predictions = torch.empty(0)
        return points

    def score_on_val(self) -> tuple[list[dict[str, float]], Tensor]:
        """Points and predictions on the validation rows."""
        return score(self.predict(self.data.x_val), self.data.y_val.expand(self.size, -1), self.data.meta)

    def _forward(self, x: Tensor, seed_K: Tensor | None = None, own: bool = False) -> Tensor:
        """Outputs of all members for the same rows `x`, or of each for its `own`; with seeds in training.

        What draws numbers from PyTorch's own generator cannot be fused: the seed makes it the member's own.
        """
        if self.fused:
            return self.stacked(x, [*self.leaves, *self.fixed.values()], shared=not own)
        if seed_K is None:
            inputs = x.unbind() if own else [x] * self.size
            return stacked_modules([module(rows) for module, rows in zip(self.modules, inputs, strict=True)])
        manual_seed = torch.default_generator.manual_seed if x.device.type == "cpu" else torch.manual_seed
        outputs = []
        for module, seed, rows in zip(self.modules, seed_K.tolist(), x.unbind(), strict=True):
            manual_seed(seed)
            outputs.append(module(rows))
        return stacked_modules(outputs)

    def next_order(self, ahead: int = 0) -> Tensor:
        """The rows of each member in the order of its next epoch, or of one further `ahead` [K, N]."""
        return self.columns.order([epoch + ahead for epoch in self.epochs])

    def next_steps(self, count: int) -> list[dict[str, Tensor]]:
        """What each of so many steps in the coming epoch needs: see `Columns.steps` and `Inputs.columns`."""
        steps = self.columns.steps(self.epochs, self.curves, count)
        for name, column_SK in self.inputs.columns(self.epochs, count).items():
            for step, column_K in zip(steps, column_SK, strict=True):
                step[name] = column_K
        return steps
