"""What the networks have learned, shown: against plain numpy, layer by layer, by equal weights.

One `plain` forward pass of D keeps what each layer was given, and `guided` goes back through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common import architecture, batches
from common.checkpoint import Arrays
from common.config import Config

Floats = NDArray[np.float64]

KINDS: dict[str, dict[str, Any]] = {
    "mnist28": {},
    "dcgan": {"dataset": "drawn", "image_size": 32, "width": 8, "train_images": 64},
}
SLOPES = {"mnist28": 0.01, "dcgan": 0.2}
N = 6


@pytest.fixture(params=["mnist28", pytest.param("dcgan", marks=pytest.mark.recompiles)])
def state(request: pytest.FixtureRequest, lend_state: Callable, backend: Any) -> Any:
    """Weights that are not those of the beginning: running statistics matter."""
    state = lend_state(**({"precision": "float64", "batch_size": 16} | KINDS[request.param]))
    rng = np.random.default_rng(1)
    arrays = backend.to_canonical(state)
    for name, array in arrays.items():
        if name.endswith("moving_variance"):
            arrays[name] = rng.uniform(0.5, 2, array.shape)
        elif name.endswith(("moving_mean", "offset", "bias")):
            arrays[name] = rng.normal(0, 0.1, array.shape)
    backend.from_canonical(state, arrays)
    return state


def pictures(config: Config) -> NDArray[np.uint8]:
    """With a flat border, where poolings meet ties."""
    shape = architecture.of(config).image_shape
    images = np.random.default_rng(0).integers(0, 256, (N, *shape), dtype=np.uint8)
    images[:, :6] = 0
    return images


# ------------------------------------------------------------------ plain numpy


def windows(x: Floats, size: int, stride: int) -> Floats:
    """(N, H, W, C) -> (N, h, w, C, size, size)."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]


def plain(x: Floats, arrays: Arrays, config: Config) -> list[dict[str, Any]]:
    """D's blocks: what each was given, its convolution's output, scale of its norm, and its map."""
    blocks: list[dict[str, Any]] = []
    slope, dcgan = SLOPES[config.architecture], config.architecture == "dcgan"
    for layer in architecture.of(config).discriminator:
        if layer.operation == "conv" and layer.output_shape[0] > 1:
            kernel = arrays[f"discriminator/{layer.name}/kernel"]
            given = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) if dcgan else x
            stride = 2 if dcgan else 1
            x = np.tensordot(windows(given, len(kernel), stride), kernel, ((4, 5, 3), (0, 1, 2)))
            x = x + arrays.get(f"discriminator/{layer.name}/bias", 0)
            scale = np.ones(x.shape[-1])
            number = layer.name[-1]
            norm = {n.split("/")[-1]: a for n, a in arrays.items()
                    if n.startswith(f"discriminator/norm{number}/")}  # fmt: skip
            if norm:
                scale = norm["scale"] / np.sqrt(norm["moving_variance"] + 1e-5)
                x = (x - norm["moving_mean"]) * scale + norm["offset"]
            block = {"given": given, "kernel": kernel, "stride": stride, "scale": scale, "conv": x}
            if not dcgan:
                x = windows(x, 2, 2).max((4, 5))
            x = np.where(x > 0, x, slope * x)
            blocks.append(block | {"map": x})
    return blocks


def guided(blocks: list[dict[str, Any]], channels: NDArray[np.int64]) -> Floats:
    """Springenberg et al. 2015, section 3.4, from each image's largest value of a channel."""
    last = blocks[-1]["map"]
    gradient = np.zeros_like(last)
    for n, channel in enumerate(channels):
        place = np.unravel_index(last[n, ..., channel].argmax(), last.shape[1:3])
        gradient[(n, *place, channel)] = 1
    for block in reversed(blocks):
        gradient = np.where((block["map"] > 0) & (gradient > 0), gradient, 0)
        conv, kernel, stride = block["conv"], block["kernel"], block["stride"]
        if conv.shape != gradient.shape:  # to the largest of each 2x2
            views = windows(conv, 2, 2)
            largest = views == views.max((4, 5), keepdims=True)
            unpooled = gradient[..., None, None] * largest
            gradient = unpooled.transpose(0, 1, 4, 2, 5, 3).reshape(conv.shape)
        gradient = gradient * block["scale"]
        back = np.zeros_like(block["given"])
        _, height, width, _ = gradient.shape
        for i in range(len(kernel)):
            for j in range(len(kernel)):
                rows = slice(i, i + stride * height, stride)
                columns = slice(j, j + stride * width, stride)
                back[:, rows, columns] += gradient @ kernel[i, j].T
        gradient = back[:, 1:-1, 1:-1] if stride == 2 else back
    return gradient


