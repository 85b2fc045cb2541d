"""The networks' outputs without a training step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tensorflow_impl.state import TrainState
from tensorflow_impl.step import scale_images


def generate(state: TrainState, noise: NDArray[np.float32]) -> NDArray[np.floating]:
    """Images of the generator in evaluation mode, of the averaged one where the recipe has one:
    noise (N, Z) -> (N, H, W, C) in (-1, 1).
    """
    with tf.device(state.device):
        z = tf.cast(noise, state.dtype)
        generator = state.average or state.generator
        # Running statistics: an image does not depend on its batch-mates.
        return generator(z, training=False).numpy()


def outputs(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """The forward passes alone, to be compared: D's logits (B, 1) on images (B, H, W, C) and G's
    images (B, H, W, C) of noise (B, Z), each in training mode, which moves the running statistics,
    and in evaluation mode.
    """
    with tf.device(state.device):
        real = scale_images(tf.constant(images), state.dtype)
        z = tf.cast(noise, state.dtype)
        return {
            "logits": state.discriminator(real, training=True).numpy(),
            "logits_evaluation": state.discriminator(real, training=False).numpy(),
            "images_training": state.generator(z, training=True).numpy(),
            "images_evaluation": generate(state, noise),
        }
