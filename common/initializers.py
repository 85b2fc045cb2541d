"""Initial weights as canonical arrays: pure functions of seed and name."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from common import normal
from common.architecture import Architecture
from common.batches import WEIGHTS, uniform

CONSTANTS = {"scale": 1.0, "offset": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
DEVIATION = 0.02  # of dcgan's kernels, about 0, and of its batch norms' scales, about 1


def initial_parameters(architecture: Architecture, seed: int) -> dict[str, NDArray[np.float32]]:
    """Canonical name -> float32 array, for every parameter and running statistic.

    Of mnist28 kernels and biases are uniform in [-b, b) with b = 1 / sqrt(fan-in), as PyTorch's
    default layers draw them: what torch.nn.init.kaiming_uniform_(a=sqrt(5)) comes to. Of dcgan
    kernels are N(0, 0.02) (Radford et al. 2016, section 4) and batch norm's scales N(1, 0.02), as
    PyTorch's DCGAN example has it. Each array depends on its own name and the seed alone, so adding
    a layer moves no other.
    """
    fan_in = {
        f"{network}/{layer.name}": layer.fan_in
        for network in ("discriminator", "generator")
        for layer in getattr(architecture, network)
    }
    arrays = {}
    for name, shape in architecture.parameters().items():
        layer, kind = name.rsplit("/", 1)
        stream, count = (seed, WEIGHTS, name_index(name)), int(np.prod(shape))
        if architecture.name == "dcgan" and kind in ("kernel", "scale"):
            about = np.float32(CONSTANTS.get(kind, 0.0))
            array = about + np.float32(DEVIATION) * normal.normal(*stream, count)
        elif kind in CONSTANTS:
            array = np.full(count, CONSTANTS[kind], np.float32)
        else:
            array = np.float32(1 / np.sqrt(fan_in[layer])) * uniform(*stream, count)
        arrays[name] = array.reshape(shape)
    return arrays


def name_index(name: str) -> int:
    """A name as the index of a random stream: the first 8 bytes of its SHA-256, little-endian."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
