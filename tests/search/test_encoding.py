"""Points as rows: what is drawn and changed many at once are points of the space, and the rows of those points."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.config.space import Dimension, Leaf, Space
from src.search.points.candidates import AROUND
from src.search.points.encoding import Box, fresh

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
def box() -> Box:
    dimensions = {
        n: Dimension(n, d, d.choices if isinstance(d, CategoricalDistribution) else ()) for n, d in DIMENSIONS.items()
    }
    return Box(Space(Leaf(dict.fromkeys(DIMENSIONS), dimensions)))


def test_rows_from_anywhere_are_points_of_the_space_and_come_everywhere(box: Box) -> None:
    x_ND = box.anywhere(400, np.random.default_rng(0))
    points = [box.point(x_D) for x_D in x_ND]
    for name, d in DIMENSIONS.items():
        assert all(d._contains(d.to_internal_repr(p[name])) for p in points)
    np.testing.assert_allclose(box.rows(points), x_ND, atol=1e-9)
    assert {p["depth"] for p in points} == {1, 2, 3}
    assert {p["norm"] for p in points} == {"none", "batch", "layer"}
    assert {p["share"] for p in points} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert 0.2 < np.mean([p["rate"] < 1e-2 for p in points]) / 2 < 0.3, "even in the logarithm"


def test_a_row_near_by_differs_in_one_dimension_that_has_another_value(box: Box) -> None:
    rng = np.random.default_rng(1)
    x_MD = box.anywhere(100, rng)
    parents, children = ([box.point(x) for x in rows] for rows in (np.repeat(x_MD, AROUND, 0), box.around(x_MD, rng)))
    changed = [{n for n in DIMENSIONS if one[n] != other[n]} for one, other in zip(parents, children, strict=True)]
    assert all(len(names) == 1 for names in changed)
    assert set.union(*changed) == {"rate", "share", "width", "depth", "norm"}
    for name, d in DIMENSIONS.items():
        assert all(d._contains(d.to_internal_repr(p[name])) for p in children)


def test_what_is_told_is_not_fresh(box: Box) -> None:
    x_ND = box.anywhere(50, np.random.default_rng(2))
    told = [box.point(x_D) for x_D in x_ND[:30]]
    np.testing.assert_array_equal(fresh(x_ND, box.keys(told)), x_ND[30:])
    assert len(fresh(x_ND[:0], box.keys(told))) == 0
