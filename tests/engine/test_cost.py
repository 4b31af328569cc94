"""What is counted of a model is the same wherever it is shown: of a trial, of a final member, of its state_dict."""

from pathlib import Path

import pytest

from src.engine.cost import measures
from src.ensembles.pool import Trained, parameters
from src.models.building import build
from tests.support.training import config, table


@pytest.mark.parametrize("parts", [1, 3])
def test_a_trial_and_the_final_members_made_of_it_have_equally_many_parameters(parts: int) -> None:
    """Buffers, of which one-hot columns and batch norms have some, are no parameters."""
    trial, meta = config(norm="batch"), table().meta
    net = build(trial["model"], meta)
    counted = measures(trial, meta)["parameters"]
    member = Trained("mlp", "seeds", "seeds-0", trial, ((Path("0.safetensors"), 1.0),) * parts, table().x_val.numpy())
    assert parameters(member, meta) == counted * parts
    assert counted == sum(p.numel() for p in net.parameters()) < sum(t.numel() for t in net.state_dict().values())
