"""What the networks have learned, to be looked at (Radford et al. 2016, sections 5 and 6).

D's convolutions with their activations are called its maps; everything here is in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.layers import BatchNormalization, Conv2D, LeakyReLU, MaxPooling2D
from numpy.typing import NDArray

from common.architecture import FEATURE_GRID
from keras_impl import load_engine
from keras_impl.state import TrainState
from keras_impl.step import scale_images

engine = load_engine()

Tensor = Any  # the engine's own


def features(state: TrainState, images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """D's features (section 5.1): each of its maps max-pooled to 4x4, flattened, joined.

    images (N, H, W, C) -> (N, F), layer by layer, each in (H, W, C) order.
    """
    with keras.device(state.device), engine.no_gradients():
        x, pooled = scale_images(ops.convert_to_tensor(images), state.dtype), []
        for block in _blocks(state.discriminator):
            x = _through(block, x)
            size = x.shape[1] // FEATURE_GRID
            small = ops.max_pool(x, size, size, data_format="channels_last")
            pooled.append(ops.reshape(small, (len(images), -1)))
        return ops.convert_to_numpy(ops.concatenate(pooled, 1))


def guided_gradients(
    state: TrainState, images: NDArray[np.uint8], channels: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Guided backpropagation (Springenberg et al. 2015, section 3.4; the paper's figure 5): from
    the largest value of a channel of D's last map, of each image one, to the image; a gradient goes
    back through an activation where both are positive.

    images (N, H, W, C), channels (N,) -> (N, H, W, C).
    """
    D, blocks = state.discriminator, _blocks(state.discriminator)
    with keras.device(state.device):
        real = scale_images(ops.convert_to_tensor(images), state.dtype)
        # The jitter of R1, for its reason: where pixels are equal, so is what a pooling compares.
        maps = [real + state.jitter]
        with engine.no_gradients():
            for block in blocks:
                maps.append(_through(block, maps[-1]))
        values = ops.convert_to_numpy(maps[-1])  # (N, 4, 4, C)
        place = np.zeros_like(values)
        for n, channel in enumerate(channels):
            row, column = np.unravel_index(values[n, ..., channel].argmax(), values.shape[1:3])
            place[n, row, column, channel] = 1
        gradient = ops.convert_to_tensor(place)
        for block, before, after in reversed(list(zip(blocks, maps, maps[1:], strict=False))):
            guided = ops.where((after > 0) & (gradient > 0), gradient, ops.zeros_like(gradient))
            _, gradient = engine.input_gradient(D, _product(block, guided), before)
        return ops.convert_to_numpy(gradient)


def feature_maps(
    state: TrainState, noise: NDArray[np.float32], kept: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """G's last feature maps, as its last batch norm gives them, and the images that become of them
    if each map is multiplied by `kept`, 0 or 1 (section 6.3.1).

    noise (N, Z), kept (C,) -> (N, h, w, C), (N, H, W, C) in (-1, 1).
    """
    G, last = state.generator if state.average is None else state.average, state.table.last_norm
    with keras.device(state.device), engine.no_gradients():
        x = ops.convert_to_tensor(noise.astype(state.dtype))
        for layer in G.layers:
            x = layer(x, training=False)
            if layer.name == last.name:
                maps = x
                x = x * ops.convert_to_tensor(kept.astype(state.dtype))
        return ops.convert_to_numpy(maps), ops.convert_to_numpy(x)


def _blocks(D: keras.Sequential) -> list[list[Any]]:
    """The layers from an image to D's first map, and from each of its maps to the next."""
    blocks: list[list[Any]] = [[]]
    for layer in D.layers:
        if not isinstance(layer, Conv2D | BatchNormalization | MaxPooling2D | LeakyReLU):
            break
        blocks[-1].append(layer)
        if isinstance(layer, LeakyReLU):
            blocks.append([])
    return blocks[:-1]  # what is after dcgan's last convolution is not activated


def _through(layers: Sequence[Any], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x, training=False)
    return x


def _product(layers: Sequence[Any], gradient: Tensor) -> Callable[[Tensor], Tensor]:
    """The function whose gradient of x is `gradient`, taken back through layers."""
    return lambda x: ops.sum(_through(layers, x) * gradient)
