"""Both networks of mnist28 in numpy, see forward.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.report.layers import Arrays, Floats, affine, deconv, doubles, norm

SLOPE = 0.01  # of D's LeakyReLU
SIDE, CHANNELS = 7, 128  # what the generator's second dense layer is reshaped to


def generate(weights: Arrays, noise: NDArray[Any], training: bool = False) -> Floats:
    """Noise (N, Z) -> images (N, 28, 28, 1) in (-1, 1). weights: `dense1/kernel` ...

    training: batch norm with the statistics of this batch instead of the running ones.
    """
    w = doubles(weights)
    x = np.maximum(noise.astype(np.float64) @ w["dense1/kernel"] + w["dense1/bias"], 0)
    x = np.maximum(norm(w, "norm1", x, training) @ w["dense2/kernel"] + w["dense2/bias"], 0)
    x = norm(w, "norm2", x, training).reshape(-1, SIDE, SIDE, CHANNELS)
    x = np.maximum(deconv(x, w["deconv1/kernel"]) + w["deconv1/bias"], 0)
    x = norm(w, "norm3", x, training)
    return np.tanh(deconv(x, w["deconv2/kernel"]) + w["deconv2/bias"])


def logits(weights: Arrays, images: Floats) -> Floats:
    """Images (N, 28, 28, 1) in [-1, 1] -> logits (N,). weights: `conv1/kernel` ..."""
    w = doubles(weights)
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


def folded(weights: Arrays) -> list[dict[str, Any]]:
    """The evaluation-mode generator without its batch norms, as layers of the page's walk.js.

    Each layer is kernel and bias, then an activation, then perhaps a factor for each value. Batch
    norm is x * a + b: b goes through the next layer into its bias, which for a transposed
    convolution becomes one for each pixel; a goes into the next kernel where it is one factor a
    channel, and stays a factor after dense2, where it differs from pixel to pixel.

    dense: kernel (in, out). deconv: kernel (in, 4, 4, out), so that the browser reads it in order;
    bias (2 * side, 2 * side, out).
    """
    w = doubles(weights)
    (a1, b1), (a2, b2), (a3, b3) = (affine(w, name) for name in ("norm1", "norm2", "norm3"))
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
