"""Outputs in the target's unit keep the digits that the targets have."""

import numpy as np
import pytest
import torch

from src.population.losses import in_target_unit
from tests.support.metas import data_meta


@pytest.mark.parametrize(("mean", "std", "kind"), [(2.0, 1.2, torch.float32), (1.7e9, 9.7, torch.float64)])
def test_values_of_a_large_mean_keep_their_digits(mean: float, std: float, kind: torch.dtype) -> None:
    standardised = torch.linspace(-2, 2, 101)
    values = in_target_unit(standardised, data_meta(1, n_classes=0, target_mean=mean, target_std=std))
    assert values.dtype == kind
    assert np.allclose(values.double().numpy(), standardised.double().numpy() * std + mean, rtol=0, atol=1e-6 * std)
