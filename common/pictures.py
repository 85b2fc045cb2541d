"""A picture file of any common format, mode and size as an array of a size and channels."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # what Pillow may take a file for
LARGE = 2**24  # pixels of a picture in whose company no other large one is decoded
VERSION = 1  # of what read() makes of a file; a store of another version is not used

_one_large = threading.Lock()  # on many cores they would fill the memory together


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
        with _one_large if image.width * image.height > LARGE else contextlib.nullcontext():
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

    if image.mode.startswith("I;16"):
        scaled = (np.arange(2**16) * 255 + 2**15) // (2**16 - 1)
        return images.fromarray(scaled.astype(np.uint8)[np.asarray(image)])
    if image.mode in ("I", "F"):  # whole numbers of 32 bits, or floats
        values = np.array(image, np.float32)
        np.nan_to_num(values, copy=False)
        values.clip(0, None, out=values)
        values *= np.float32(255 / _white(image.mode, float(values.max())))
        return images.fromarray(values.round().astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
        image = image.convert("RGBA")
        white_canvas = images.new("RGBA", image.size, "white")
        image = images.alpha_composite(white_canvas, image)
    return image


def _white(mode: str, largest: float) -> float:
    """The value that stands for white in a picture of 32 bits. As no file says it, it is what the
    largest value fits into: 1 (of floats), 8 bits, 16 bits, or else that value itself."""
    fits = (255.0, 65535.0) if mode == "I" else (1.0, 255.0, 65535.0)
    return next((white for white in fits if largest <= white), largest)
