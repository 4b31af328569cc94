"""Neighbours as scikit-learn weighs them, never a row itself, and only those that are the member's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import Tensor, nn

from src.engine.cost import measures, seconds_per_epoch
from src.engine.model_size import refuse_untrainable
from src.models.architectures.nca import LEAST
from src.models.building import build
from src.models.training_rows import FEWEST_DRAWN, n_candidates
from tests.support.conf import conf_file
from tests.support.metas import data_meta
from tests.support.training import config, table

MODEL = {**conf_file("model", "nca")["model"], "embedding": "none"}
N, FEATURES = 90, 4


def net(classes: int, **changes: Any) -> Any:
    """One whose space is that of the numbers themselves."""
    meta = data_meta(FEATURES, n_classes=classes)
    made = build({**MODEL, "blocks": 0, "embedding": "none", "dim": FEATURES, **changes}, meta)
    made.encoder.first = nn.Identity()
    return made


def weights(distances: np.ndarray) -> np.ndarray:
    return np.exp(-distances)


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(N, FEATURES), torch.randint(0, 3, (N,))


def test_values_are_those_of_weighted_neighbours(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    made = net(0).eval()
    made.rows.hold(x, y.float(), torch.ones(N))
    expected = KNeighborsRegressor(N, weights=weights).fit(x.numpy(), y.numpy()).predict(x[:20].numpy() + 0.1)
    np.testing.assert_allclose(made(x[:20] + 0.1)[:, 0].numpy(), expected, rtol=1e-3, atol=1e-4)


def test_classes_are_logarithms_of_their_shares_and_a_row_drawn_twice_counts_twice(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    bag = np.random.default_rng(0).integers(N, size=N)
    made = net(3).eval()
    made.rows.hold(x, y, torch.bincount(torch.from_numpy(bag), minlength=N).float())
    assert len(made.rows.x) == len(set(bag))
    sklearn = KNeighborsClassifier(N, weights=weights).fit(x.numpy()[bag], y.numpy()[bag])
    expected = sklearn.predict_proba(x[:20].numpy() + 0.1)
    np.testing.assert_allclose(made(x[:20] + 0.1).exp().numpy(), expected.clip(LEAST), rtol=1e-3, atol=1e-4)


def test_a_row_in_training_is_not_its_own_neighbour(data: tuple[Tensor, Tensor]) -> None:
    x, _ = data
    y = torch.arange(float(N))
    made = net(0, candidates=1.0).train()
    weight = torch.ones(N)
    weight[10:] = 0
    made.rows.hold(x, y, weight)
    made.rows.next_rows(torch.tensor([3, 7, 50]))  # the last is none of the rows that are held
    out = made(x[[3, 7, 50]])[:, 0]
    for k, row in enumerate((3, 7, 50)):
        others = [n for n in range(10) if n != row]
        share = torch.softmax(-torch.cdist(x[[row]], x[others])[0], 0)
        torch.testing.assert_close(out[k], share @ y[others], rtol=1e-4, atol=1e-4)


def test_each_step_draws_a_share_by_the_generator(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    made = net(0, candidates=0.8).train()
    made.rows.hold(x, y.float(), torch.ones(N))
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(made(x[:5]))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert (n_candidates(10_000, 0.2), n_candidates(100, 0.2), n_candidates(20, 0.2)) == (2000, FEWEST_DRAWN, 20)


def test_encoded_rows_follow_the_weights(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    meta = data_meta(FEATURES, n_classes=0)
    made, other = (build(MODEL, meta).eval() for _ in range(2))
    made.rows.hold(x, y.float(), torch.ones(N))
    before = made(x[:3])
    assert made.rows.encoded is not None
    assert torch.equal(made(x[:3]), before)
    made.encoder.load_state_dict(other.encoder.state_dict())
    assert not torch.equal(made.eval()(x[:3]), before)
    other.load_state_dict(made.state_dict())  # with its rows
    assert torch.equal(other(x[:3]), made(x[:3]))


def test_without_rows_it_does_not_predict() -> None:
    with pytest.raises(ValueError, match="no training rows"):
        net(0)(torch.zeros(2, FEATURES))


def test_cost_knows_the_candidates() -> None:
    """A step compares each of its rows with the share that it draws, and encodes these; a prediction, with all."""
    meta = replace(table("regression").meta, n_train=10_000)
    few, many = (config("nca", **{**MODEL, "candidates": share}) for share in (0.1, 0.5))
    assert seconds_per_epoch(many, meta) > 3 * seconds_per_epoch(few, meta)
    assert seconds_per_epoch(replace(few, batch_size=1024), meta) < seconds_per_epoch(few, meta)
    assert measures(few, meta)["operations"] == measures(many, meta)["operations"] > 10_000 * MODEL["dim"]


def test_a_step_that_no_memory_holds_is_refused() -> None:
    meta = replace(table("regression").meta, n_train=10**10)
    with pytest.raises(ValueError, match=r"model\.candidates: a step takes .* GB, this machine has") as refusal:
        refuse_untrainable(MODEL, config("nca", **MODEL), meta)
    assert str(refusal.value).count(". ") == 0
