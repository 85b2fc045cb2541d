"""A picture file of any common format, mode and size as an array of a size and channels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # what Pillow may take a file for
VERSION = 1  # of what read() makes of a file; a store of another version is not used


def read(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """The central square of a picture, resized with antialiasing: (size, size, channels) uint8.

    channels: 1 grey, 3 red, green, blue. The camera's rotation is applied, what is transparent
    becomes white, and of an animation the first frame is taken. Raises whatever Pillow does for a
    file that is no picture.
    """
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as image:
        # A JPEG can be decoded at a half, a quarter or an eighth: at twice the size or more still.
        image.draft(None, (2 * size, 2 * size))
        picture = _eight_bits(ImageOps.exif_transpose(image))
        picture = picture.convert("L" if channels == 1 else "RGB")
        side = min(picture.size)
        left, top = ((length - side) / 2 for length in picture.size)
        square = picture.resize(
            (size, size),
            Image.Resampling.BICUBIC,
            box=(left, top, left + side, top + side),
            reducing_gap=2.0,
        )
    return np.asarray(square, np.uint8).reshape(size, size, channels)


def _eight_bits(image: Image) -> Image:
    """The picture with values from 0 to 255, and opaque."""
    from PIL import Image as images

    if image.mode.startswith("I") or image.mode == "F":  # whole numbers of 16 or 32 bits, or floats
        values = np.nan_to_num(np.asarray(image, np.float64)).clip(0)
        white = _white(image.mode, float(values.max()))
        image = images.fromarray((values * (255 / white)).round().astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
        image = image.convert("RGBA")
        white_canvas = images.new("RGBA", image.size, "white")
        image = images.alpha_composite(white_canvas, image)
    return image


def _white(mode: str, largest: float) -> float:
    """The value that stands for white in a picture of more than 8 bits.

    16 bits say it; of 32 bits, whole numbers or floats, no file does, and so it is what the largest
    value fits into: 1 (of floats), 8 bits, 16 bits, or else that value itself.
    """
    if mode.startswith("I;16"):
        return 65535.0
    fits = (255.0, 65535.0) if mode == "I" else (1.0, 255.0, 65535.0)
    return next((white for white in fits if largest <= white), largest)
