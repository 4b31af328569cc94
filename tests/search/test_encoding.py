"""Points as rows: what are drawn and changed many at once are points of the space, and the rows of those points."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Dimension, Leaf, Space
from src.search.points.encoding import NEIGHBOURS, Encoding, untried

DIMENSIONS: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "share": FloatDistribution(0.0, 1.0, step=0.25),
    "width": IntDistribution(16, 128, log=True),
    "depth": IntDistribution(1, 3),
    "fixed": IntDistribution(7, 7),
    "norm": CategoricalDistribution(["none", "batch", "layer"]),
    "only": CategoricalDistribution([True]),
}


@pytest.fixture
def encoding() -> Encoding:
    dimensions = {
        n: Dimension(n, d, d.choices if isinstance(d, CategoricalDistribution) else ()) for n, d in DIMENSIONS.items()
    }
    return Encoding(Space(Leaf(dict.fromkeys(DIMENSIONS), dimensions)))


def test_rows_from_anywhere_are_points_of_the_space_and_come_everywhere(encoding: Encoding) -> None:
    x_ND = encoding.random_rows(400, np.random.default_rng(0))
    points = [encoding.point(x_D) for x_D in x_ND]
    for name, d in DIMENSIONS.items():
        assert all(d._contains(d.to_internal_repr(p[name])) for p in points)
    np.testing.assert_allclose(encoding.rows(points), x_ND, atol=1e-9)
    assert {p["depth"] for p in points} == {1, 2, 3}
    assert {p["norm"] for p in points} == {"none", "batch", "layer"}
    assert {p["share"] for p in points} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert 0.2 < np.mean([p["rate"] < 1e-2 for p in points]) / 2 < 0.3, "even in the logarithm"


def test_a_row_near_by_differs_in_one_dimension_that_has_another_value(encoding: Encoding) -> None:
    rng = np.random.default_rng(1)
    x_MD = encoding.random_rows(100, rng)
    parents, children = (
        [encoding.point(x) for x in rows] for rows in (np.repeat(x_MD, NEIGHBOURS, 0), encoding.neighbours(x_MD, rng))
    )
    changed = [{n for n in DIMENSIONS if one[n] != other[n]} for one, other in zip(parents, children, strict=True)]
    assert all(len(names) == 1 for names in changed)
    assert set.union(*changed) == {"rate", "share", "width", "depth", "norm"}
    for name, d in DIMENSIONS.items():
        assert all(d._contains(d.to_internal_repr(p[name])) for p in children)


def test_tried_rows_are_left_out(encoding: Encoding) -> None:
    x_ND = encoding.random_rows(50, np.random.default_rng(2))
    tried = [encoding.point(x_D) for x_D in x_ND[:30]]
    np.testing.assert_array_equal(untried(x_ND, encoding.keys(tried)), x_ND[30:])
    assert len(untried(x_ND[:0], encoding.keys(tried))) == 0
