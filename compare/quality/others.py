"""Other people's images: arrays in .npy and .npz files, and folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import checkpoint, folder, pictures
from common.config import SIDES, UserError
from common.images import to_uint8

ENDINGS = (".npy", ".npz")
SIZES = (28, *SIDES)  # of what can be scored
ROUNDING = 1e-3  # how far a value may lie outside its range
AT_ONCE = 1000  # images whose values are looked at


class Images(NamedTuple):
    """What a file or folder holds, not read yet as far as that can be."""

    path: Path
    values: NDArray[Any] | None  # (N, H, W, C); None: a folder
    files: list[Path]  # of a folder
    shape: tuple[int, ...]  # of an image: (H, W, C); or the whole array's, if it is of none
    stored: str = ""  # type and shape of the array in the file
    scale: tuple[float, float] | None = None  # of floats, the values of black and of white
    taken_for: str = ""  # what nobody said and was found, in words

    def read(self, count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The first `count` as (N, H, W, C) uint8. shape: what pictures of a folder are made to.
        UserError for a picture that cannot be read."""
        if self.values is None:
            return _pictures(self.files[:count], shape)
        values = self.values[:count]
        if self.scale is None:
            return np.ascontiguousarray(values)
        low, high = self.scale
        parts = (np.asarray(part, np.float64) for part in _parts(values))
        scaled = [to_uint8((part - low) / (high - low) * 2 - 1) for part in parts]
        return np.concatenate([np.empty((0, *self.shape), np.uint8), *scaled])


def are_images(path: Path) -> bool:
    """Is it a file of arrays by its ending, or a folder of pictures that is no run?"""
    if not checkpoint.exists(path):
        return False
    is_run = any((path / name).exists() for name in (checkpoint.FILE_NAME, "config.json"))
    is_folder = path.is_dir() and not is_run and bool(folder.picture_files(path))
    return is_folder or path.suffix in ENDINGS


def find(path: Path) -> Images:
    """What a file or folder holds: see are_images. UserError if it cannot be read."""
    if path.is_dir() and path.suffix not in ENDINGS:
        return _folder(path)
    array = _array(path)
    values, layout = array, ""
    stored = f"{array.dtype} of shape {array.shape}"
    if array.ndim == 3:
        values = array[..., None]
    elif array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        values, layout = np.moveaxis(array, 1, 3), ", channels first"
    shape = values.shape[1:] if values.ndim == 4 else array.shape
    if array.dtype == np.uint8 or array.dtype.kind != "f" or values.ndim != 4:
        return Images(path, values, [], shape, stored, taken_for=layout.lstrip(", "))
    low, high = _range(path, values)
    scale = (-1.0, 1.0) if low < -ROUNDING else (0.0, 1.0)
    if low < -1 - ROUNDING or high > 1 + ROUNDING:
        raise UserError(
            f"{path} holds {array.dtype} from {low:.4g} to {high:.4g}; images are uint8, or floats "
            "in [0, 1] or in [-1, 1]."
        )
    words = f"{array.dtype} in [{scale[0]:g}, {scale[1]:g}]{layout}"
    return Images(path, values, [], shape, stored, scale, words)


def _folder(path: Path) -> Images:
    """Pictures of the size and colour of the first, or of the next smaller size that is known."""
    from PIL import Image

    files = [path / name for name, _ in folder.picture_files(path)]
    try:
        with Image.open(files[0], formats=pictures.FORMATS) as first:
            size, grey = first.size, first.mode in ("1", "L", "I", "F", "LA") or "16" in first.mode
    except Exception as error:  # whatever a decoder does wrong with a file
        raise _unreadable(files[0], error) from None
    side = max((n for n in SIZES if n <= min(size)), default=min(SIZES))
    words = f"{len(files)} pictures of {side} x {side} pixels"
    if size != (side, side):
        words += f", made of {size[0]} x {size[1]} and the like"
    return Images(path, None, files, (side, side, 1 if grey else 3), taken_for=words)


def _pictures(files: list[Path], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The files' pictures as (N, H, W, C)."""

    def read(file: Path) -> NDArray[np.uint8]:
        try:
            return pictures.read(file, shape[0], shape[2])
        except Exception as error:  # as above
            raise _unreadable(file, error) from None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(read, files))) if files else np.empty((0, *shape), np.uint8)


def _unreadable(file: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()).replace(str(file), "it")[:80] or type(error).__name__
    return UserError(f"{file} cannot be read as a picture ({reason}); move it away.")


def _array(path: Path) -> NDArray[Any]:
    """A file's array, or UserError."""
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        # Mapped: a header that declares more than there is costs no memory.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        if path.suffix != ".npz":
            raise ValueError("it holds several arrays")
        with found:
            arrays = {name: found[name] for name in found.files}
        images = [name for name, array in arrays.items() if array.ndim in (3, 4)]
        if len(images) != 1:
            names = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
            raise ValueError(f"of its arrays {names} not one is of images, but {len(images)}")
        return arrays[images[0]]
    except Exception as error:  # of a broken header numpy raises whatever its parsers do
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path} cannot be read as an array of images ({reason}).") from None


def _range(path: Path, values: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest value; 0 and 0 of none. UserError for one that is not finite."""
    low = high = 0.0
    for part in _parts(values):
        least, most = float(part.min()), float(part.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise UserError(f"{path} holds NaN or infinity; images are finite.")
        low, high = min(low, least), max(high, most)
    return low, high


def _parts(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The images, some at once; none of no size."""
    for start in range(0, len(values) if values.size else 0, AT_ONCE):
        yield values[start : start + AT_ONCE]
