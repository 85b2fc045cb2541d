"""The layers of mnist28.py and dcgan.py in numpy, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]

EPSILON = 1e-5  # of batch norm


def doubles(weights: Arrays) -> dict[str, Floats]:
    """The same arrays in float64."""
    return {name: array.astype(np.float64) for name, array in weights.items()}


def norm(w: Mapping[str, Floats], name: str, x: Floats, training: bool) -> Floats:
    """Batch norm of x (..., C), in training with the statistics of this batch."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = w[f"{name}/moving_mean"], w[f"{name}/moving_variance"]
    if training:
        mean, variance = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(variance + EPSILON) * w[f"{name}/scale"] + w[f"{name}/offset"]


def affine(w: Mapping[str, Floats], name: str) -> tuple[Floats, Floats]:
    """Batch norm in evaluation as x * a + b: a, b (C,)."""
    a = w[f"{name}/scale"] / np.sqrt(w[f"{name}/moving_variance"] + EPSILON)
    return a, w[f"{name}/offset"] - a * w[f"{name}/moving_mean"]


def conv(x: Floats, kernel: Floats) -> Floats:
    """Convolution, stride 2, padding 1: (N, H, W, I), (4, 4, I, O) -> (N, H/2, W/2, O)."""
    n, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((n, h // 2, w // 2, kernel.shape[3]))
    for i in range(4):
        for j in range(4):
            out += padded[:, i : i + h : 2, j : j + w : 2] @ kernel[i, j]
    return out


def deconv(x: Floats, kernel: NDArray[Any]) -> Floats:
    """Transposed convolution, stride 2, padding 1: (N, H, W, I), (4, 4, O, I) -> (N, 2H, 2W, O)."""
    n, h, w, _ = x.shape
    out = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[2]))
    for i in range(4):
        for j in range(4):
            out[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += x @ kernel[i, j].T
    return out[:, 1:-1, 1:-1]
