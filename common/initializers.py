"""Initial weights as canonical arrays, distributed as PyTorch's default layers draw them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from common.architecture import Architecture
from common.batches import WEIGHTS, uniform

CONSTANTS = {"scale": 1.0, "offset": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}


def initial_parameters(architecture: Architecture, seed: int) -> dict[str, NDArray[np.float32]]:
    """Canonical name -> float32 array, for every parameter and running statistic.

    Kernels and biases are uniform in [-b, b) with b = 1 / sqrt(fan-in): what
    torch.nn.init.kaiming_uniform_(a=sqrt(5)) comes to. Each array depends on its own name and
    the seed alone, so adding a layer moves no other.
    """
    fan_in = {
        f"{network}/{layer.name}": layer.fan_in
        for network in ("discriminator", "generator")
        for layer in getattr(architecture, network)
    }
    arrays = {}
    for name, shape in architecture.parameters().items():
        layer, kind = name.rsplit("/", 1)
        if kind in CONSTANTS:
            arrays[name] = np.full(shape, CONSTANTS[kind], np.float32)
        else:
            bound = np.float32(1 / np.sqrt(fan_in[layer]))
            arrays[name] = bound * uniform(seed, WEIGHTS, name_index(name), int(np.prod(shape)))
            arrays[name] = arrays[name].reshape(shape)
    return arrays


def name_index(name: str) -> int:
    """A name as the index of a random stream: the first 8 bytes of its SHA-256, little-endian."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
