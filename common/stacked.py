"""Stacked MNIST: three digits as the three channels of an image, so that there are 1,000 modes.

The benchmark of lost modes (Metz et al. 2017, section 3.3.1). The digits are drawn, so the data set
is one for everybody: no seed of a run moves it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import STACKED, words

MARGIN = 2  # pixels around a digit of 28: images of 32
TRAINING, HELD_OUT = 0, 1  # streams of draws


class StackedDigits:
    """Images (count, 32, 32, 3), put together where they are asked for."""

    def __init__(self, digits: NDArray[np.uint8], count: int, stream: int = TRAINING) -> None:
        """digits: (M, 28, 28, 1) uint8, of which each image has three."""
        self.digits = digits
        drawn = words(0, STACKED, stream, 3 * count)
        self.drawn = (drawn % np.uint64(len(digits))).astype(np.int32).reshape(count, 3)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        _, height, width, _ = self.digits.shape
        return len(self.drawn), height + 2 * MARGIN, width + 2 * MARGIN, 3

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.digits.dtype

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n,) int64 -> (n, 32, 32, 3) uint8."""
        channels = self.digits[self.drawn[indices], ..., 0]  # (n, 3, 28, 28)
        return pad(channels.transpose(0, 2, 3, 1))

    def modes(self, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The mode of each image, 0 to 999, read as a number: (count,). labels: (M,), 0 to 9."""
        return labels[self.drawn].astype(np.int64) @ np.array([100, 10, 1])


def pad(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 28, 28, C) -> (N, 32, 32, C), black around."""
    return np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