# ------------------------------------------------------------------ the tests


def test_features_are_every_map_pooled_to_4x4(
    backend: Any, state: Any, assert_close: Callable
) -> None:
    images = pictures(state.config)
    found = backend.features(state, images)
    assert found.shape == (N, architecture.of(state.config).features)
    parts = []
    for block in plain(images / 127.5 - 1, backend.to_canonical(state), state.config):
        size = block["map"].shape[1] // 4
        parts.append(windows(block["map"], size, size).max((4, 5)).reshape(N, -1))
    assert_close({"features": found}, {"features": np.concatenate(parts, 1)}, 1e-12)


def test_features_do_not_depend_on_others_and_change_nothing(backend: Any, state: Any) -> None:
    images, before = pictures(state.config), backend.to_canonical(state)
    whole, alone = backend.features(state, images), backend.features(state, images[:1])
    np.testing.assert_allclose(whole[:1], alone, rtol=0, atol=1e-12)
    backend.guided_gradients(state, images, np.arange(N))
    after = backend.to_canonical(state)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, name)
    # and training goes on by batch statistics
    noise = batches.noise(0, 0, N, state.config.noise_size)
    outputs = backend.outputs(state, images, noise)
    if state.config.architecture == "dcgan":
        assert np.abs(outputs["logits"] - outputs["logits_evaluation"]).max() > 1e-6
    assert np.abs(outputs["images_training"] - outputs["images_evaluation"]).max() > 1e-6


def test_guided_gradients_are_those_of_the_paper(
    backend: Any, state: Any, assert_close: Callable
) -> None:
    images, config = pictures(state.config), state.config
    jitter = batches.jitter(config.seed, architecture.of(config).image_shape)
    blocks = plain(images / 127.5 - 1 + jitter, backend.to_canonical(state), config)
    channels = np.array([0, 1, 2, 3, 4, 0])
    wanted = guided(blocks, channels)
    # of a map that answers nowhere it is 0
    assert (np.abs(wanted).max((1, 2, 3)) > 0).sum() >= N - 1
    found = backend.guided_gradients(state, images, channels)
    assert_close({"gradients": found}, {"gradients": wanted}, 1e-11)


def test_a_dropped_map_is_one_that_the_last_layer_does_not_see(
    backend: Any, state: Any, assert_close: Callable
) -> None:
    """The same as a kernel of zeros for it; with all maps kept, the generator's images."""
    table = architecture.of(state.config)
    channels = table.last_norm.output_shape[-1]
    noise = batches.noise(0, 0, N, state.config.noise_size)
    kept = np.ones(channels)
    maps, images = backend.feature_maps(state, noise, kept)
    assert maps.shape == (N, *table.last_norm.output_shape)
    assert_close({"images": images}, {"images": backend.generate(state, noise)}, 1e-14)
    kept[[1, channels - 2]] = 0
    again, without = backend.feature_maps(state, noise, kept)
    assert_close({"maps": again}, {"maps": maps}, 1e-14)
    arrays = backend.to_canonical(state)
    arrays[f"generator/{table.generator[-1].name}/kernel"][..., kept == 0] = 0
    backend.from_canonical(state, arrays)
    wanted = backend.generate(state, noise)
    assert np.abs(wanted - images).max() > 1e-3
    assert_close({"images": without}, {"images": wanted}, 1e-14)
