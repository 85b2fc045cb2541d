"""The two networks, layer by layer, as the tutorial shapes them.

TensorFlow's core has functions but no layers: Dense, Conv and ConvTranspose hold the variables of
tf.nn's functions. Attributes and variables have the canonical names of common/architecture.py, and
its layout. A layer computes in the dtype of its input: in a bfloat16 run the input is bfloat16, the
variables are float32.
"""

from __future__ import annotations

import tensorflow as tf

from tensorflow_impl.layers import BatchNorm, leaky_relu

# The published loop runs G twice per iteration on the same noise, so its running statistics move
# twice towards the same batch statistics with momentum 0.1: once with 1 - (1 - 0.1)**2 = 0.19.
# This is the weight of the new value, as PyTorch counts it: Keras's 0.81.
BATCH_NORM_MOMENTUM = 1 - (1 - 0.1) ** 2
LEAKY_SLOPE = 0.01


class _Layer(tf.Module):
    """kernel and bias; their values come from canonical arrays (canonical.from_canonical)."""

    def __init__(self, kernel: tuple[int, ...], outputs: int, dtype: tf.DType) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.zeros(kernel, dtype), name="kernel")
        self.bias = tf.Variable(tf.zeros(outputs, dtype), name="bias")


class Dense(_Layer):
    """(N, inputs) -> (N, outputs)."""

    def __init__(self, inputs: int, outputs: int, dtype: tf.DType) -> None:
        super().__init__((inputs, outputs), outputs, dtype)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(x @ tf.cast(self.kernel, x.dtype), tf.cast(self.bias, x.dtype))


class Conv(_Layer):
    """Convolution, stride 1, no padding: (N, H, W, inputs) -> (N, H - size + 1, ..., outputs)."""

    def __init__(self, inputs: int, outputs: int, size: int, dtype: tf.DType) -> None:
        super().__init__((size, size, inputs, outputs), outputs, dtype)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x = self.convolve(x, tf.cast(self.kernel, x.dtype))
        return tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))

    def convolve(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """kernels.py puts a faster one in its place."""
        return tf.nn.conv2d(x, kernel, strides=1, padding="VALID")


class ConvTranspose(_Layer):
    """Transposed convolution, kernel 4, stride 2: (N, H, W, inputs) -> (N, 2H, 2W, outputs).

    "SAME" is PyTorch's padding=1 here; with an odd kernel it would not be.
    """

    def __init__(self, inputs: int, outputs: int, dtype: tf.DType) -> None:
        super().__init__((4, 4, outputs, inputs), outputs, dtype)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        shape = (tf.shape(x)[0], 2 * x.shape[1], 2 * x.shape[2], kernel.shape[2])
        x = tf.nn.conv2d_transpose(x, kernel, shape, strides=2, padding="SAME")
        return tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))


class Discriminator(tf.Module):
    """Image (N, 28, 28, 1) in [-1, 1] -> logits (N, 1), positive: real. 1,102,721 parameters."""

    def __init__(self, dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        self.conv1 = Conv(1, 32, 5, dtype)
        self.conv2 = Conv(32, 64, 5, dtype)
        self.dense1 = Dense(1024, 1024, dtype)
        self.dense2 = Dense(1024, 1, dtype)

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # the same either way
        _, x = self.maps(x)  # (N, 4, 4, 64)
        x = tf.reshape(x, (-1, 4 * 4 * 64))  # (N, 1024), in (H, W, C) order; PyTorch's is (C, H, W)
        x = self.dense1(x)  # (N, 1024)
        x = leaky_relu(x, LEAKY_SLOPE)
        return self.dense2(x)  # (N, 1)

    def maps(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """What each convolution gives, pooled and activated: features.py shows them."""
        # Max pooling and LeakyReLU with a positive slope commute, gradients included (the maximum
        # is at the same place), so we pool first and leave LeakyReLU a quarter of the values.
        x = self.conv1(x)  # (N, 24, 24, 32)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # (N, 12, 12, 32)
        first = leaky_relu(x, LEAKY_SLOPE)
        x = self.conv2(first)  # (N, 8, 8, 64)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # (N, 4, 4, 64)
        return [first, leaky_relu(x, LEAKY_SLOPE)]


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
