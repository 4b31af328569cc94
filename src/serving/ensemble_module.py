"""The ensemble as one torch module: the members' nets, and the mixture that makes one prediction of theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.ensembles.mixture import Mixture
from src.system.data_meta import DataMeta


class EnsembleModule(nn.Module):
    """A function from prepared rows x [N, ...] to probabilities [N, C], or to values [N] in the target's unit.

    `nets` are the members', `mixture` joins their predictions, `meta` describes the data. Behind the nets it computes in
    float64, as the combiners did when they were fitted.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, nets: Sequence[nn.Module], mixture: Mixture, meta: DataMeta) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.mixture = mixture
        self.classification = meta.classification
        moments = {"target_mean": meta.target_mean, "target_std": meta.target_std}
        for name, value in moments.items():  # as buffers: ONNX would round plain numbers to 32 bits
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Predict the rows `x` [N, ...]."""
        return self.combine(torch.stack([net(x) for net in self.nets]))

    def combine(self, output_MNC: Tensor) -> Tensor:
        """Make one prediction of the nets' raw outputs [M, N, C]."""
        output_MNC = output_MNC.double()
        members_MNC = (
            output_MNC.softmax(-1) if self.classification else output_MNC[..., 0] * self.target_std + self.target_mean
        )
        prediction: Tensor = self.mixture(members_MNC)
        return prediction
