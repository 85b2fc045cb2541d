"""A run's networks in a process of an engine: what compare.paper asks. Arrays travel as .npy files.

A worker (compare/worker.py) that begins with {"package", "run", "precision"}; its tasks are
Probe's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common import architecture, checkpoint, normal
from common.architecture import STATISTICS
from common.config import Config, Precision
from compare import engines
from compare.worker import Tasks, serve

# trained: the checkpoint's. untrained: those that training began with. random: D's convolutions
# with normal kernels of variance 2 / fan-in (He et al. 2015, equation 10) and no biases.
Weights = Literal["trained", "untrained", "random"]

RANDOM = 104  # purpose of Philox's key: kernels
PIXELS = 2**19  # of the images that are computed at once, to bound the memory


class Probe:
    """A backend and one state of it."""

    def __init__(self, package: str, run: str, precision: Precision) -> None:
        saved = checkpoint.load(Path(run))
        self.config = replace(saved.config, precision=precision)
        self.backend = engines.load(package)
        self.arrays = {"trained": saved.arrays}
        self.weights: Weights = "trained"
        self.state = self.backend.make_state(self.config, self._wide(saved.arrays))

    def features(self, images: str, out: str, weights: Weights) -> None:
        """D's features of images (N, H, W, C): (N, F)."""
        self._use(weights)
        self._by_parts(lambda x: self.backend.features(self.state, x), out, images)

    def guided(self, images: str, channels: str, out: str, weights: Weights) -> None:
        """Guided gradients (N, H, W, C) of channels (N,) of D's last map, for images."""
        self._use(weights)
        self._by_parts(
            lambda x, c: self.backend.guided_gradients(self.state, x, c), out, images, channels
        )

    def generate(self, noise: str, out: str) -> None:
        """Images (N, H, W, C) in (-1, 1) of noise (N, Z)."""
        self._use("trained")
        self._by_parts(lambda z: self.backend.generate(self.state, z), out, noise)

    def maps(self, noise: str, out: str) -> None:
        """G's last maps (N, h, w, C) of noise (N, Z)."""
        self._use("trained")
        kept = np.ones(self.state.table.last_norm.output_shape[-1])
        self._by_parts(lambda z: self.backend.feature_maps(self.state, z, kept)[0], out, noise)

    def without(self, noise: str, dropped: list[int], out: str) -> None:
        """Images (N, H, W, C) in (-1, 1) of noise (N, Z), without some of G's last maps."""
        self._use("trained")
        kept = np.ones(self.state.table.last_norm.output_shape[-1])
        kept[dropped] = 0
        self._by_parts(lambda z: self.backend.feature_maps(self.state, z, kept)[1], out, noise)

    def _by_parts(self, function: Callable[..., NDArray[Any]], out: str, *files: str) -> None:
        arrays = [np.load(file) for file in files]
        size = max(1, PIXELS // self.config.image_size**2)
        parts = [
            function(*(array[i : i + size] for array in arrays))
            for i in range(0, len(arrays[0]), size)
        ]
        np.save(out, np.concatenate(parts))

    def _use(self, weights: Weights) -> None:
        """Let the networks have these weights."""
        if weights == self.weights:
            return
        if weights not in self.arrays:
            make = {"untrained": checkpoint.initial, "random": random_weights}[weights]
            self.arrays[weights] = make(self.config)
        self.backend.from_canonical(self.state, self._wide(self.arrays[weights]))
        self.weights = weights

    def _wide(self, arrays: checkpoint.Arrays) -> checkpoint.Arrays:
        """Arrays in the floats of the state."""
        floats = np.float64 if self.config.precision == "float64" else np.float32
        return {n: a.astype(floats) if a.dtype.kind == "f" else a for n, a in arrays.items()}


def random_weights(config: Config) -> checkpoint.Arrays:
    """The initial state, but with random convolutions in D."""
    arrays = checkpoint.initial(config)
    for index, layer in enumerate(architecture.of(config).discriminator):
        for kind in layer.parameters.keys() - STATISTICS:
            name = f"discriminator/{layer.name}/{kind}"
            array = arrays[name]
            if layer.operation == "conv" and kind == "kernel":
                values = normal.normal(0, RANDOM, index, array.size).reshape(array.shape)
                arrays[name] = (values * np.sqrt(2 / _fan_in(array))).astype(array.dtype)
            elif layer.operation in ("conv", "batch_norm"):
                arrays[name] = np.full_like(array, kind == "scale")
    return arrays


def _fan_in(kernel: NDArray[Any]) -> int:
    """Values that an output of a convolution is a sum of: (kh, kw, in, out)."""
    return int(np.prod(kernel.shape[:3]))


def begin(package: str, run: str, precision: Precision) -> Tasks:
    """The tasks, of the networks of a checkpoint file."""
    probe = Probe(package, run, precision)
    tasks = (probe.features, probe.guided, probe.generate, probe.maps, probe.without)
    return {task.__name__: task for task in tasks}


if __name__ == "__main__":
    serve(begin)
