"""How alike the details of two sets of images are, at each size: the sliced Wasserstein distance on
Laplacian pyramids (Karras et al. 2018, section 5), for images that no classifier here knows.

An image becomes its Laplacian pyramid (Burt & Adelson 1983): what each halving loses, finest first,
and at 16 pixels or somewhat more what is left. Of each level a set gives 128 neighbourhoods of 7x7
pixels an image; the distance is the Wasserstein distance of these two clouds of points, seen from
512 random directions, along which it is found by sorting (Rabin et al. 2011).

Everything random is a function of the level alone, so scores can be compared and repeated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import words
from common.normal import normal

Floats = NDArray[np.float32]

SMALLEST = 16  # pixels of the coarsest level, or up to twice as many
PATCH = 7  # pixels of a neighbourhood's side
PATCHES = 128  # of an image, at each level
DIRECTIONS = 512  # the paper's 4 times 128; the mean over all is the mean of the four means
SCALE = 1000  # the paper prints thousandths
CELL, REACH = 2**-11, 64  # of what is seen along a direction, in deviations
FLAT = 1e-6  # deviation of a channel, of [0, 1], that is rounding

PLACES, AXES = 101, 102  # purposes of Philox's key, besides those of common/batches.py
IMAGES_AT_ONCE, DIRECTIONS_AT_ONCE = 128, 64  # they bound the memory and move no figure


@dataclass(frozen=True)
class Profile:
    """What is known of one level of a set: how its points lie along each direction."""

    points: int
    counts: list[tuple[int, NDArray[np.int32]]]  # (number of the first cell, points in each)


def distances(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> dict[int, float]:
    """Side of each level -> the sets' distance there, in thousandths; the finest level first.

    a, b: as many images of one size, (N, S, S, C). In which order they stand is no matter.
    """
    return between(profiles(a), profiles(b))


def profiles(images: NDArray[np.uint8]) -> dict[int, Profile]:
    """Side of each level -> the profile of a set, (N, S, S, C); worth keeping for other sets."""
    return {
        side: profile(descriptors(images, level))
        for level, side in enumerate(sides(images.shape[1]))
    }


def between(a: dict[int, Profile], b: dict[int, Profile]) -> dict[int, float]:
    """The distances of sets by their profiles. ValueError if they are of other sizes or counts."""
    found = {}
    for (side, one), (other_side, other) in zip(a.items(), b.items(), strict=True):
        if (side, one.points) != (other_side, other.points):
            raise ValueError(f"{one.points} points at {side}, {other.points} at {other_side}")
        found[side] = SCALE * float(np.mean(list(map(wasserstein, one.counts, other.counts))))
        found[side] /= one.points
    return found


def sides(side: int) -> list[int]:
    """The levels of an image: 28 -> [28], 64 -> [64, 32, 16]."""
    found = [side]
    while found[-1] // 2 >= SMALLEST:
        found.append(found[-1] // 2)
    return found


# ------------------------------------------------------------------ the pyramid


def laplacian(images: Floats, level: int) -> Floats:
    """One level of the pyramid: (N, S, S, C) -> (N, S / 2**level, S / 2**level, C)."""
    last = len(sides(images.shape[1])) - 1
    for _ in range(level):
        images = down(images)
    return images if level == last else images - up(down(images))


def down(x: Floats) -> Floats:
    """Every other pixel of x * (1, 4, 6, 4, 1) / 16, along both sides; mirrored at the edges."""
    for axis in (1, 2):
        n = x.shape[axis]
        padded = np.moveaxis(np.pad(x, _widths(axis, 2, 2), mode="reflect"), axis, 0)
        p = [padded[i : i + n - 1 : 2] for i in range(5)]
        x = np.moveaxis((p[0] + p[4] + 4 * (p[1] + p[3]) + 6 * p[2]) / np.float32(16), 0, axis)
    return x


def up(x: Floats) -> Floats:
    """Zeros between the pixels, then 2 * (1, 4, 6, 4, 1) / 16: twice as many along both sides.

    The zeros leave (1, 6, 1) / 8 of the neighbours at the old pixels and (1, 1) / 2 between them.
    """
    for axis in (1, 2):
        # The mirror stands on the first old pixel, and on the last new one.
        padded = np.pad(x, _widths(axis, 1, 0), mode="reflect")
        padded = np.moveaxis(np.pad(padded, _widths(axis, 0, 1), mode="edge"), axis, 0)
        before, here, after = padded[:-2], padded[1:-1], padded[2:]
        both = np.stack([(before + 6 * here + after) / np.float32(8), (here + after) / 2], axis=1)
        x = np.moveaxis(both.reshape(-1, *here.shape[1:]), 0, axis)
    return x


def _widths(axis: int, before: int, after: int) -> list[tuple[int, int]]:
    return [(before, after) if i == axis else (0, 0) for i in range(4)]


# ------------------------------------------------------------------ neighbourhoods


def descriptors(images: NDArray[np.uint8], level: int) -> Floats:
    """(N, S, S, C) uint8 -> (N * 128, 7 * 7 * C) float32, the channels of a pixel side by side.

    Over the whole set each channel has mean 0 and deviation 1, or is 0 if it is all the same. The
    images are taken in the order of their hashes, so that their order in a file moves nothing.
    """
    n, side, channels = len(images), sides(images.shape[1])[level], images.shape[3]
    order = sorted(range(n), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    rows, columns = places(n, side, level)
    found = np.empty((n, PATCHES, PATCH, PATCH * channels), np.float32)
    sums = np.zeros((2, channels))  # of the values, and of their squares
    for start in range(0, n, IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        block = images[order[part]].astype(np.float32) / np.float32(255)
        lines = laplacian(block, level).reshape(-1, side * channels)
        # Every window of 7 pixels of every line; a neighbourhood is seven of them.
        windows = np.lib.stride_tricks.sliding_window_view(lines, PATCH * channels, axis=1)
        first = np.arange(len(block))[:, None] * side + rows[part]
        lines_of = first[..., None] + np.arange(PATCH)
        found[part] = windows[lines_of, channels * columns[part][..., None]]
        values = found[part].reshape(-1, PATCH * channels).astype(np.float64)
        for i, moment in enumerate((values.sum(0), np.einsum("nd,nd->d", values, values))):
            sums[i] += moment.reshape(-1, channels).sum(0)
    mean, squares = sums / (n * PATCHES * PATCH**2)
    deviation = np.sqrt((squares - mean**2).clip(0))
    scale = np.where(deviation > FLAT, 1 / deviation.clip(FLAT), 0)
    found -= np.tile(mean, PATCH).astype(np.float32)
    found *= np.tile(scale, PATCH).astype(np.float32)
    return found.reshape(n * PATCHES, -1)


def places(n: int, side: int, level: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The upper left corners of the neighbourhoods: rows and columns, (N, 128) each."""
    raw = words(0, PLACES, level, n * PATCHES).reshape(n, PATCHES)
    choices = np.uint64(side - PATCH + 1)
    high, low = raw >> np.uint64(32), raw & np.uint64(2**32 - 1)
    # A 32-bit fraction times the choices, rounded down.
    rows, columns = ((part * choices) >> np.uint64(32) for part in (high, low))
    return rows.astype(np.int64), columns.astype(np.int64)


