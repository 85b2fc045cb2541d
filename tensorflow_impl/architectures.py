"""Which classes are the networks of an architecture, and with which numbers."""

from __future__ import annotations

import tensorflow as tf

from common.architecture import Architecture
from tensorflow_impl import dcgan, networks
from tensorflow_impl.layers import BatchNorm


def make_discriminator(table: Architecture, dtype: tf.DType = tf.float32) -> tf.Module:
    """The discriminator of common/architecture.py's table."""
    if table.width is None:
        return networks.Discriminator(dtype)
    size, _, channels = table.image_shape
    return dcgan.Discriminator(size, channels, table.width, dtype)


def make_generator(table: Architecture, dtype: tf.DType = tf.float32) -> tf.Module:
    """The generator of common/architecture.py's table."""
    if table.width is None:
        return networks.Generator(table.noise_size, dtype)
    size, _, channels = table.image_shape
    return dcgan.Generator(size, channels, table.width, table.noise_size, dtype)


def has_batch_norm(network: tf.Module) -> bool:
    """Does what the network makes of an image depend on the others of its batch?"""
    return any(isinstance(layer, BatchNorm) for layer in network.submodules)
