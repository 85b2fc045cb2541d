"""The networks of Radford et al. 2016, layer by layer, as PyTorch's DCGAN example has them.

From 4x4 pixels there is one layer per doubling. Layers are named as in common/architecture.py.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import Input
from keras.layers import Activation, Conv2D, Conv2DTranspose, Flatten, ReLU, Reshape

from keras_impl.layers import BatchNormalization, LeakyReLU

# Keras's momentum is the weight of the old value: PyTorch's, 0.1, is that of the new one. In the
# published loop, too, G runs once an iteration, and D three times.
BATCH_NORM_MOMENTUM = 0.9
LEAKY_SLOPE = 0.2


def Discriminator(
    image_size: int = 64, channels: int = 3, width: int = 64, dtype: Any = None
) -> keras.Sequential:
    """Image (N, S, S, C) in [-1, 1] -> logits (N, 1), positive: real.

    S is 32, 64 or 128; width: filters of the layer next to the image. 2,765,568 parameters unless
    told. dtype: Keras's policy, `mixed_bfloat16` say; None means the global one.
    """
    half, norm = _convolution(dtype), _norm(dtype)
    layers = [
        Input((image_size, image_size, channels)),
        Conv2D(width, strides=2, padding="same", name="conv1", **half),  # (N, S/2, S/2, width)
        LeakyReLU(LEAKY_SLOPE, dtype=dtype),
    ]
    size, filters, number = image_size // 2, width, 1
    while size > 4:
        size, filters, number = size // 2, 2 * filters, number + 1
        layers += [
            # Kernel 4, stride 2: "same" is PyTorch's padding 1.
            Conv2D(filters, strides=2, padding="same", name=f"conv{number}", **half),
            BatchNormalization(name=f"norm{number}", **norm),
            LeakyReLU(LEAKY_SLOPE, dtype=dtype),
        ]  # (N, size, size, filters)
    layers += [
        Conv2D(1, name=f"conv{number + 1}", **half),  # (N, 1, 1, 1), from (N, 4, 4, filters)
        Flatten(name="flatten", data_format="channels_last", dtype=dtype),  # (N, 1)
    ]
    return keras.Sequential(layers, name="discriminator")


def Generator(
    image_size: int = 64,
    channels: int = 3,
    width: int = 64,
    noise_size: int = 100,
    dtype: Any = None,
) -> keras.Sequential:
    """Noise (N, noise_size) in [-1, 1) -> image (N, S, S, C) in (-1, 1).

    S is 32, 64 or 128; width: filters of the layer next to the image. 3,576,704 parameters unless
    told. dtype: Keras's policy.
    """
    double, norm = _convolution(dtype), _norm(dtype)
    filters, number = width * image_size // 8, 1
    layers = [
        Input((noise_size,)),
        Reshape((1, 1, noise_size), dtype=dtype),  # an image of one pixel
        Conv2DTranspose(filters, name="deconv1", **double),  # (N, 4, 4, filters)
        BatchNormalization(name="norm1", **norm),
        ReLU(dtype=dtype),
    ]
    while filters > width:
        filters, number = filters // 2, number + 1
        layers += [
            Conv2DTranspose(filters, strides=2, padding="same", name=f"deconv{number}", **double),
            BatchNormalization(name=f"norm{number}", **norm),
            ReLU(dtype=dtype),
        ]  # (N, 2 ** (number + 1), ..., filters)
    layers += [
        Conv2DTranspose(channels, strides=2, padding="same", name=f"deconv{number + 1}", **double),
        Activation("tanh", dtype=dtype),
    ]  # (N, S, S, C)
    return keras.Sequential(layers, name="generator")


def _convolution(dtype: Any) -> dict[str, Any]:
    """What all convolutions share. Training overwrites these weights with those of
    common/initializers.py."""
    return {
        "kernel_size": 4,
        "use_bias": False,
        "kernel_initializer": keras.initializers.RandomNormal(0.0, 0.02),
        "data_format": "channels_last",  # whatever keras.json says
        "dtype": dtype,
    }


def _norm(dtype: Any) -> dict[str, Any]:
    """What all batch norms share."""
    return {
        "momentum": BATCH_NORM_MOMENTUM,
        "epsilon": 1e-5,
        "gamma_initializer": keras.initializers.RandomNormal(1.0, 0.02),
        "dtype": dtype,
    }
