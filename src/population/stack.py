"""K models of one signature as stacked tensors: built, computed with, evaluated, exchanged for a while."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from src.models.building import build
from src.models.training_rows import parts_with_rows
from src.population.checkpoint import Checkpoint
from src.population.exact_layers import Dropout, exact
from src.population.losses import score
from src.population.member import Member
from src.population.member_rows import hold_rows
from src.population.parameter_layout import Layout, fixed, saved_names
from src.population.prediction_chunks import chunks, rows_at_once
from src.population.requirements import refuse_impossible
from src.population.rows import Rows
from src.population.seeds import derived_seed
from src.population.vmapped import Stacked
from src.system.data_meta import DataMeta

HOLDOUT_ROWS = 512  # at most are predicted at once where every member has its own


class Stack:
    """The tensors of K members' models, and what the models compute with them.

    `p_KP`: all trained parameters, a row a member, laid out by `layout`. `fixed`: every other tensor by name [K, ...]
    (buffers, frozen parameters). `modules`: one module in which `torch.func.vmap` computes for all members where `fused`,
    else a module a member, as always of models that look up training rows (`looks_up`). `leaves`: the views of `p_KP` in
    which gradients are taken. `predictions`: those of the last evaluation for the validation rows [K, N, ...], empty before
    the first and for members with holdout rows.
    """

    def __init__(
        self, members: Sequence[Member], data: Rows, checkpoints: Sequence[Checkpoint | None], fused: bool
    ) -> None:
        """Build each of the K `members` with its initial weights, or those in `checkpoints`, on the device of `data`.

        Raises:
            UserError: a member's config asks for what its model or the data do not have.
        """
        self.data, self.device = data, data.x_train.device
        self.members = list(members)
        pairs = zip(members, checkpoints, strict=True)
        self.modules = [self._module(member, start) for member, start in pairs]
        self.looks_up = bool(parts_with_rows(self.modules[0]))
        self.fused = fused and not self.looks_up
        for member, module in zip(members, self.modules, strict=True):
            refuse_impossible(member.config, module, data.meta)
        self.layout, self.saved = Layout.of(self.modules[0]), saved_names(self.modules[0])
        self.dropouts = [name for name, layer in self.modules[0].named_modules() if isinstance(layer, Dropout)]
        rows = [self.layout.flatten(dict(module.named_parameters())) for module in self.modules]
        self.p_KP = torch.stack(rows).to(self.device)
        others = [fixed(module) for module in self.modules]
        self.fixed = {name: torch.stack([tensors[name] for tensors in others]) for name in others[0]}
        self.predictions = torch.empty(0)
        if self.fused:
            self.modules = self.modules[:1]
            self._vmapped = Stacked(self.modules[0], [*self.layout.shapes, *self.fixed])
        self._bind()

    @property
    def size(self) -> int:
        """The number of members K."""
        return len(self.members)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the members at `places` only; a place named twice is cloned."""
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        self.members = [self.members[k] for k in places]
        self.p_KP = self.p_KP[index]
        self.fixed = {name: rows[index] for name, rows in self.fixed.items()}
        self.predictions = self.predictions[index] if len(self.predictions) else self.predictions
        if self.size == 1 and self.device.type == "cpu":  # elsewhere the fused form has bits of its own
            self.fused = False
        if not self.fused:
            self.modules = [self._module(member) for member in self.members]
        self._bind()

    def state_dict(self, place: int, p_KP: Tensor, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copy one member's tensors, by the names in its module's `state_dict`.

        Args:
            place: the member, counted from 0.
            p_KP: the parameters of all members, `self.p_KP` or others laid out alike.
            others: their other tensors by name [K, ...], at least those that a `state_dict` has.
        """
        tensors = self.layout.unflatten(p_KP[place]) | {name: rows[place] for name, rows in others.items()}
        return {name: tensors[first].clone() for name, first in self.saved.items()}

    def views(self, flat_KP: Tensor) -> list[Tensor]:
        """View [K, P] rows as the parameters' shapes: [K, ...] each where fused, else all of a member after the other's."""
        stacked = self.layout.stacked(flat_KP)
        return stacked if self.fused else [view[k] for k in range(self.size) for view in stacked]

    @contextmanager
    def predicting_with(self, p_KP: Tensor, others: Mapping[str, Tensor]) -> Iterator[None]:
        """Compute with the parameters `p_KP` and, by name, `others` [K, ...] inside the block, with its own after it."""
        exchanged = [self.p_KP, *(self.fixed[name] for name in others)]
        before = [tensor.clone() for tensor in exchanged]
        with torch.no_grad():
            torch._foreach_copy_(exchanged, [p_KP, *others.values()])
            try:
                yield
            finally:
                self.collect_buffers()
                torch._foreach_copy_(exchanged, before)

    # --- computing -------------------------------------------------------------------------------------------------------

    def train_mode(self) -> None:
        """Put the modules in training mode, before a step."""
        for module in self.modules:
            module.train()

    def eval_mode(self) -> None:
        """Put the modules in evaluation mode, before a prediction."""
        for module in self.modules:
            module.eval()

    def use_dropout_keys(self, keys_KL: Tensor) -> None:
        """Set the random keys of the L dropout layers, int32, for the next forward in training mode."""
        if self._drops_out:
            self._keys_KL.copy_(keys_KL)

    def forward(self, x: Tensor, per_member: bool = False, seed_K: Tensor | None = None) -> Tensor:
        """Compute the outputs of all members [K, B, C], in whatever mode the modules are.

        Args:
            x: rows [B, ...] that all members share, or where `per_member` a batch each [K, B, ...].
            per_member: read `x` as a batch for each member.
            seed_K: in training, a seed for PyTorch's own generator before each member's forward. A layer that draws from
                it cannot be fused; the seed makes its numbers independent of the other members.
        """
        if self.fused:
            return self._vmapped(x, [*self.leaves, *self.fixed.values()], shared=not per_member)
        if seed_K is None:
            inputs = x.unbind() if per_member else [x] * self.size
            return stacked_outputs([module(rows) for module, rows in zip(self.modules, inputs, strict=True)])
        outputs = []
        for module, seed, rows in zip(self.modules, seed_K.tolist(), x.unbind(), strict=True):
            seed_generator(seed, x.device)
            outputs.append(module(rows))
        return stacked_outputs(outputs)

    def use_rows(self, index_KB: Tensor) -> None:
        """Say which training rows the next forward in training mode computes, to models that look others up."""
        for module, index_B in zip(self.modules, index_KB, strict=False) if self.looks_up else ():
            for part in parts_with_rows(module).values():
                part.next_rows(index_B)

    def compute(self, p_KP: Tensor, others: Mapping[str, Tensor], x_KB: Tensor, seed_K: Tensor | None = None) -> Tensor:
        """Compute outputs [K, B, C] as a pure function of tensors, differentiable, in whatever mode the modules are.

        Args:
            p_KP: the parameters of all members.
            others: other tensors that take the place of those in `fixed`, by name [K, ...].
            x_KB: a batch for each member [K, B, ...].
            seed_K: as in `forward`.
        """
        fixed = {name: rows.clone() for name, rows in {**self.fixed, **others}.items()}  # which a layer may change
        if self.fused:
            return self._vmapped(x_KB, [*self.layout.split(p_KP), *fixed.values()], shared=False)
        outputs = []
        for k, (module, rows) in enumerate(zip(self.modules, x_KB.unbind(), strict=True)):
            parameters = zip(self.layout.shapes, self.layout.split(p_KP[k : k + 1]), strict=True)
            tensors = {name: view[0] for name, view in parameters} | {name: tensor[k] for name, tensor in fixed.items()}
            if seed_K is not None:
                seed_generator(int(seed_K[k]), x_KB.device)
            outputs.append(functional_call(module, tensors, (rows,)))
        if outputs[0].dim() > 2 or outputs[0].is_contiguous():
            return stacked_outputs(outputs)
        return stacked_outputs([output.t() for output in outputs]).transpose(1, 2)  # second derivatives see the order

    def outputs_for_rows(self, index_KB: Tensor) -> Tensor:
        """Compute each member's outputs for its own training rows [K, B, C], in whatever mode the modules are."""
        return self.forward(self.data.x_train[index_KB], per_member=True)

    def predict(self, x: Tensor) -> Tensor:
        """Compute all members' logits or standardised values [K, N, C] for the same rows, in evaluation mode."""
        self.eval_mode()
        with torch.no_grad():
            parts = [self.forward(part) for part in chunks(x, self.modules[0])]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def evaluate(self) -> list[dict[str, float]]:
        """Return a point of each member's curves: on its holdout rows where it has some, else on the validation rows.

        Predictions for the validation rows of members with holdout rows are of use only in a checkpoint, which asks for
        them by `score_on_val`.
        """
        if self._holdout_KN is None:
            points, self.predictions = self.score_on_val()
        else:
            outputs_KNC = self._predict_holdout(self._holdout_KN)
            points, _ = score(outputs_KNC, self.data.y_train[self._holdout_KN], self.data.meta, self.data.metrics)
            self.predictions = torch.empty(0)
        return points

    def score_on_val(self) -> tuple[list[dict[str, float]], Tensor]:
        """Return each member's points and predictions on the validation rows."""
        y_KN = self.data.y_val.expand(self.size, -1)
        return score(self.predict(self.data.x_val), y_KN, self.data.meta, self.data.metrics)

    def _predict_holdout(self, holdout_KN: Tensor) -> Tensor:
        self.eval_mode()
        count = -(-holdout_KN.shape[1] // rows_at_once(self.modules[0], self.data.x_train.shape[1:], HOLDOUT_ROWS))
        with torch.no_grad():
            return torch.cat([self.outputs_for_rows(index_KB) for index_KB in holdout_KN.chunk(count, 1)], 1)

    # --- tensors and modules ---------------------------------------------------------------------------------------------

    def collect_buffers(self) -> None:
        """Copy back into `fixed` the buffers that a forward has replaced instead of changing them in place."""
        for k, module in enumerate([] if self.fused else self.modules):
            for name, tensor in fixed(module).items():
                row: Tensor = self.fixed[name][k]
                if tensor.data_ptr() != row.data_ptr():
                    row.copy_(tensor)
                    tensor.data = row

    def _module(self, member: Member, checkpoint: Checkpoint | None = None) -> nn.Module:
        """Build a member's model, with the training rows that it looks up, if it does."""
        module = build_model(member, self.data.meta, checkpoint).to(self.device)
        hold_rows(module, member, self.data)
        return module

    def _bind(self) -> None:
        """Make the views through which the modules compute with the rows, and what follows from the members."""
        self._keys_KL = torch.zeros(self.size, len(self.dropouts), dtype=torch.int32, device=self.device)
        self.fixed |= {f"{name}.key": self._keys_KL[:, k] for k, name in enumerate(self.dropouts)}
        self.leaves = self.views(self.p_KP)
        if self.fused:
            for leaf in self.leaves:
                leaf.requires_grad_()
        else:
            self._bind_modules()
        never = torch.iinfo(torch.int32).min  # the threshold of a dropout that drops nothing
        self._drops_out = any(bool((self.fixed[f"{name}.threshold"] > never).any()) for name in self.dropouts)
        for module in self.modules:
            for name in self.dropouts:
                module.get_submodule(name).active = self._drops_out  # type: ignore[assignment]
        holdout = [torch.from_numpy(m.holdout_rows) for m in self.members if m.holdout_rows is not None]
        self._holdout_KN = torch.stack(holdout).to(self.device) if holdout else None

    def _bind_modules(self) -> None:
        """Let the tensors of each member's module lie in its row, as the same Python objects as before."""
        bound: list[Tensor] = []
        for k, module in enumerate(self.modules):
            parameters = dict(module.named_parameters())
            for name, view in zip(self.layout.shapes, self.leaves[k * len(self.layout.shapes) :], strict=False):
                parameters[name].data = view
                bound.append(parameters[name])
            for name, tensor in fixed(module).items():
                tensor.data = self.fixed[name][k]
        self.leaves = bound


def build_model(member: Member, meta: DataMeta, checkpoint: Checkpoint | None) -> nn.Module:
    """Build the `member`'s model for the data that `meta` describes, with initial weights or those of `checkpoint`."""
    model = member.config.model
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(member.seed, "initial weights"))
        module = exact(build(model, meta), tight="_target_" in model)
    if checkpoint is not None:
        module.load_state_dict(checkpoint.weights)
    return module


def seed_generator(seed: int, device: torch.device) -> None:
    """Seed PyTorch's own generator, for layers on `device` that draw from it."""
    (torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed)(seed)


def stacked_outputs(outputs: list[Tensor]) -> Tensor:
    """Stack K outputs along a new first axis; of a single one that is a view."""
    return outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)
