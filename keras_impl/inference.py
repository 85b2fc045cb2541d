"""The networks' outputs without a training step."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_impl import load_engine
from keras_impl.state import TrainState
from keras_impl.step import scale_images

engine = load_engine()


def generate(state: TrainState, noise: NDArray[np.float32]) -> NDArray[np.floating]:
    """Images of the generator in evaluation mode, of the averaged one where the recipe has one:
    noise (N, Z) -> (N, H, W, C) in (-1, 1).
    """
    generator = state.generator if state.average is None else state.average
    with keras.device(state.device), engine.no_gradients():
        z = ops.convert_to_tensor(noise.astype(state.dtype))
        # Running statistics: an image does not depend on its batch-mates.
        images = ops.cast(generator(z, training=False), state.dtype)  # (N, H, W, C)
    return ops.convert_to_numpy(images)


def outputs(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """The forward passes alone, to be compared: D's logits (B, 1) on images (B, H, W, C) and G's
    images (B, H, W, C) of noise (B, Z), each in training mode, which moves the running statistics,
    and in evaluation mode.
    """
    D = state.discriminator
    with keras.device(state.device), engine.no_gradients():
        real = scale_images(ops.convert_to_tensor(images), state.dtype)
        z = ops.convert_to_tensor(noise.astype(state.dtype))
        return {
            "logits": ops.convert_to_numpy(D(real, training=True)),
            "logits_evaluation": ops.convert_to_numpy(D(real, training=False)),
            "images_training": ops.convert_to_numpy(state.generator(z, training=True)),
            "images_evaluation": generate(state, noise),
        }
