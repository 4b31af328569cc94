"""K members of one signature, trained in lock-step as one computation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from src.models import build
from src.optim import Optimizer, Schedule
from src.population.layers import Dropout, exact
from src.population.layout import Layout
from src.population.member import Member, State, derived_seed

EVALUATION_ROWS = 2048  # at once, to bound memory


@dataclass(frozen=True)
class Rows:
    """The data of a task as tensors on one device; for regression `y` is standardised."""

    meta: Mapping[str, Any]
    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor

    @property
    def classification(self) -> bool:
        return bool(self.meta["task"] == "classification")


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
        states: Sequence[State | None] | None = None,
        fused: bool | None = None,
    ) -> None:
        """Begin the members anew, or where `states` left them.

        `optimizer` and `schedule` make a member's own from its config. `fused`: one vmapped call for all, or a plain
        call each; None fuses three or more (two are faster alone).
        """
        states = states or [None] * len(members)
        self.data, self.device = data, data.x_train.device
        self.members = list(members)
        self.optimizers = [optimizer(m.config) for m in members]
        self.schedules = [schedule(m.config) for m in members]
        self.epochs = [s.epoch if s else 0 for s in states]
        self.curves = [{n: list(c) for n, c in s.curves.items()} if s else {} for s in states]
        self.fused = len(members) > 2 if fused is None else fused
        self.modules = [build_model(m, data.meta, s).to(self.device) for m, s in zip(members, states, strict=True)]
        self.layout, self.saved = Layout.of(self.modules[0]), list(self.modules[0].state_dict())
        self.dropouts = [name for name, layer in self.modules[0].named_modules() if isinstance(layer, Dropout)]
        self.p_KP = torch.stack([self.layout.flatten(dict(m.named_parameters())) for m in self.modules]).to(self.device)
        buffers = [dict(m.named_buffers()) for m in self.modules]
        self.buffers = {n: torch.stack([b[n] for b in buffers]) for n in buffers[0]}
        zero = torch.zeros(self.p_KP.shape[1])
        slots = self.optimizers[0].state
        self.state = {n: torch.stack([s.optimizer[n] if s else zero for s in states]).to(self.device) for n in slots}
        self.predictions = torch.empty(0)
        self._bind()

    @property
    def size(self) -> int:
        return len(self.members)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the members at `places` only; a place named twice is cloned."""
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        self.p_KP = self.p_KP[index]
        self.state = {n: s[index] for n, s in self.state.items()}
        self.buffers = {n: b[index] for n, b in self.buffers.items()}
        self.predictions = self.predictions[index] if len(self.predictions) else self.predictions
        for name in ("members", "epochs", "optimizers", "schedules"):
            setattr(self, name, [getattr(self, name)[k] for k in places])
        self.curves = [{n: list(c) for n, c in self.curves[k].items()} for k in places]
        if not self.fused:
            self.modules = [build_model(m, self.data.meta, None).to(self.device) for m in self.members]
        self._bind()

    def save(self, place: int) -> State:
        """Everything of one member that its next epoch needs, after at least one epoch."""
        weights = self.layout.unflatten(self.p_KP[place]) | {n: b[place] for n, b in self.buffers.items()}
        return State(
            self.epochs[place],
            {n: weights[n].clone() for n in self.saved},
            {n: s[place].clone() for n, s in self.state.items()},
            {n: list(c) for n, c in self.curves[place].items()},
            self.predictions[place].clone(),
        )

    def _bind(self) -> None:
        """Make the views through which the flat rows are computed with, and the members' columns."""
        self.g_KP = torch.zeros_like(self.p_KP)
        self.leaves, self.gradients = self._views(self.p_KP), self._views(self.g_KP)
        for leaf in self.leaves:
            leaf.requires_grad_()
        if not self.fused:
            owns = zip(*[iter(self.leaves)] * len(self.layout.shapes), strict=True)
            for k, (module, own) in enumerate(zip(self.modules, owns, strict=True)):
                for name, leaf in zip(self.layout.shapes, own, strict=True):
                    _put(module, name, leaf)
                for name, buffer in self.buffers.items():
                    _put(module, name, buffer[k])
        active = any(bool((self.buffers[f"{name}.strength"] > 0).any()) for name in self.dropouts)
        for name in self.dropouts:
            for module in self.modules:
                module.get_submodule(name).active = active  # type: ignore[assignment]
        names = [f.name for f in fields(self.optimizers[0])]  # type: ignore[arg-type]
        table = {n: [float(getattr(o, n)) for o in self.optimizers] for n in names}
        self.hyper_1K1 = {n: torch.tensor(v, dtype=torch.float64)[None, :, None] for n, v in table.items()}
        smoothing = [float(m.config["training"]["label_smoothing"]) for m in self.members]
        self.smoothing_K1 = torch.tensor(smoothing, device=self.device)[:, None] if any(smoothing) else None
        weights = [torch.from_numpy(m.weights) for m in self.members if m.weights is not None]
        self.weights_KN = torch.stack(weights).to(self.device) if weights else None

    def _views(self, flat_KP: Tensor) -> list[Tensor]:
        stacked = self.layout.stacked(flat_KP)
        return stacked if self.fused else [view[k] for k in range(self.size) for view in stacked]

    # --- one epoch ---------------------------------------------------------------------------------------------------

    def epoch(self) -> list[dict[str, float]]:
        """Train every member for one epoch of its own and evaluate it; returns a point of each member's curves."""
        order_KN = self.next_order()
        batch = self.members[0].config["batch_size"]
        starts = batch_starts(order_KN.shape[1], batch)
        steps = self.next_steps(len(starts))
        total_K = torch.zeros(self.size, device=self.device)
        self.train_mode()
        for start, step in zip(starts, steps, strict=True):
            index_KB = order_KN[:, start : start + batch]
            total_K += self.step(index_KB, step) * (index_KB.shape[1] / order_KN.shape[1])
        points = self._evaluate()
        for k, (point, loss) in enumerate(zip(points, total_K.tolist(), strict=True)):
            point |= {"train/loss": loss, "lr": float(steps[-1]["lr"][k])}
            self.epochs[k] += 1
            for name, value in point.items():
                self.curves[k].setdefault(name, []).append(value)
        return points

    def train_mode(self) -> None:
        """Before a step."""
        for module in self.modules:
            module.train()

    def step(self, index_KB: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """One step of every member on its own rows; `columns` as `next_steps` makes them. Returns the losses before it [K]."""
        for name in self.dropouts:
            self.buffers[f"{name}.key"].copy_(columns["key"])
        output_KBC = self._forward(self.data.x_train[index_KB], shared=False)
        loss_KB = self._loss(output_KBC, self.data.y_train[index_KB], self.smoothing_K1)
        if self.weights_KN is not None:
            loss_KB = loss_KB * self.weights_KN.gather(1, index_KB)
        loss_K = loss_KB.mean(1)
        gradients = torch.autograd.grad(loss_K.sum(), self.leaves, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_copy_(self.gradients, gradients)
            self.optimizers[0].update(self.p_KP, self.g_KP, self.state, columns)
        return loss_K.detach()

    def predict(self, x: Tensor) -> Tensor:
        """Outputs of all members in evaluation mode for the same rows: logits or standardised values [K, N, C]."""
        for module in self.modules:
            module.eval()
        with torch.no_grad():
            return torch.cat([self._forward(part, shared=True) for part in x.split(EVALUATION_ROWS)], 1)

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities [K, N, C], or values in the target's own units [K, N]."""
        output_KNC = self.predict(x)
        if self.data.classification:
            return output_KNC.softmax(2)
        return output_KNC[..., 0] * self.data.meta["target_std"] + self.data.meta["target_mean"]

    def _evaluate(self) -> list[dict[str, float]]:
        output_KNC = self.predict(self.data.x_val)
        y_KN = self.data.y_val.expand(self.size, -1)
        loss_K = self._loss(output_KNC, y_KN, None).mean(1).tolist()
        if self.data.classification:
            self.predictions = output_KNC.softmax(2)
            hits_K = (output_KNC.argmax(2) == y_KN).double().mean(1).tolist()
            return [{"val/loss": v, "val/accuracy": h} for v, h in zip(loss_K, hits_K, strict=True)]
        scale, mean = self.data.meta["target_std"], self.data.meta["target_mean"]
        self.predictions = output_KNC[..., 0] * scale + mean
        return [{"val/loss": loss, "val/rmse": scale * loss**0.5} for loss in loss_K]

    def _loss(self, output_KBC: Tensor, y_KB: Tensor, smoothing_K1: Tensor | None) -> Tensor:
        """Loss of every row [K, B]: cross-entropy, or the squared error of the standardised target."""
        if not self.data.classification:
            return (output_KBC[..., 0] - y_KB).square()
        log_KBC = F.log_softmax(output_KBC, 2)
        loss_KB = -log_KBC.gather(2, y_KB[..., None])[..., 0]
        if smoothing_K1 is None:
            return loss_KB
        return loss_KB * (1 - smoothing_K1) - log_KBC.mean(2) * smoothing_K1

    def _forward(self, x: Tensor, shared: bool) -> Tensor:
        if self.fused:
            parameters = dict(zip(self.layout.shapes, self.leaves, strict=True))
            in_dims = (0, 0, None if shared else 0)
            output: Tensor = vmap(self._call, in_dims, randomness="error")(parameters, self.buffers, x)
            return output
        outputs = [module(x if shared else x[k]) for k, module in enumerate(self.modules)]
        return outputs[0][None] if self.size == 1 else torch.stack(outputs)

    def _call(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self.modules[0], (parameters, buffers), (x,))
        return output

    # --- what every member has of its own ----------------------------------------------------------------------------------

    def next_order(self, ahead: int = 0) -> Tensor:
        """The rows of each member in the order of its next epoch, or of one further `ahead` [K, N]."""
        n, orders = len(self.data.x_train), []
        for member, epoch in zip(self.members, self.epochs, strict=True):
            shuffle = np.random.default_rng([member.seed, 1, epoch + ahead])
            orders.append(torch.from_numpy(shuffle.permutation(n if member.rows is None else member.rows)))
        return torch.stack(orders).to(self.device)

    def next_steps(self, count: int) -> list[dict[str, Tensor]]:
        """The optimizer's columns [K, 1], the rates `lr` and the dropout keys [K] of each step in the coming epoch."""
        done_K = np.array(self.epochs) * count
        step_SK = done_K + np.arange(count)[:, None]
        factors = [
            schedule.factor(step_SK[:, k].astype(np.float64), m.config["epochs"] * count)
            for k, (schedule, m) in enumerate(zip(self.schedules, self.members, strict=True))
        ]
        rate_SK1 = torch.from_numpy(np.stack(factors, 1))[..., None] * self.hyper_1K1["lr"]
        step_SK1 = torch.from_numpy(step_SK + 1.0)[..., None]
        columns = self.optimizers[0].columns({**self.hyper_1K1, "lr": rate_SK1}, step_SK1) | {"lr": rate_SK1}
        columns = {n: c.expand(count, -1, -1).float().to(self.device) for n, c in columns.items()}
        seeds = [np.random.SeedSequence([m.seed, 2, e]) for m, e in zip(self.members, self.epochs, strict=True)]
        keys_SK = torch.from_numpy(np.stack([s.generate_state(count).view(np.int32) for s in seeds], 1)).to(self.device)
        rows = zip(*(c.unbind() for c in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) | {"key": key} for row, key in zip(rows, keys_SK, strict=True)]


def batch_starts(rows: int, batch: int) -> list[int]:
    """First row of each batch; a last batch of a single row is left out, since batch norm needs two."""
    return [start for start in range(0, rows, batch) if rows - start > 1]


def build_model(member: Member, meta: Mapping[str, Any], state: State | None) -> nn.Module:
    """The member's model with its own initial weights, or those of `state`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(member.seed, 0))
        model = exact(build(member.config["model"], meta))
    if state is not None:
        model.load_state_dict(state.weights)
    return model


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Let a parameter or buffer of `module` be `tensor` itself."""
    path, _, last = name.rpartition(".")
    layer = module.get_submodule(path)
    if last in layer._parameters:
        del layer._parameters[last]
        setattr(layer, last, tensor)
    else:
        layer._buffers[last] = tensor
