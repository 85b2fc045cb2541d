"""What the networks have learned, to be looked at (Radford et al. 2016, sections 5 and 6).

D's convolutions with their activations are called its maps; everything here is in evaluation mode.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.architecture import FEATURE_GRID
from tensorflow_impl.state import TrainState
from tensorflow_impl.step import scale_images


def features(state: TrainState, images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """D's features (section 5.1): each of its maps max-pooled to 4x4, flattened, joined.

    images (N, H, W, C) -> (N, F), layer by layer, each in (H, W, C) order.
    """
    with tf.device(state.device):
        real = scale_images(tf.constant(images), state.dtype)
        pooled = []
        for x in state.discriminator.maps(real):
            size = x.shape[1] // FEATURE_GRID
            pooled.append(tf.reshape(tf.nn.max_pool2d(x, size, size, "VALID"), (len(images), -1)))
        return tf.concat(pooled, 1).numpy()


def guided_gradients(
    state: TrainState, images: NDArray[np.uint8], channels: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Guided backpropagation (Springenberg et al. 2015, section 3.4; the paper's figure 5): from
    the largest value of a channel of D's last map, of each image one, to the image; a gradient goes
    back through an activation where both are positive.

    images (N, H, W, C), channels (N,) -> (N, H, W, C).
    """
    with tf.device(state.device):
        real = scale_images(tf.constant(images), state.dtype)
        # The jitter of R1, for its reason: where pixels are equal, so is what a pooling compares.
        real = real + state.jitter
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(real)
            maps = state.discriminator.maps(real)
        _, height, width, filters = maps[-1].shape
        values = tf.gather(maps[-1], channels, axis=3, batch_dims=1)  # (N, 4, 4)
        largest = tf.argmax(tf.reshape(values, (len(images), -1)), 1)
        place = tf.one_hot(largest, height * width, dtype=state.dtype)
        place = tf.reshape(place, (-1, height, width, 1))
        gradient = place * tf.one_hot(channels, filters, dtype=state.dtype)[:, None, None]
        for before, after in reversed(list(zip([real, *maps], maps, strict=False))):
            guided = tf.where((after > 0) & (gradient > 0), gradient, 0)
            gradient = tape.gradient(after, before, guided)
        return gradient.numpy()


def feature_maps(
    state: TrainState, noise: NDArray[np.float32], kept: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """G's last feature maps, as its last batch norm gives them, and the images that become of them
    if each map is multiplied by `kept`, 0 or 1 (section 6.3.1).

    noise (N, Z), kept (C,) -> (N, h, w, C), (N, H, W, C) in (-1, 1).
    """
    G, name = state.average or state.generator, state.table.last_norm.name
    norm, found = getattr(G, name), []

    def keep(x: tf.Tensor, training: bool) -> tf.Tensor:
        found.append(norm(x, training))
        return found[0] * tf.constant(kept, state.dtype)

    with tf.device(state.device):
        setattr(G, name, keep)  # a module calls its layers by their names: it has no hooks
        try:
            images = G(tf.cast(noise, state.dtype), training=False)
        finally:
            setattr(G, name, norm)
    return found[0].numpy(), images.numpy()
