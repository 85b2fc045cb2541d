"""The networks against the table, and against the layers' definitions."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from common import architecture, batches
from common.config import Config

TABLE = architecture.get("mnist28", 96)


def test_parameter_counts(bridge: ModuleType) -> None:
    networks = bridge.networks()
    assert bridge.sizes(networks["discriminator"]) == (1_102_721, 0)
    assert bridge.sizes(networks["generator"]) == (6_675_009, 14_720)


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_every_parameter_is_in_the_table(network: str, bridge: ModuleType) -> None:
    made = bridge.networks()[network]
    wanted = {n: s for n, s in TABLE.parameters().items() if n.startswith(network)}
    assert {name: array.shape for name, array in bridge.arrays(made, network).items()} == wanted
    assert bridge.trained(made, network) == TABLE.trainable().keys() & wanted.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("noise_size", [96, 10])
def test_output_shapes_and_ranges(
    noise_size: int, count: int, dtype: str, bridge: ModuleType
) -> None:
    D, G = bridge.networks(noise_size, dtype).values()
    noise = np.random.default_rng(0).uniform(-1, 1, (count, noise_size)).astype(dtype)
    # In training mode batch norm's variance needs two.
    for training in (False, True) if count > 1 else (False,):
        images = bridge.apply(G, noise, training)
        assert (images.shape, images.dtype) == ((count, 28, 28, 1), dtype)
        assert np.abs(images).max() <= 1 if training else np.abs(images).max() < 1
        logits = bridge.apply(D, images, training)
        assert (logits.shape, logits.dtype) == ((count, 1), dtype)


def test_evaluation_mode_is_the_definition(
    backend: Any, lend_state: Callable, statistics: Callable, config: Config
) -> None:
    """The generator in numpy, from the canonical arrays alone."""
    state, arrays = lend_state(), statistics(config)
    rng = np.random.default_rng(0)
    for name in arrays:
        if name.startswith("generator/norm"):
            arrays[name] = rng.random(arrays[name].shape) + 0.5
    backend.from_canonical(state, arrays)

    def p(name: str) -> np.ndarray:
        return arrays[f"generator/{name}"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        deviation = np.sqrt(p(f"{name}/moving_variance") + 1e-5)
        y = (x - p(f"{name}/moving_mean")) / deviation
        return y * p(f"{name}/scale") + p(f"{name}/offset")

    def deconv(x: np.ndarray, name: str) -> np.ndarray:
        """Each input pixel adds its multiple of the kernel; one row and column cut at each side."""
        kernel = p(f"{name}/kernel")  # (4, 4, out, in)
        n, h, w, _ = x.shape
        y = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[2]))
        for i in range(h):
            for j in range(w):
                y[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                    "nc,uvoc->nuvo", x[:, i, j], kernel
                )
        return y[:, 1:-1, 1:-1] + p(f"{name}/bias")

    z = batches.shown_noise(0, 3, 96)
    x = z.astype(np.float64)
    x = norm(np.maximum(x @ p("dense1/kernel") + p("dense1/bias"), 0), "norm1")
    x = norm(np.maximum(x @ p("dense2/kernel") + p("dense2/bias"), 0), "norm2")
    x = norm(np.maximum(deconv(x.reshape(3, 7, 7, 128), "deconv1"), 0), "norm3")
    wanted = np.tanh(deconv(x, "deconv2"))
    found = backend.generate(state, z)
    assert np.linalg.norm(found - wanted) < 1e-13 * np.linalg.norm(wanted)
