"""Augmented images are mirrored, shifted, turned and blanked as asked and as often, by each member's own strength."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate
from scipy.stats import kstest
from torch import Tensor

from src.population.augmentation import _turned
from src.population.input_noise import Inputs
from src.system.errors import UserError
from tests.support.metas import data_meta
from tests.support.training import Member, config, images, population, table

B = 500
OFF = {"flip": 0.0, "alternating_flip": False, "shift": 0.0, "rotation": 0.0, "erasing": 0.0}


def pictures(height: int = 12, width: int = 10) -> Tensor:
    """Of two colours; all pixels differ and none is 0."""
    values = torch.arange(1.0, 2 * height * width + 1).view(2, height, width)
    return values + 1000 * torch.arange(B)[:, None, None, None]


def changed(
    x: Tensor, seed: int = 1, epoch: int = 0, step: int = 0, company: bool = True, **strengths: float
) -> Tensor:
    """The pictures as a member with these strengths sees them, beside one that has everything."""
    everything = Member(config(augment={"flip": 0.5, "shift": 0.3, "rotation": 90.0, "erasing": 0.5}), 77)
    members = [Member(config(augment=OFF | strengths), seed), *[everything] * company]
    inputs = Inputs(members, data_meta(*x.shape[1:]), x.device)
    columns = {name: values[step] for name, values in inputs.columns([epoch] * len(members), 3).items()}
    index = torch.arange(len(x)).expand(len(members), -1)
    return inputs(x.expand(len(members), *x.shape), index, columns)[0]


def test_what_is_off_changes_no_bit() -> None:
    assert torch.equal(changed(pictures()), pictures())


@pytest.mark.parametrize(
    "strengths",
    [
        *({"flip": 0.5}, {"alternating_flip": True}, {"shift": 0.25}, {"rotation": 20.0}, {"erasing": 0.5}),
        {"flip": 1.0, "erasing": 0.3},
    ],
)
def test_company_does_not_show(strengths: dict[str, float]) -> None:
    x = pictures()
    assert torch.equal(changed(x, **strengths), changed(x, company=False, **strengths))


def test_every_member_epoch_and_step_has_numbers_of_its_own() -> None:
    seen = [
        changed(pictures(), seed, epoch, step, shift=0.3)
        for seed, epoch, step in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
    ]
    assert torch.equal(seen[0], changed(pictures(), 1, 0, 0, shift=0.3))
    for k in range(1, 4):
        assert 0.5 < (seen[0] != seen[k]).flatten(1).any(1).float().mean() < 1


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_flip(p: float) -> None:
    x = pictures()
    y = changed(x, flip=p)
    mirrored = (y == x.flip(3)).flatten(1).all(1)
    assert (mirrored | (y == x).flatten(1).all(1)).all()
    assert mirrored.float().mean() == pytest.approx(p, abs=4 * (p * (1 - p) / B) ** 0.5)


def test_alternating_flips_show_both_sides_in_two_epochs() -> None:
    """Half of the images are mirrored in the first epoch, the others in the next, and so on, whatever the step."""
    x = pictures()
    mirrored = [
        (changed(x, epoch=epoch, step=step, alternating_flip=True) == x.flip(3)).flatten(1).all(1)
        for epoch, step in [(0, 0), (0, 1), (1, 0), (2, 2)]
    ]
    assert torch.equal(mirrored[0], mirrored[1])
    assert torch.equal(mirrored[0], ~mirrored[2])
    assert torch.equal(mirrored[0], mirrored[3])
    assert mirrored[0].float().mean() == pytest.approx(0.5, abs=0.1)
    other = (changed(x, seed=2, alternating_flip=True) == x.flip(3)).flatten(1).all(1)
    assert (other == mirrored[0]).float().mean() == pytest.approx(0.5, abs=0.1)


def test_shift_is_by_whole_pixels_equally_likely_and_repeats_the_border() -> None:
    x, count = pictures(12, 10), np.zeros((7, 5), int)
    y = changed(x, shift=0.25).numpy()
    for before, after in zip(x.numpy(), y, strict=True):
        padded = np.pad(before, ((0, 0), (3, 3), (2, 2)), mode="edge")
        where = [
            (down, right)
            for down in range(7)
            for right in range(5)
            if np.array_equal(after, padded[:, down : down + 12, right : right + 10])
        ]
        assert len(where) == 1
        count[where[0]] += 1
    for axis, ways in ((0, 5), (1, 7)):
        np.testing.assert_allclose(count.sum(axis), B / ways, atol=4 * (B / ways) ** 0.5)


@pytest.mark.parametrize("degrees", [90.0, 20.0, -7.0])
def test_rotation_is_scipy_s(degrees: float) -> None:
    """`order=1` is bilinear interpolation, `nearest` repeats the border."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 2, 11, 11, generator=draw)
    angle = torch.full((1, 3), degrees)
    expected = rotate(x.numpy(), -degrees, (3, 4), reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(_turned(x, angle).numpy(), expected, atol=2e-3)


def test_angles_are_uniform() -> None:
    """Read off a picture whose brightness is the distance from its vertical axis."""
    line = torch.linspace(-1, 1, 41).expand(B, 1, 41, 41)
    y = changed(line, rotation=30.0)[:, 0, 15:26, 15:26]
    right, down = (y.diff(dim=axis).mean((1, 2)) for axis in (2, 1))
    assert kstest(torch.atan2(down, right).rad2deg().numpy() / 30, "uniform", args=(-1, 2)).pvalue > 0.01


def test_erasing_blanks_rectangles() -> None:
    height, width = 40, 30
    blank = changed(pictures(height, width), erasing=0.7) == 0
    assert torch.equal(blank[:, 0], blank[:, 1])  # in all colours
    sizes = []
    for one in blank[:, 0]:
        if one.any():
            rows, columns = one.any(1).nonzero().flatten(), one.any(0).nonzero().flatten()
            sizes.append((len(rows), len(columns)))
            assert one.sum() == len(rows) * len(columns)
            assert int(rows[-1] - rows[0]) + 1 == len(rows)
            assert int(columns[-1] - columns[0]) + 1 == len(columns)
    assert len(sizes) / B == pytest.approx(0.7, abs=0.1)
    h, w = np.array(sizes).T
    area, ratio = h * w / (height * width), h / w
    assert area.min() > 0.015
    assert area.max() < 0.35
    assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.02)
    assert ratio.min() > 0.25
    assert ratio.max() < 4
    assert np.median(ratio) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("key", OFF)
def test_tables_are_refused(key: str) -> None:
    asked, none = (True, "false") if key == "alternating_flip" else (0.5, "0")
    member = Member(config(augment={key: asked}), 1)
    why = rf"^training\.augment\.{key}: {asked} is for images, but the data is a table: take {none}"
    with pytest.raises(UserError, match=why):
        population([member], table())
    population([member], images())
    population([Member(config(augment=OFF), 1)], table())


def test_augmentation_holds_overfitting_down_on_shifted_images() -> None:
    """A net that has seen its training images shifted knows others that are."""
    data: Any = images()
    shifted = torch.nn.functional.pad(data.x_val, (1, 0, 1, 0), mode="replicate")[..., :-1, :-1]
    members = [Member(config(epochs=30, augment={"shift": shift}), 3) for shift in (0.0, 0.125)]
    group = population(members, data)
    for _ in range(30):
        group.epoch()
    plain, augmented = (group.predict(shifted).argmax(2) == data.y_val).float().mean(1).tolist()
    assert augmented > plain + 0.1
