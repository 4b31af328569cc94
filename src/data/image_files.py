"""Image files as one array: of one size, with the same channels, upright, 8 bits a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.data.raw_file import available_memory, check_size
from src.system.errors import UserError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
MOST_PIXELS = 50_000_000  # of one image
LONGEST_SIDE = 64  # of all images, where nobody has said a size: a cnn on a few cores is slow beyond
BYTES = 12  # of memory that a pixel of one channel takes until it is prepared
GREY = {"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "F"}
SIXTEEN_BITS = {"I;16", "I;16L", "I;16B"}
ORIENTATION = 0x0112  # the tag of EXIF; from 5 on, height and width are exchanged


class Header(NamedTuple):
    """Height and width of an image that stands upright, and its mode in Pillow's words."""

    height: int
    width: int
    mode: str


def read_images(
    paths: Sequence[Path], size: Sequence[int] | None, channels: int | None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Read images [N, C, H, W], and say in sentences what was done to those that differ.

    Cameras' images are turned upright. Transparent pixels are laid on white. Of 16 bits the upper 8 count. What has another
    size is resized by Pillow's bicubic filter, without regard to the ratio of its sides.

    Args:
        paths: of the files.
        size: height and width; None: the commonest, made smaller where a side is more than 64.
        channels: 1 or 3; None: 3 where any image has colours.

    Raises:
        UserError: one is damaged, too large or has values of more than 16 bits, or they would not fit into memory.
    """
    headers = [_header(path) for path in paths]
    height, width = size or _common_size(headers)
    modes = {header.mode for header in headers}
    channels = channels or (1 if modes <= GREY else 3)
    check_size(paths[0].parent, BYTES * len(paths) * channels * height * width, available_memory())
    x = np.stack([_pixels(path, height, width, channels) for path in paths])
    return x, _remarks(headers, height, width, channels)


def _common_size(headers: Sequence[Header]) -> tuple[int, int]:
    (height, width), _ = Counter((header.height, header.width) for header in headers).most_common(1)[0]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _open(path: Path) -> Image:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is checked here
    try:
        image = Image.open(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is not a whole image: {first_line(error)}") from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise UserError(f"{path} has {image.width} × {image.height} pixels, more than {MOST_PIXELS:,}: make it smaller")
    return image


def _header(path: Path) -> Header:
    with _open(path) as image:
        try:
            turned = int(image.getexif().get(ORIENTATION, 1)) >= 5
        except Exception:  # whatever Pillow says of a damaged tag
            turned = False
        sides = (image.width, image.height) if turned else (image.height, image.width)
        return Header(*sides, image.mode)


def _pixels(path: Path, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Read the pixels of an image [C, H, W]."""
    from PIL import ImageOps

    with _open(path) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{path} is not a whole image: {first_line(error)}") from None
        converted = _on_white(_of_8_bits(upright, path)).convert("L" if channels == 1 else "RGB")
    if (converted.height, converted.width) != (height, width):
        converted = converted.resize((width, height))
    return np.atleast_3d(np.asarray(converted, np.uint8)).transpose(2, 0, 1)


def _of_8_bits(image: Image, path: Path) -> Image:
    """Bring grey values of 16 bits, or whole numbers that could be, to 8 bits: Pillow would cut them off at 255."""
    from PIL import Image

    if image.mode not in {*SIXTEEN_BITS, "I", "F"}:
        return image
    values = np.asarray(image)
    most = 65535 if image.mode in SIXTEEN_BITS or values.max() > 255 else 255
    if image.mode == "F" or values.min() < 0 or values.max() > most:
        raise UserError(f"{path} has values of more than 16 bits, or fractions: save it with 8 or 16 bits a pixel")
    return Image.fromarray((values >> 8 if most == 65535 else values).astype(np.uint8))


def _on_white(image: Image) -> Image:
    """Lay an image with transparent pixels on white, under which may be anything."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    with_alpha = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), with_alpha)


def _remarks(headers: Sequence[Header], height: int, width: int, channels: int) -> list[str]:
    """Say what is done to images that differ."""
    remarks, modes = [], sorted({header.mode for header in headers})
    if other := sum((header.height, header.width) != (height, width) for header in headers):
        remarks.append(
            f"{other} of {len(headers)} images have another size and are resized to {height} × {width} (data.size)"
        )
    if len(modes) > 1:
        kind = "grey" if channels == 1 else "RGB"
        remarks.append(f"the images are {', '.join(modes)}: all are read as {kind} (data.channels)")
    return remarks
