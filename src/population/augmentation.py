"""Augmentation of images on the batch as tensors: mirrored, shifted, turned, a rectangle erased; each image by chance.

`training.augment.flip`: the probability of a mirror image. `.alternating_flip`: every image is mirrored in every second
epoch, half of them, by chance, in the first, so that two epochs show all of both sides (Jordan 2024). `.shift`: up to this
share of each side, in whole pixels, and `.rotation`: up to so many degrees to either side, equally likely; the border's
pixels go on outside. `.erasing`: the probability that a rectangle of 2 to 33 % of the image, its sides at most as 3 to 10,
becomes the mean, which is 0 (Zhong et al. 2020). Whatever is off for a member leaves its images as they are, bit for bit.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from src.population.hashing import random_bits, scramble, uniform
from src.population.hyperparameters import column
from src.population.member import Member
from src.population.seeds import derived_seed

AREA, RATIO = (0.02, 0.33), (0.3, 10 / 3)
DRAWS = 9  # random numbers an image
TURN = 1 << 16  # parts of a whole turn: sine and cosine of each are looked up, so that they have the same bits anywhere


class Augment:
    """The strengths of K members as columns [K, 1]; None where all have it off."""

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        self.members = members
        self.flip, self.alternating, self.shift, self.rotation, self.erasing = (
            column(members, strength, device)
            for strength in (
                lambda training: training.augment.flip,
                lambda training: training.augment.alternating_flip,
                lambda training: training.augment.shift,
                lambda training: training.augment.rotation,
                lambda training: training.augment.erasing,
            )
        )

    @classmethod
    def of(cls, members: Sequence[Member], device: torch.device) -> "Augment | None":
        """Make that of `members` on `device`; None where none of them has any on."""
        augment = cls(members, device)
        strengths = (augment.flip, augment.alternating, augment.shift, augment.rotation, augment.erasing)
        return augment if any(strength is not None for strength in strengths) else None

    def turns(self, epochs: Sequence[int], device: torch.device) -> Tensor:
        """Return what decides which images are mirrored in the epoch after `epochs`: a key and the epoch's parity [K, 2]."""
        keys = [derived_seed(member.seed, "alternating flip") & 0x7FFFFFFF for member in self.members]
        pairs = [(key, epoch % 2) for key, epoch in zip(keys, epochs, strict=True)]
        return torch.tensor(pairs, dtype=torch.int32, device=device)

    def __call__(self, x_KBCHW: Tensor, key_K: Tensor, index_KB: Tensor, turn_K2: Tensor | None) -> Tensor:
        """Return the images, each changed by its own random numbers.

        Args:
            x_KBCHW: the images.
            key_K: the members' random keys of this step, from which the numbers follow.
            index_KB: the images' places among the training rows.
            turn_K2: of `turns`, where flips alternate.
        """
        u_KDB = uniform(random_bits(key_K, DRAWS * x_KBCHW.shape[1])).view(len(key_K), DRAWS, -1)
        flip, right, down, turn, erase, area, ratio, top, left = u_KDB.unbind(1)
        mirrored_KB = None if self.flip is None else flip < self.flip
        if self.alternating is not None and turn_K2 is not None:
            first_KB = scramble(index_KB.int() + turn_K2[:, :1]) & 1
            turn_KB = (first_KB != turn_K2[:, 1:]) & (self.alternating > 0)
            mirrored_KB = turn_KB if mirrored_KB is None else mirrored_KB | turn_KB
        if mirrored_KB is not None or self.shift is not None:
            x_KBCHW = self._moved(x_KBCHW, mirrored_KB, right, down)
        if self.rotation is not None:
            turned = _turned(x_KBCHW, (turn * 2 - 1) * self.rotation)
            x_KBCHW = torch.where(_per_image(self.rotation > 0), turned, x_KBCHW)
        if self.erasing is not None:
            hidden = _rectangles(x_KBCHW.shape[-2:], area, ratio, top, left) & _per_image(erase < self.erasing)
            x_KBCHW = x_KBCHW * ~hidden
        return x_KBCHW

    def _moved(self, x_KBCHW: Tensor, mirrored_KB: Tensor | None, right_KB: Tensor, down_KB: Tensor) -> Tensor:
        """Return the images mirrored and shifted, which takes whole pixels as they are."""
        height, width = x_KBCHW.shape[-2:]
        column_KBW = _shifted(width, right_KB, self.shift)
        row_KBH = _shifted(height, down_KB, self.shift)
        if mirrored_KB is not None:
            column_KBW = torch.where(mirrored_KB[..., None], width - 1 - column_KBW, column_KBW)
        pixel = row_KBH[..., None] * width + column_KBW[..., None, :]
        index = pixel[:, :, None].expand(x_KBCHW.shape)
        return x_KBCHW.flatten(3).gather(3, index.flatten(3)).view_as(x_KBCHW)


