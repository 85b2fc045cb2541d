"""The two networks, layer by layer, named as in common/architecture.py."""

from __future__ import annotations

from typing import Any

import keras
from keras import Input
from keras.layers import Conv2D, Conv2DTranspose, Dense, Flatten, MaxPooling2D, Reshape

from keras_impl.layers import BatchNormalization, LeakyReLU

# The published loop runs G twice per iteration on the same noise, so its running statistics move
# twice towards the same batch statistics with weight 0.1: once with 1 - (1 - 0.1)**2 = 0.19.
# Keras's momentum is the weight of the old value, 0.81: PyTorch's is that of the new one, 0.19.
BATCH_NORM_MOMENTUM = (1 - 0.1) ** 2
LEAKY_SLOPE = 0.01


def Discriminator(dtype: Any = None) -> keras.Sequential:
    """Image (N, 28, 28, 1) in [-1, 1] -> logits (N, 1): positive means real. 1,102,721 parameters.

    dtype: Keras's policy, `mixed_bfloat16` say; None means the global one.
    """
    last = {"data_format": "channels_last", "dtype": dtype}  # whatever keras.json says
    # Max pooling and LeakyReLU with a positive slope commute, gradients included (the maximum is
    # at the same place), so we pool first and leave LeakyReLU a quarter of the values.
    return keras.Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(32, 5, name="conv1", **last, **_uniform(25)),  # (N, 24, 24, 32)
            MaxPooling2D(2, name="pool1", **last),  # (N, 12, 12, 32)
            LeakyReLU(LEAKY_SLOPE, dtype=dtype),
            Conv2D(64, 5, name="conv2", **last, **_uniform(25 * 32)),  # (N, 8, 8, 64)
            MaxPooling2D(2, name="pool2", **last),  # (N, 4, 4, 64)
            LeakyReLU(LEAKY_SLOPE, dtype=dtype),
            Flatten(name="flatten", **last),  # (N, 1024), in (H, W, C) order; PyTorch's: (C, H, W)
            Dense(1024, name="dense1", dtype=dtype, **_uniform(1024)),  # (N, 1024)
            LeakyReLU(LEAKY_SLOPE, dtype=dtype),
            Dense(1, name="dense2", dtype=dtype, **_uniform(1024)),  # (N, 1)
        ],
        name="discriminator",
    )


def Generator(noise_size: int = 96, dtype: Any = None) -> keras.Sequential:
    """Noise (N, noise_size) in [-1, 1) -> image (N, 28, 28, 1) in (-1, 1).

    6,675,009 parameters and 14,720 running statistics at noise_size 96. dtype: Keras's policy.
    """
    norm = {"momentum": BATCH_NORM_MOMENTUM, "epsilon": 1e-5, "dtype": dtype}
    # Kernel 4, stride 2: "same" is PyTorch's padding 1.
    double = {"strides": 2, "padding": "same", "data_format": "channels_last", "dtype": dtype}
    # The fan-in that PyTorch takes for a transposed convolution is that of its output channels.
    return keras.Sequential(
        [
            Input((noise_size,)),
            Dense(1024, "relu", name="dense1", dtype=dtype, **_uniform(noise_size)),  # (N, 1024)
            BatchNormalization(name="norm1", **norm),
            Dense(7 * 7 * 128, "relu", name="dense2", dtype=dtype, **_uniform(1024)),  # (N, 6272)
            BatchNormalization(name="norm2", **norm),
            Reshape((7, 7, 128), name="reshape", dtype=dtype),  # in (H, W, C) order
            Conv2DTranspose(
                64, 4, activation="relu", name="deconv1", **double, **_uniform(16 * 64)
            ),
            BatchNormalization(name="norm3", **norm),  # (N, 14, 14, 64)
            Conv2DTranspose(1, 4, activation="tanh", name="deconv2", **double, **_uniform(16)),
        ],  # (N, 28, 28, 1)
        name="generator",
    )


def _uniform(fan_in: int) -> dict[str, keras.Initializer]:
    """The distribution of PyTorch's default layers: kernel and bias in [-b, b), b = fan_in**-0.5.

    Training overwrites these weights with those of common/initializers.py.
    """
    bound = fan_in**-0.5
    names = ("kernel_initializer", "bias_initializer")
    return {name: keras.initializers.RandomUniform(-bound, bound) for name in names}
