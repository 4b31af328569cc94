"""The images of digits that come with scikit-learn."""

from __future__ import annotations

from typing import Literal

import numpy as np

from src.data.raw import Raw
from src.data.reader import Fraction, ImageReader


class Digits(ImageReader):
    """scikit-learn's 1,797 images of digits, 8×8 pixels, values 0–16; needs no file."""

    reader: Literal["digits"]
    test_fraction: Fraction

    def read(self) -> Raw:
        """Load the images; none has a part by itself."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = digits.images[:, None].astype(np.uint8)
        part = np.full(len(images), "train")
        return Raw(images, digits.target.astype(np.int64), part, "classification", [*map(str, range(10))])
