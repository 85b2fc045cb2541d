"""Both networks of mnist28 in numpy: what the report checks runs with and sends to the browser.

A further implementation that shares no code with the frameworks' own. Arrays are canonical
(common/architecture.py): channels-last, computed in float64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import checkpoint
from common.config import Config
from compare.parity.rungs import part

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]

EPSILON = 1e-5  # of batch norm
SLOPE = 0.01  # of D's LeakyReLU
SIDE, CHANNELS = 7, 128  # what the generator's second dense layer is reshaped to
HALF_FROM = 1_000_000  # values of an array from which on float16 is worth its rounding


def knows(settings: Config) -> bool:
    """Are these networks the ones of this file?"""
    return settings.architecture == "mnist28"


def sampler(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The generator that draws a run's samples, `dense1/kernel` ...: the averaged, if there is one.

    arrays: of a checkpoint.
    """
    return part(checkpoint.averaged(dict(arrays)), "generator/")


def generate(weights: Arrays, noise: NDArray[Any], training: bool = False) -> Floats:
    """Noise (N, Z) -> images (N, 28, 28, 1) in (-1, 1). weights: `dense1/kernel` ...

    training: batch norm with the statistics of this batch instead of the running ones.
    """
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def norm(name: str, x: Floats) -> Floats:
        axes = tuple(range(x.ndim - 1))
        mean, variance = w[f"{name}/moving_mean"], w[f"{name}/moving_variance"]
        if training:
            mean, variance = x.mean(axes), x.var(axes)
        return (x - mean) / np.sqrt(variance + EPSILON) * w[f"{name}/scale"] + w[f"{name}/offset"]

    x = np.maximum(noise.astype(np.float64) @ w["dense1/kernel"] + w["dense1/bias"], 0)
    x = np.maximum(norm("norm1", x) @ w["dense2/kernel"] + w["dense2/bias"], 0)
    x = norm("norm2", x).reshape(-1, SIDE, SIDE, CHANNELS)
    x = np.maximum(deconv(x, w["deconv1/kernel"]) + w["deconv1/bias"], 0)
    return np.tanh(deconv(norm("norm3", x), w["deconv2/kernel"]) + w["deconv2/bias"])


def deconv(x: Floats, kernel: NDArray[Any]) -> Floats:
    """Transposed convolution, stride 2, padding 1: (N, H, W, I), (4, 4, O, I) -> (N, 2H, 2W, O)."""
    n, h, w, _ = x.shape
    out = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[2]))
    for i in range(4):
        for j in range(4):
            out[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += x @ kernel[i, j].T
    return out[:, 1:-1, 1:-1]


def logits(weights: Arrays, images: Floats) -> Floats:
    """Images (N, 28, 28, 1) in [-1, 1] -> logits (N,). weights: `conv1/kernel` ..."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    x = images
    for name in ("conv1", "conv2"):
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
        x = np.tensordot(windows, w[f"{name}/kernel"], ((4, 5, 3), (0, 1, 2))) + w[f"{name}/bias"]
        x = np.maximum(x, SLOPE * x)
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
    x = x.reshape(len(x), -1) @ w["dense1/kernel"] + w["dense1/bias"]
    x = np.maximum(x, SLOPE * x)
    return (x @ w["dense2/kernel"] + w["dense2/bias"])[:, 0]


# ------------------------------------------------------------------ for the browser


def folded(weights: Arrays) -> list[dict[str, Any]]:
    """The evaluation-mode generator without its batch norms, as layers of the page's walk.js.

    Each layer is kernel and bias, then an activation, then perhaps a factor for each value. Batch
    norm is x * a + b: b goes through the next layer into its bias, which for a transposed
    convolution becomes one for each pixel; a goes into the next kernel where it is one factor a
    channel, and stays a factor after dense2, where it differs from pixel to pixel.

    dense: kernel (in, out). deconv: kernel (in, 4, 4, out), so that the browser reads it in order;
    bias (2 * side, 2 * side, out).
    """
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def affine(name: str) -> tuple[Floats, Floats]:
        a = w[f"{name}/scale"] / np.sqrt(w[f"{name}/moving_variance"] + EPSILON)
        return a, w[f"{name}/offset"] - a * w[f"{name}/moving_mean"]

    (a1, b1), (a2, b2), (a3, b3) = (affine(name) for name in ("norm1", "norm2", "norm3"))
    dense2, first, last = (w[f"{name}/kernel"] for name in ("dense2", "deconv1", "deconv2"))
    image2 = b2.reshape(1, SIDE, SIDE, CHANNELS)
    image3 = np.broadcast_to(b3, (1, 2 * SIDE, 2 * SIDE, len(b3)))

    def layer(kind: str, kernel: Floats, bias: Floats, activation: str, **more: Any) -> Any:
        return {"kind": kind, "kernel": kernel, "bias": bias, "activation": activation, **more}

    bias2 = b1 @ dense2 + w["dense2/bias"]
    bias3 = deconv(image2, first)[0] + w["deconv1/bias"]
    bias4 = deconv(image3, last)[0] + w["deconv2/bias"]
    return [
        layer("dense", w["dense1/kernel"], w["dense1/bias"], "relu"),
        layer("dense", a1[:, None] * dense2, bias2, "relu", factor=a2),
        layer("deconv", first.transpose(3, 0, 1, 2), bias3, "relu", side=SIDE),
        layer("deconv", (last * a3).transpose(3, 0, 1, 2), bias4, "tanh", side=2 * SIDE),
    ]


def script(weights: Arrays, key: str) -> str:
    """A generator as a JavaScript file, which a page opened from disk may load: no fetch there.

    The one large kernel, dense2's, as float16, everything else as float32, little-endian in
    base64: that moves images by about 0.1 grey levels. key: what the page knows the generator by.
    """

    def packed(array: NDArray[Any]) -> dict[str, Any]:
        kind = "<f2" if array.size > HALF_FROM else "<f4"
        data = base64.b64encode(array.astype(kind).tobytes()).decode()
        return {"half": kind == "<f2", "data": data}

    layers = [
        {name: packed(x) if isinstance(x, np.ndarray) else x for name, x in layer.items()}
        for layer in folded(weights)
    ]
    return f"sideBySide.receive({json.dumps(key)}, {json.dumps(layers)});\n"
