"""Which functions make the networks of an architecture, and with which numbers."""

from __future__ import annotations

from typing import Any

import keras

from common.architecture import Architecture
from keras_impl import dcgan, networks


def make_discriminator(table: Architecture, dtype: Any = None) -> keras.Sequential:
    """The discriminator of common/architecture.py's table. dtype: Keras's policy."""
    if table.width is None:
        return networks.Discriminator(dtype)
    size, _, channels = table.image_shape
    return dcgan.Discriminator(size, channels, table.width, dtype)


def make_generator(table: Architecture, dtype: Any = None) -> keras.Sequential:
    """The generator of common/architecture.py's table. dtype: Keras's policy."""
    if table.width is None:
        return networks.Generator(table.noise_size, dtype)
    size, _, channels = table.image_shape
    return dcgan.Generator(size, channels, table.width, table.noise_size, dtype)


def has_batch_norm(network: keras.layers.Layer) -> bool:
    """Does what the network makes of an image depend on the others of its batch?"""
    layers = getattr(network, "layers", ())
    return any(
        isinstance(layer, keras.layers.BatchNormalization) or has_batch_norm(layer)
        for layer in layers
    )
