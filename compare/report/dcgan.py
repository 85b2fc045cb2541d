"""Both networks of dcgan in numpy, see forward.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.report.layers import Arrays, Floats, affine, conv, deconv, doubles, norm

SLOPE = 0.2  # of D's LeakyReLU


def generate(weights: Arrays, noise: NDArray[Any], training: bool = False) -> Floats:
    """Noise (N, Z) -> images (N, S, S, C) in (-1, 1). weights: `deconv1/kernel` ...

    training: batch norm with the statistics of this batch instead of the running ones.
    """
    w = doubles(weights)
    x = np.tensordot(noise.astype(np.float64), w["deconv1/kernel"], (1, 3))  # (N, 4, 4, F)
    for number in range(1, _last(w, "deconv")):
        x = np.maximum(norm(w, f"norm{number}", x, training), 0)
        x = deconv(x, w[f"deconv{number + 1}/kernel"])
    return np.tanh(x)


def logits(weights: Arrays, images: Floats) -> Floats:
    """Images (N, S, S, C) in [-1, 1] -> logits (N,), in training mode. weights: `conv1/kernel`."""
    w = doubles(weights)
    last = _last(w, "conv")
    x = conv(images, w["conv1/kernel"])
    x = np.maximum(x, SLOPE * x)
    for number in range(2, last):
        x = norm(w, f"norm{number}", conv(x, w[f"conv{number}/kernel"]), training=True)
        x = np.maximum(x, SLOPE * x)
    return np.tensordot(x, w[f"conv{last}/kernel"], 3)[:, 0]  # the kernel is as large as the image


def _last(w: Arrays, layer: str) -> int:
    """The number of the last convolution, `conv` or `deconv`."""
    return sum(name.startswith(layer) for name in w)


def folded(weights: Arrays) -> list[dict[str, Any]]:
    """The evaluation-mode generator without its batch norms, as mnist28.folded() has it: each is a
    factor in the kernel before it, and a bias. The first layer, which sees one pixel, is dense."""
    w = doubles(weights)
    layers: list[dict[str, Any]] = []
    side, last = 4, _last(w, "deconv")
    for number in range(1, last + 1):
        kernel = w[f"deconv{number}/kernel"].transpose(3, 0, 1, 2)  # (in, 4, 4, out)
        if number < last:
            factor, bias = affine(w, f"norm{number}")
        else:
            factor, bias = np.ones(kernel.shape[-1]), np.zeros(kernel.shape[-1])
        layers.append({
            "kind": "dense" if number == 1 else "deconv",
            "side": side // 2,  # of the layer's input
            "kernel": kernel * factor,
            "bias": np.broadcast_to(bias, (side, side, len(bias))),
            "activation": "relu" if number < last else "tanh",
        })  # fmt: skip
        side *= 2
    return layers