# ------------------------------------------------------------------ their distance


def profile(points: Floats) -> Profile:
    """(M, D) descriptors -> along each direction, how many points each cell has.

    Counting into cells of 1/2048 of a deviation costs a sixth of sorting, and moves the values of
    every set alike, by less than a cell. What is beyond 64 deviations counts as there.
    """
    counts, axes = [], directions(points.shape[1])
    for start in range(0, DIRECTIONS, DIRECTIONS_AT_ONCE):
        for values in axes[start : start + DIRECTIONS_AT_ONCE] @ points.T:
            values += REACH
            values.clip(0, 2 * REACH, out=values)
            values *= 1 / CELL
            found = np.bincount(values.astype(np.int32))
            first = int(np.flatnonzero(found)[0])
            counts.append((first, found[first:].astype(np.int32)))
    return Profile(len(points), counts)


def wasserstein(a: tuple[int, NDArray[np.int32]], b: tuple[int, NDArray[np.int32]]) -> float:
    """Sum of |x - y| over two equally long lists of values, both sorted: the area between their
    distribution functions. a, b: the number of the first cell, and how many values each has."""
    low = min(a[0], b[0])
    more = np.zeros(max(first + len(counts) for first, counts in (a, b)) - low, np.int64)
    for sign, (first, counts) in ((1, a), (-1, b)):
        more[first - low : first - low + len(counts)] += sign * counts
    return CELL * float(np.abs(np.cumsum(more)).sum())


def directions(dimension: int) -> Floats:
    """Unit vectors without a preferred direction, (512, D)."""
    vectors = normal(0, AXES, 0, DIRECTIONS * dimension).reshape(DIRECTIONS, dimension)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
