"""The two networks, layer by layer, as the tutorial shapes them.

Attributes and variables have the canonical names (common/architecture.py), in its layout.
"""

from __future__ import annotations

import tensorflow as tf

from tensorflow_impl.layers import BatchNorm, Conv, ConvTranspose, Dense, leaky_relu

# The published loop runs G twice per iteration on the same noise, so its running statistics move
# twice towards the same batch statistics with momentum 0.1: once with 1 - (1 - 0.1)**2 = 0.19.
# This is the weight of the new value, as PyTorch counts it: Keras's 0.81.
BATCH_NORM_MOMENTUM = 1 - (1 - 0.1) ** 2
LEAKY_SLOPE = 0.01


class Discriminator(tf.Module):
    """Image (N, 28, 28, 1) in [-1, 1] -> logits (N, 1), positive: real. 1,102,721 parameters."""

    def __init__(self, dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        self.conv1 = Conv(1, 32, 5, dtype)
        self.conv2 = Conv(32, 64, 5, dtype)
        self.dense1 = Dense(1024, 1024, dtype)
        self.dense2 = Dense(1024, 1, dtype)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        # Max pooling and LeakyReLU with a positive slope commute, gradients included (the maximum
        # is at the same place), so we pool first and leave LeakyReLU a quarter of the values.
        x = self.conv1(x)  # (N, 24, 24, 32)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # (N, 12, 12, 32)
        x = leaky_relu(x, LEAKY_SLOPE)
        x = self.conv2(x)  # (N, 8, 8, 64)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # (N, 4, 4, 64)
        x = leaky_relu(x, LEAKY_SLOPE)
        x = tf.reshape(x, (-1, 4 * 4 * 64))  # (N, 1024), in (H, W, C) order; PyTorch's is (C, H, W)
        x = self.dense1(x)  # (N, 1024)
        x = leaky_relu(x, LEAKY_SLOPE)
        return self.dense2(x)  # (N, 1)


class Generator(tf.Module):
    """Noise (N, noise_size) in [-1, 1) -> image (N, 28, 28, 1) in (-1, 1).

    6,675,009 parameters and 14,720 running statistics at noise_size 96.
    """

    def __init__(self, noise_size: int = 96, dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        self.dense1 = Dense(noise_size, 1024, dtype)
        self.norm1 = BatchNorm(1024, BATCH_NORM_MOMENTUM, dtype)
        self.dense2 = Dense(1024, 7 * 7 * 128, dtype)
        self.norm2 = BatchNorm(7 * 7 * 128, BATCH_NORM_MOMENTUM, dtype)
        self.deconv1 = ConvTranspose(128, 64, dtype)
        self.norm3 = BatchNorm(64, BATCH_NORM_MOMENTUM, dtype)
        self.deconv2 = ConvTranspose(64, 1, dtype)

    def __call__(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = tf.nn.relu(self.dense1(z))  # (N, 1024)
        x = self.norm1(x, training)
        x = tf.nn.relu(self.dense2(x))  # (N, 6272)
        x = self.norm2(x, training)
        x = tf.reshape(x, (-1, 7, 7, 128))  # (N, 7, 7, 128), from (H, W, C) order
        x = tf.nn.relu(self.deconv1(x))  # (N, 14, 14, 64)
        x = self.norm3(x, training)
        return tf.nn.tanh(self.deconv2(x))  # (N, 28, 28, 1)
