"""The networks of Radford et al. 2016, layer by layer, as PyTorch's DCGAN example has them.

From 4x4 pixels there is one layer per doubling. Attributes and variables have the canonical names
of common/architecture.py, and its layout; a layer computes in the dtype of its input.
"""

from __future__ import annotations

import tensorflow as tf

from tensorflow_impl.layers import BatchNorm, leaky_relu

# The weight of the new value. In the published loop, too, G runs once an iteration, and D three
# times.
BATCH_NORM_MOMENTUM = 0.1
LEAKY_SLOPE = 0.2


class Conv(tf.Module):
    """Convolution with a kernel of 4, no bias.

    "SAME" with stride 2 is PyTorch's padding=1; with an odd kernel it would not be.
    """

    def __init__(
        self, inputs: int, outputs: int, dtype: tf.DType, strides: int = 2, padding: str = "SAME"
    ) -> None:
        super().__init__()
        self.strides, self.padding = strides, padding
        self.kernel = tf.Variable(tf.zeros((4, 4, inputs, outputs), dtype), name="kernel")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        return tf.nn.conv2d(x, kernel, self.strides, self.padding)


class ConvTranspose(tf.Module):
    """Transposed convolution with a kernel of 4, no bias, to images of `size` pixels."""

    def __init__(
        self, inputs: int, outputs: int, size: int, dtype: tf.DType, strides: int = 2
    ) -> None:
        super().__init__()
        self.size, self.strides = size, strides
        self.kernel = tf.Variable(tf.zeros((4, 4, outputs, inputs), dtype), name="kernel")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        shape = (tf.shape(x)[0], self.size, self.size, kernel.shape[2])
        padding = "SAME" if self.strides == 2 else "VALID"
        return tf.nn.conv2d_transpose(x, kernel, shape, self.strides, padding)


class Discriminator(tf.Module):
    """Image (N, S, S, C) in [-1, 1] -> logits (N, 1), positive: real.

    S is 32, 64 or 128; width: filters of the layer next to the image. 2,765,568 parameters unless
    told.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        dtype: tf.DType = tf.float32,
    ) -> None:
        super().__init__()
        self.levels = image_size.bit_length() - 3  # halvings down to 4 pixels
        filters = width
        self.conv1 = Conv(channels, width, dtype)
        for number in range(2, self.levels + 1):
            setattr(self, f"conv{number}", Conv(filters, 2 * filters, dtype))
            setattr(self, f"norm{number}", BatchNorm(2 * filters, BATCH_NORM_MOMENTUM, dtype))
            filters *= 2
        last = Conv(filters, 1, dtype, strides=1, padding="VALID")
        setattr(self, f"conv{self.levels + 1}", last)

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        *_, x = self.maps(x, training)
        x = getattr(self, f"conv{self.levels + 1}")(x)  # (N, 1, 1, 1), from (N, 4, 4, filters)
        return tf.reshape(x, (-1, 1))  # (N, 1)

    def maps(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """What each convolution but the last gives, activated: features.py shows them."""
        maps = [leaky_relu(self.conv1(x), LEAKY_SLOPE)]  # (N, S/2, S/2, width)
        for number in range(2, self.levels + 1):
            x = getattr(self, f"conv{number}")(maps[-1])  # half the size, twice the filters
            x = getattr(self, f"norm{number}")(x, training)
            maps.append(leaky_relu(x, LEAKY_SLOPE))
        return maps


class Generator(tf.Module):
    """Noise (N, noise_size) in [-1, 1) -> image (N, S, S, C) in (-1, 1).

    S is 32, 64 or 128; width: filters of the layer next to the image. 3,576,704 parameters unless
    told.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        noise_size: int = 100,
        dtype: tf.DType = tf.float32,
    ) -> None:
        super().__init__()
        self.levels = image_size.bit_length() - 3  # doublings from 4 pixels
        size, filters = 4, width * image_size // 8
        self.deconv1 = ConvTranspose(noise_size, filters, size, dtype, strides=1)
        self.norm1 = BatchNorm(filters, BATCH_NORM_MOMENTUM, dtype)
        for number in range(2, self.levels + 1):
            size, filters = 2 * size, filters // 2
            setattr(self, f"deconv{number}", ConvTranspose(2 * filters, filters, size, dtype))
            setattr(self, f"norm{number}", BatchNorm(filters, BATCH_NORM_MOMENTUM, dtype))
        last = ConvTranspose(width, channels, image_size, dtype)
        setattr(self, f"deconv{self.levels + 1}", last)

    def __call__(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = z[:, tf.newaxis, tf.newaxis]  # (N, 1, 1, noise_size): an image of one pixel
        for number in range(1, self.levels + 1):
            x = getattr(self, f"deconv{number}")(x)  # 4 pixels; twice the size, half the filters
            x = getattr(self, f"norm{number}")(x, training)
            x = tf.nn.relu(x)
        return tf.nn.tanh(getattr(self, f"deconv{self.levels + 1}")(x))  # (N, S, S, C)
