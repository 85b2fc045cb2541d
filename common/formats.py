"""Formats that arrays come in: IDX, gzip, pickles of arrays alone, MATLAB's .mat."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.limits import UserError


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """An array in the IDX format (big-endian header; type 0x08 is uint8). Raises UserError."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise UserError("This is no IDX file of bytes.")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UserError("This IDX file ends within its header.")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    size = 1
    for n in shape:
        size *= n
    if len(content) != start + size:
        raise UserError(f"This IDX file declares {size} values and holds {len(content) - start}.")
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or an empty array of huge ones
        raise UserError(f"This IDX file's shape is impossible ({error}).") from None


def idx(array: NDArray[np.uint8]) -> bytes:
    """The IDX file of a uint8 array; parse_idx reads it back."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def gunzip(content: bytes, limit: int) -> bytes:
    """Decompress a gzip file of at most `limit` bytes inside. Raises ValueError."""
    if not content:
        raise ValueError("not a whole gzip file: it is empty")
    try:
        with gzip.open(io.BytesIO(content)) as file:
            result = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a whole gzip file: {error}") from None
    if len(result) > limit:
        raise ValueError(f"more than {limit} bytes decompressed")
    return result


def unpickle_arrays(file: IO[bytes]) -> Any:
    """What a pickle of arrays and containers holds, as Python 2 may have written it. ValueError for
    any other."""
    try:
        return ArrayUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError,
            AttributeError) as error:  # fmt: skip
        raise ValueError(f"no pickle of arrays: {error}") from None


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and containers; any other name in the stream is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _empty_array
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of arrays")


def _empty_array(cls: type, shape: tuple[int, ...], typecode: str) -> NDArray[Any]:
    """What numpy's own `_reconstruct` does, for the one case that pickled arrays have."""
    if cls is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("not a plain array")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


# ------------------------------------------------------------------ MATLAB

_UINT8, _INT32, _MATRIX, _COMPRESSED = 2, 5, 14, 15  # types of elements


def parse_mat(content: bytes, name: str) -> NDArray[np.uint8]:
    """The array of bytes that a MATLAB 5 file holds under a name. Raises ValueError.

    MATLAB counts along the first axis first, so the array is in that order.
    """
    if len(content) < 128 or content[124:128] != b"\0\1IM":
        raise ValueError("this is no MATLAB 5 file")
    try:
        for kind, element in _elements(memoryview(content), 128):
            if kind == _COMPRESSED:
                inside = memoryview(zlib.decompress(element))
                kind, element = next(_elements(inside, 0), (0, inside))
            parts = list(_elements(element, 0)) if kind == _MATRIX else []
            if len(parts) < 4 or bytes(parts[2][1]).rstrip(b"\0") != name.encode():
                continue
            _, (of_shape, shape), _, (of_values, values) = parts[:4]  # flags, dimensions, name, ...
            if (of_shape, of_values) != (_INT32, _UINT8):
                raise ValueError(f"{name} is no array of bytes")
            sides = np.frombuffer(shape, "<i4").tolist()
            if min(sides, default=0) < 0:
                raise ValueError(f"{name} has the impossible shape {sides}")
            return np.frombuffer(values, np.uint8).reshape(sides, order="F")
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None
    raise ValueError(f"there is no array {name}")


def _elements(content: memoryview, start: int) -> Iterator[tuple[int, memoryview]]:
    """The data elements of a MATLAB 5 file: (type, content)."""
    while start + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, start)
        if kind >> 16:  # a small one: its size in the upper half of the type, its content next
            yield kind & 0xFFFF, content[start + 4 : start + 4 + (kind >> 16)]
            start += 8
            continue
        start += 8
        if start + size > len(content):
            raise ValueError("it ends within an array")
        yield kind, content[start : start + size]
        start += size if kind == _COMPRESSED else -(-size // 8) * 8
