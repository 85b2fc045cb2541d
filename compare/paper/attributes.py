"""Attributes of a picture that can be measured: of a digit, and of any other picture.

Digits are (N, 28, 28) in [0, 1], white on black; other pictures (N, H, W, C) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config import Config
from compare.paper.subject import Images
from compare.quality.scorer import Extractor

Floats = NDArray[np.floating[Any]]
Measure = Callable[[Floats], Floats]  # pictures -> (N,)

SURE = 0.9  # probability from which on a digit has a class
HOLE = 3  # pixels that a hole has at least


def stroke_width(digits: Floats) -> Floats:
    """Pixels: twice the ink over the length of its outline, which is the total variation of the
    picture (coarea formula). A straight stroke of width w and length l has w l ink and an outline
    of 2 l."""
    padded = np.pad(digits, ((0, 0), (1, 1), (1, 1)))
    down = np.diff(padded, axis=1)[:, :, :-1]
    right = np.diff(padded, axis=2)[:, :-1]
    outline = np.sqrt(down**2 + right**2).sum((1, 2))
    return 2 * digits.sum((1, 2)) / np.maximum(outline, 1e-9)


def slant(digits: Floats) -> Floats:
    """Degrees from upright, positive to the right: the shear that undoes it is the covariance of
    the ink's columns and rows over the variance of its rows."""
    _, yy, xy = _moments(digits)
    return np.degrees(np.arctan2(-xy, np.maximum(yy, 1e-9)))  # rows are counted downwards


def size(digits: Floats) -> Floats:
    """Pixels: twice the root mean square distance of the ink from its centre, a disc's radius times
    the square root of 2."""
    xx, yy, _ = _moments(digits)
    return 2 * np.sqrt(xx + yy)


def _moments(digits: Floats) -> tuple[Floats, Floats, Floats]:
    """The ink's variance along columns and rows, and their covariance."""
    rows, columns = np.mgrid[: digits.shape[1], : digits.shape[2]]
    ink = np.maximum(digits.sum((1, 2)), 1e-9)

    def mean(values: Floats) -> Floats:
        return (digits * values).sum((1, 2)) / ink

    x, y = mean(columns), mean(rows)
    return (
        mean(columns**2) - x**2,
        mean(rows**2) - y**2,
        mean(columns * rows) - x * y,
    )


def holes(digits: Floats) -> NDArray[np.bool_]:
    """The pixels of paper that ink encloses, (N, 28, 28): those that cannot be reached from the
    border over paper, by steps up, down, left and right."""
    paper = np.pad(digits < 0.5, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    outside = np.zeros_like(paper)
    outside[:, [0, -1]] = outside[:, :, [0, -1]] = True
    reached = -1
    while reached != (reached := int(outside.sum())):
        for axis in (1, 2):
            spread = outside.copy()
            for here, there in ((slice(1, None), slice(-1)), (slice(-1), slice(1, None))):
                at, of = [slice(None)] * 3, [slice(None)] * 3
                at[axis], of[axis] = here, there
                spread[tuple(at)] |= outside[tuple(of)]
            outside = spread & paper
    return (paper & ~outside)[:, 1:-1, 1:-1]


def hole(digits: Floats) -> Floats:
    """1 where a digit has a hole, 0 where it has none."""
    return (holes(digits).sum((1, 2)) >= HOLE).astype(np.float64)


def brightness(pictures: Floats) -> Floats:
    """Mean over pixels and colours."""
    return pictures.mean((1, 2, 3))


def warmth(pictures: Floats) -> Floats:
    """Mean red minus mean blue; 0 of grey pictures."""
    return (pictures[..., 0] - pictures[..., -1]).mean((1, 2))


DIGITS: dict[str, Measure] = {"stroke_width": stroke_width, "slant": slant, "size": size}
PICTURES: dict[str, Measure] = {"brightness": brightness, "warmth": warmth}


class Reader:
    """Measures the images of a data set. Of stacked-mnist it looks at the first channel's digit."""

    def __init__(self, config: Config) -> None:
        self.are_digits = config.dataset in ("mnist", "stacked-mnist")
        self.measures = dict(DIGITS if self.are_digits else PICTURES)
        if config.channels == 1:
            self.measures.pop("warmth", None)
        self._extractor = Extractor() if self.are_digits else None

    def pictures(self, images: Images) -> Images:
        """What is measured of images: digits (N, 28, 28), or the images themselves."""
        if not self.are_digits:
            return images
        margin = (images.shape[1] - 28) // 2
        middle = slice(margin, margin + 28)
        return images[:, middle, middle, 0]

    def attributes(self, images: Images) -> dict[str, Floats]:
        """Every attribute, (N,)."""
        pictures = self.pictures(images) / 255
        return {name: measure(pictures) for name, measure in self.measures.items()}

    def classes(self, images: Images) -> NDArray[np.int64]:
        """Which digit the classifier sees, -1 where it is not sure; 0 of all other pictures."""
        if self._extractor is None:
            return np.zeros(len(images), np.int64)
        probabilities = self._extractor(self.pictures(images)).probabilities
        return np.where(probabilities.max(1) >= SURE, probabilities.argmax(1), -1)
