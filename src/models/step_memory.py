"""The memory of a training step: what a model's forward keeps for its way back."""

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

ROWS = 2  # batch norm trains on two at least


def bytes_of_a_row(model: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Count the bytes that a forward in training mode keeps for each row, beside the parameters.

    Args:
        model: any net, whose mode and running statistics change.
        input_shape: of a row.
    """
    sizes = {parameter.untyped_storage().data_ptr(): 0 for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes.setdefault(storage.data_ptr(), storage.nbytes())
        saved.append(tensor)  # so that no other tensor takes its address
        return tensor

    saved: list[Tensor] = []
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.train()(torch.zeros(ROWS, *input_shape))
    del output
    return sum(sizes.values()) / ROWS
