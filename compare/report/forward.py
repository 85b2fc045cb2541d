"""Both networks in numpy: what the report checks runs with and sends to the browser.

A further implementation that shares no code with the frameworks' own: mnist28.py and dcgan.py.
Arrays are canonical (common/architecture.py): channels-last, computed in float64.
"""

from __future__ import annotations

import base64
import json
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import checkpoint
from compare.parity.rungs import part
from compare.report import dcgan, mnist28
from compare.report.layers import Arrays, Floats

HALF_FROM = 1_000_000  # values of an array from which on float16 is worth its rounding
LARGEST = 8_000_000  # weights of a generator that a page can draw with while a reader drags a point


def sampler(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The generator that draws a run's samples, `dense1/kernel` ...: the averaged, if there is one.

    arrays: of a checkpoint.
    """
    return part(checkpoint.averaged(dict(arrays)), "generator/")


def generate(weights: Arrays, noise: NDArray[Any], training: bool = False) -> Floats:
    """Noise (N, Z) -> images (N, H, W, C) in (-1, 1). weights: of sampler().

    training: batch norm with the statistics of this batch instead of the running ones.
    """
    return _networks(weights).generate(weights, noise, training)


def logits(weights: Arrays, images: Floats) -> Floats:
    """Images (N, H, W, C) in [-1, 1] -> logits (N,), in training mode. weights: `conv1/kernel`."""
    return _networks(weights).logits(weights, images)


def _networks(weights: Arrays) -> ModuleType:
    """Whose weights these are: dcgan has no dense layer."""
    return mnist28 if "dense1/kernel" in weights else dcgan


def is_too_large(weights: Arrays) -> bool:
    """Would the page draw too slowly with this generator?"""
    return sum(array.size for array in weights.values()) > LARGEST


def script(weights: Arrays, key: str) -> str:
    """A generator as a JavaScript file, which a page opened from disk may load: no fetch there.

    The large kernels as float16, everything else as float32, little-endian in base64: that moves
    images by about 0.1 grey levels. key: what the page knows the generator by.
    """

    def packed(array: NDArray[Any]) -> dict[str, Any]:
        kind = "<f2" if array.size >= HALF_FROM else "<f4"
        data = base64.b64encode(array.astype(kind).tobytes()).decode()
        return {"half": kind == "<f2", "data": data}

    layers = [
        {name: packed(x) if isinstance(x, np.ndarray) else x for name, x in layer.items()}
        for layer in _networks(weights).folded(weights)
    ]
    return f"sideBySide.receive({json.dumps(key)}, {json.dumps(layers)});\n"
