"""An ensemble of k perceptrons in one model, which share most of their weights."""

from __future__ import annotations

import math
import warnings
from typing import Literal, Unpack

from torch import Tensor, nn

from src.models.checks import check_depth, check_dropout, check_positive
from src.models.data_spec import DataSpec
from src.models.embeddings import NumberEmbedding
from src.models.layers import ACTIVATIONS, Activation, Features

Variant = Literal["tabm", "mini", "packed", "batch_ensemble"]


class TabM(nn.Module):
    """BatchEnsemble (Wen et al. 2020), TabM (Gorishniy et al. 2025) and its kin, by the package of TabM's authors.

    While it trains, each of the k nets has a loss of its own: x [B, ...] → [B, k, n_outputs]. Then it predicts by their
    mean, [B, n_outputs]: of their probabilities, as logits, or of their values.

    Args:
        data_spec: of the data.
        variant: which weights the nets share.
        k: nets in one.
        width: units of a layer.
        depth: layers.
        activation: after each layer.
        dropout: share of units that a training step leaves out.
        embedding: how numbers pass.
    """

    def __init__(
        self,
        data_spec: DataSpec,
        *,
        variant: Variant,
        k: int,
        width: int,
        depth: int,
        activation: Activation,
        dropout: float,
        **embedding: Unpack[NumberEmbedding],
    ) -> None:
        super().__init__()
        import tabm  # it imports scikit-learn: a second of every worker

        check_positive(width=width, k=k)
        check_depth(depth)
        check_dropout(dropout=dropout)
        self.k, self.classes = k, data_spec.n_outputs > 1
        self.features = Features(data_spec, **embedding)
        sizes = {"d_in": self.features.width, "n_blocks": depth, "d_block": width, "k": k}
        common = {**sizes, "dropout": dropout, "activation": ACTIVATIONS[activation].__name__}
        embedded = self.features.numbers is not None
        if variant == "batch_ensemble":
            scaling = {"tabm_init": False, "scaling_init": "random-signs", "start_scaling_init_chunks": None}
            self.backbone = tabm.MLPBackboneBatchEnsemble(**common, **scaling)
        elif variant == "packed":
            self.backbone = tabm.MLPBackboneEnsemble(**common)
        else:  # where numbers are embedded as the authors advise: a normal factor of each column
            design = "tabm" if variant == "tabm" else "tabm-mini"
            start = {
                "start_scaling_init": "normal" if embedded else "random-signs",
                "start_scaling_init_chunks": self.features.chunks if embedded else None,
            }
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="start_scaling_init_chunks is not provided")
                self.backbone = tabm.make_tabm_backbone(**common, arch_type=design, **start)
        self.output = tabm.LinearEnsemble(width, data_spec.n_outputs, k=k)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, *input_shape] → [B, k, n_outputs] in training, [B, n_outputs] else."""
        x_BkF = self.features(x).unsqueeze(1).expand(-1, self.k, -1)
        out_BkC: Tensor = self.output(self.backbone(x_BkF))
        if self.training:
            return out_BkC
        return out_BkC.log_softmax(2).logsumexp(1) - math.log(self.k) if self.classes else out_BkC.mean(1)
