"""Combiners: each keeps what it promises, learns nothing from noise, and is the same after saving and exporting."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import mode
from sklearn.linear_model import LogisticRegression, Ridge

from src.config.components import make
from src.ensembles.combiners.average import average
from src.ensembles.combiners.greedy import greedy
from src.ensembles.combiners.stacking import stacking
from src.ensembles.combiners.vote import vote
from src.ensembles.combiners.weighted import weighted
from src.ensembles.mixture import Mixture, Stacking, Temperature, Vote, Weighted, read, write
from src.ensembles.mixture_loss import losses, true_class_probability
from src.ensembles.row_folds import cross_validated, folds
from src.ensembles.temperature import calibrated, temperature
from src.system.errors import UserError

ROOT = Path(__file__).parents[2]
SECTIONS = {
    path.stem: yaml.safe_load(path.read_text())["combiner"] for path in sorted((ROOT / "conf/combiner").glob("*.yaml"))
}
Arrays = tuple[NDArray[np.float64], NDArray[Any]]


def classified(seed: int = 0, members: int = 6, rows: int = 200, classes: int = 3, skill: float = 1.5) -> Arrays:
    """Members of different skill that see the truth through noise, part of which they share."""
    rng = np.random.default_rng(seed)
    y_N = np.resize(np.arange(classes), rows)
    rng.shuffle(y_N)
    shared = rng.normal(size=(rows, classes))
    logits = rng.normal(size=(members, rows, classes)) + shared
    logits[:, np.arange(rows), y_N] += skill * rng.uniform(0.2, 2.0, (members, 1))
    p_MNC = np.exp(logits)
    return p_MNC / p_MNC.sum(-1, keepdims=True), y_N


def valued(seed: int = 0, members: int = 6, rows: int = 200) -> Arrays:
    rng = np.random.default_rng(seed)
    y_N = 100 + 20 * rng.normal(size=rows)
    spread = rng.uniform(2, 15, (members, 1))
    return y_N + rng.normal(0, 5, rows) + spread * rng.normal(size=(members, rows)) + rng.normal(
        0, 2, (members, 1)
    ), y_N


def equal(p_MNC: NDArray[Any]) -> NDArray[np.float64]:
    return np.full(len(p_MNC), 1 / len(p_MNC))


def value(p: NDArray[Any], y_N: NDArray[Any]) -> float:
    """NLL or mean squared error of one prediction of all rows."""
    return float(losses(true_class_probability(p[None], y_N), p.ndim == 2).mean())


GREEDY = partial(greedy, steps=40, bags=20, fraction=0.5)
STACKING = partial(stacking, strengths=[0.0003, 0.003, 0.03], parts=5, rows=2000)


@pytest.mark.parametrize("draw", [classified, valued], ids=["classes", "values"])
@pytest.mark.parametrize("name", SECTIONS)
def test_every_combiner_gives_a_mixture_that_lasts(name: str, draw: Any, tmp_path: Path) -> None:
    p_MNC, y_N = draw()
    mixture = make("combiner", SECTIONS[name], p_MNC, y_N, equal(p_MNC))
    out = mixture.predict(p_MNC)
    assert out.shape == p_MNC.shape[1:]
    if out.ndim == 2:
        assert (out >= 0).all()
        np.testing.assert_allclose(out.sum(1), 1, atol=1e-9)
    shares = mixture.shares.numpy()
    assert shares.shape == (len(p_MNC),)
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1)
    used = np.flatnonzero(shares)
    np.testing.assert_allclose(mixture.subset(used).predict(p_MNC[used]), out, atol=1e-12)
    assert not list(mixture.parameters())
    write(mixture, tmp_path / "joint.safetensors")
    same = read(tmp_path / "joint.safetensors")
    assert type(same) is type(mixture)
    assert (same.predict(p_MNC) == out).all()
    n = torch.export.Dim("n", min=2)
    exported = torch.export.export(mixture, (torch.from_numpy(p_MNC),), dynamic_shapes=({1: n},)).module()
    np.testing.assert_allclose(exported(torch.from_numpy(p_MNC[:, :50])).numpy(), out[:50], atol=1e-12)


def test_average_is_the_mean_and_heeds_what_members_say() -> None:
    p_MNC, y_N = classified()
    np.testing.assert_allclose(average(p_MNC, y_N, equal(p_MNC)).predict(p_MNC), p_MNC.mean(0), atol=1e-12)
    say = np.arange(1.0, 7) / 21
    expected = np.average(p_MNC, axis=0, weights=say)
    np.testing.assert_allclose(average(p_MNC, y_N, say).predict(p_MNC), expected, atol=1e-12)


def test_vote_takes_what_most_say() -> None:
    p_MNC, y_N = classified(members=5, classes=4)
    found = vote(p_MNC, y_N, equal(p_MNC)).predict(p_MNC)
    votes = p_MNC.argmax(2)
    counts = np.stack([(votes == c).sum(0) for c in range(4)], 1)
    clear = np.sort(counts, 1)[:, -1] > np.sort(counts, 1)[:, -2]
    assert clear.mean() > 0.5
    assert (found.argmax(1) == mode(votes).mode)[clear].all()
    np.testing.assert_allclose(found, counts / 5, atol=1.1e-3)
    tied = ~clear
    assert tied.any()
    leading = counts == counts.max(1, keepdims=True)
    assert (found.argmax(1) == np.where(leading, p_MNC.mean(0), -1).argmax(1))[tied].all()


@pytest.mark.parametrize("members", [1, 4, 7])
def test_vote_of_values_is_the_median(members: int) -> None:
    values_MN, y_N = valued(members=members)
    np.testing.assert_allclose(vote(values_MN, y_N, equal(values_MN)).predict(values_MN), np.median(values_MN, 0))
    say = np.arange(1.0, members + 1)
    found = Vote(say / say.sum()).predict(values_MN)
    np.testing.assert_allclose(found, np.median(np.repeat(values_MN, say.astype(int), 0), 0))  # as often as it says


@pytest.mark.parametrize("draw", [classified, valued], ids=["classes", "values"])
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_best_mixture(draw: Any, seed: int) -> None:
    """Karush, Kuhn and Tucker: more of no member would lower the loss, nor would less of one that is in it."""
    p_MNC, y_N = draw(seed)
    w_M = weighted(p_MNC, y_N, equal(p_MNC)).weights.numpy()
    t_MN = true_class_probability(p_MNC, y_N)
    mixed = w_M @ t_MN
    slope_M = t_MN @ (-1 / mixed if draw is classified else 2 * mixed) / len(y_N)
    slope_M /= abs(slope_M @ w_M)
    level = slope_M @ w_M
    assert (slope_M > level - 2e-3).all()
    assert abs(slope_M - level)[w_M > 1e-3].max() < 2e-2


@pytest.mark.parametrize("draw", [classified, valued], ids=["classes", "values"])
@pytest.mark.parametrize(
    "fit", [GREEDY, partial(greedy, steps=10, bags=1, fraction=1.0), weighted], ids=["bagged", "plain", "weighted"]
)
def test_never_worse_than_the_best_member_on_its_own_rows(draw: Any, fit: Any) -> None:
    for seed in range(20):
        p_MNC, y_N = draw(seed, members=2 + seed % 7, rows=40)
        best = min(value(p, y_N) for p in p_MNC)
        assert value(fit(p_MNC, y_N, equal(p_MNC)).predict(p_MNC), y_N) <= best + 1e-12


def test_greedy_takes_one_after_another() -> None:
    """Against the definition, written out: every candidate tried at every step."""
    p_MNC, y_N = classified(3, members=5, rows=60)
    taken = [int(np.argmin([value(p, y_N) for p in p_MNC]))]
    path = [list(taken)]
    for _ in range(12):
        taken.append(int(np.argmin([value(p_MNC[[*taken, k]].mean(0), y_N) for k in range(5)])))
        path.append(list(taken))
    best = min(path, key=lambda ks: value(p_MNC[ks].mean(0), y_N))
    expected = np.bincount(best, minlength=5) / len(best)
    found = greedy(p_MNC, y_N, equal(p_MNC), steps=12, bags=1, fraction=1.0)
    np.testing.assert_allclose(found.weights.numpy(), expected, atol=1e-12)


def test_stacking_is_scikit_learns_regression() -> None:
    p_MNC, y_N = classified(rows=300)
    x = np.log(p_MNC).transpose(1, 0, 2).reshape(300, -1)
    model = LogisticRegression(C=1 / (300 * 0.01), tol=1e-8, max_iter=5000).fit(x, y_N)
    found = stacking(p_MNC, y_N, equal(p_MNC), strengths=[0.01], parts=5, rows=2000)
    assert isinstance(found, Stacking)
    np.testing.assert_allclose(found.predict(p_MNC), model.predict_proba(x), atol=5e-3)
    values_MN, z_N = valued(rows=300)
    mean = values_MN.mean(0)
    unit = (values_MN - mean).std()
    ridge = Ridge(alpha=3.0).fit((values_MN - mean).T / unit, z_N - mean)
    joined = stacking(values_MN, z_N, equal(values_MN), strengths=[0.01], parts=5, rows=2000).predict(values_MN)
    np.testing.assert_allclose(joined, mean + ridge.predict((values_MN - mean).T / unit), rtol=1e-9)


NOISE = np.sqrt(2 / 9 / (4 * 150))  # of the accuracy of chance on as many rows


def unlabelled(seed: int) -> Arrays:
    """Predictions, and labels that have nothing to do with them."""
    return classified(seed, members=5, rows=150)[0], np.random.default_rng(100 + seed).integers(0, 3, 150)


@pytest.mark.parametrize(
    "fit",
    [pytest.param(STACKING, marks=pytest.mark.slow), GREEDY, weighted],
    ids=["stacking", "greedy", "weighted"],
)
def test_nothing_is_learnt_from_random_labels(fit: Any) -> None:
    """Judged on rows that a combiner was not fitted on, its gain over chance is zero within the noise of as many rows."""
    gains = []
    for seed in range(4):
        p_MNC, y_N = unlabelled(seed)
        gains.append((cross_validated(fit, p_MNC, y_N, equal(p_MNC)).argmax(1) == y_N).mean() - 1 / 3)
    assert abs(np.mean(gains)) < 3 * NOISE


def test_what_stacking_learns_on_its_own_rows_is_no_gain() -> None:
    """The test above could fail: on the rows of the fit, stacking beats chance by far."""
    gains = []
    for seed in range(4):
        p_MNC, y_N = unlabelled(seed)
        fitted = stacking(p_MNC, y_N, equal(p_MNC), strengths=[1e-4], parts=5, rows=2000)
        gains.append((fitted.predict(p_MNC).argmax(1) == y_N).mean() - 1 / 3)
    assert np.mean(gains) > 5 * NOISE


@pytest.mark.parametrize("wrong", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(wrong: float) -> None:
    """Truths drawn from probabilities, which are then taken to a power."""
    rng = np.random.default_rng(0)
    p_NC = rng.dirichlet(np.full(4, 0.7), 20_000)
    y_N = (p_NC.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    told = p_NC ** (1 / wrong)
    told /= told.sum(1, keepdims=True)
    assert temperature(told, y_N) == pytest.approx(1 / wrong, rel=0.05)


def test_a_temperature_stands_on_top_of_any_combiner() -> None:
    p_MNC, y_N = classified(rows=400)
    sharp = p_MNC**4 / (p_MNC**4).sum(2, keepdims=True)
    plain = average(sharp, y_N, equal(sharp)).predict(sharp)
    found = calibrated(average, sharp, y_N, equal(sharp))
    assert isinstance(found, Temperature)
    assert value(found.predict(sharp), y_N) < value(plain, y_N)
    assert (found.predict(sharp).argmax(1) == plain.argmax(1)).all()
    values_MN, z_N = valued()
    with pytest.raises(UserError, match=r"combiner\.temperature: calibrates probabilities"):
        calibrated(average, values_MN, z_N, equal(values_MN))


def test_every_row_is_judged_once_by_a_fit_without_it() -> None:
    _, y_N = classified(rows=101)
    judged = [(set(others.tolist()), set(mine.tolist())) for others, mine in folds(y_N, 5)]
    assert sorted(row for _, mine in judged for row in mine) == list(range(101))
    assert all(not others & mine and len(others) + len(mine) == 101 for others, mine in judged)
    seldom = np.where(np.arange(101) < 2, 1, 0)  # a class with fewer rows than parts
    assert len(list(folds(seldom, 5))) == 5


def test_a_class_without_rows_is_improbable_but_there() -> None:
    p_MNC, y_N = classified(classes=4)
    kept = y_N != 2
    mixture = STACKING(p_MNC[:, kept], y_N[kept], equal(p_MNC))
    out = mixture.predict(p_MNC)
    assert out.shape == (200, 4)
    assert out[:, 2].max() < 1e-3
    one = STACKING(p_MNC[:, y_N == 1], y_N[y_N == 1], equal(p_MNC))
    assert one.predict(p_MNC)[:, 1].min() > 0.99


def test_a_file_that_is_no_mixture_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weights": torch.ones(2)}, tmp_path / "a", {"joint": "os.system"})
    save_file({"weights": torch.ones(2)}, tmp_path / "b")
    for name in "ab":
        with pytest.raises(UserError, match="is no combiner of this project"):
            read(tmp_path / name)


def test_negative_weights_still_have_shares() -> None:
    mixture: Mixture = Weighted(np.array([1.5, -0.5]))
    assert mixture.shares.tolist() == [0.5, 0.5]