def _per_image(x_KB: Tensor) -> Tensor:
    return x_KB[..., None, None, None]


def _shifted(side: int, u_KB: Tensor, most_K1: Tensor | None) -> Tensor:
    """Return for each pixel along a side the place that its value comes from [K, B, side]."""
    here = torch.arange(side, device=u_KB.device).expand(*u_KB.shape, side)
    if most_K1 is None:
        return here
    most = (most_K1 * side).round()
    steps = (u_KB * (2 * most + 1)).floor() - most
    return (here - steps.long()[..., None]).clamp(0, side - 1)


def _turned(x_KBCHW: Tensor, degrees_KB: Tensor) -> Tensor:
    """Rotate images about their middle, between pixels by bilinear interpolation."""
    height, width = x_KBCHW.shape[-2:]
    part_KB11 = (degrees_KB * (TURN / 360)).round().long()[..., None, None] % TURN
    sine, cosine = (values[part_KB11] for values in _circle(x_KBCHW.device))
    y_H1 = torch.arange(height, device=x_KBCHW.device)[:, None] - (height - 1) / 2
    x_1W = torch.arange(width, device=x_KBCHW.device) - (width - 1) / 2
    from_x, from_y = cosine * x_1W + sine * y_H1, cosine * y_H1 - sine * x_1W
    grid = torch.stack([from_x * (2 / width), from_y * (2 / height)], -1).flatten(0, 1)
    images = F.grid_sample(x_KBCHW.flatten(0, 1), grid, padding_mode="border", align_corners=False)
    return images.view_as(x_KBCHW)


def _rectangles(sides: Sequence[int], area: Tensor, ratio: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Return the mask of each image's rectangle, made of these numbers from 0 to 1 [K, B]: [K, B, 1, H, W]."""
    height, width = sides
    pixels = (AREA[0] + area * (AREA[1] - AREA[0])) * (height * width)
    ratio = _ratios(area.device)[(ratio * TURN).long()]
    inside = []
    for side, length, start in ((height, pixels * ratio, top), (width, pixels / ratio, left)):
        length = length.sqrt().round().clamp(1, side)
        first = (start * (side - length + 1)).floor()[..., None]
        here = torch.arange(side, device=area.device)
        inside.append((here >= first) & (here < first + length[..., None]))
    return (inside[0][..., None] & inside[1][..., None, :])[:, :, None]


@lru_cache(maxsize=2)
def _ratios(device: torch.device) -> Tensor:
    """Return ratios of height to width, equally likely on a logarithmic scale."""
    low, high = map(math.log, RATIO)
    return torch.linspace(low, high, TURN, dtype=torch.float64).exp().float().to(device)


@lru_cache(maxsize=2)
def _circle(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the sine and cosine of every part of a turn."""
    angle = torch.arange(TURN, dtype=torch.float64) * (2 * math.pi / TURN)
    return angle.sin().float().to(device), angle.cos().float().to(device)
