"""What is only faster: functions of layers and optimizer, by kernels that the engine chooses.

The objects stay what networks.py and layers.py say, and are saved as that; engine_*.py has the
kernels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops
from keras.layers import Conv2D, Conv2DTranspose, Dense, MaxPooling2D

from keras_impl import load_engine
from keras_impl.layers import Adam, LeakyReLU

engine = load_engine()

Tensor = Any  # the engine's own


def prefer_speed(network: keras.Model) -> None:
    """Let a network's layers use the functions below where they apply; they round differently."""
    for layer in network.layers:
        channels_last = getattr(layer, "data_format", None) == "channels_last"
        if isinstance(layer, Conv2D) and channels_last and _is_plain(layer):
            layer.convolution_op = conv
        elif isinstance(layer, Conv2DTranspose) and channels_last and _doubles(layer):
            layer.call = partial(conv_transpose, layer)
        elif isinstance(layer, MaxPooling2D) and channels_last and _fits(layer):
            layer.call = partial(max_pool, layer)
        elif isinstance(layer, Dense) and engine.dense is not None:
            layer.call = partial(dense, layer)
        elif isinstance(layer, LeakyReLU) and engine.leaky_relu is not None:
            layer.call = partial(leaky_relu, layer)  # type: ignore[method-assign]


def prefer_fused(optimizer: Adam) -> None:
    """Let an optimizer update a variable in one kernel, where the engine has one."""
    if engine.fused_adam is not None:
        optimizer.update_step = partial(update_step, optimizer)  # type: ignore[method-assign]


def _is_plain(layer: Conv2D) -> bool:
    """Stride 1, no padding, one group?"""
    plain = layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1
    return plain and layer.padding == "valid"


def _doubles(layer: Conv2DTranspose) -> bool:
    """Kernel 4, stride 2, padding "same"?"""
    doubles = layer.kernel_size == (4, 4) and layer.strides == (2, 2)
    return doubles and layer.padding == "same"


def _fits(layer: MaxPooling2D) -> bool:
    """Do its windows share nothing and cover the image?"""
    sides = zip(layer.input.shape[1:3], layer.pool_size, strict=True)
    return layer.strides == layer.pool_size and all(side % size == 0 for side, size in sides)


def conv(inputs: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (kh, kw, C, O) -> (N, H - kh + 1, W - kw + 1, O)."""
    return engine.conv(inputs, ops.convert_to_tensor(kernel))


def dense(layer: Dense, inputs: Tensor, training: bool | None = None) -> Tensor:
    """(N, I) -> (N, O)."""
    outputs = engine.dense(inputs, ops.convert_to_tensor(layer.kernel))
    return layer.activation(outputs + layer.bias if layer.use_bias else outputs)


def conv_transpose(layer: Conv2DTranspose, inputs: Tensor) -> Tensor:
    """(N, H, W, C) -> (N, 2H, 2W, O)."""
    kernel = ops.convert_to_tensor(layer.kernel)  # in bfloat16 under a mixed policy
    outputs = engine.conv_transpose(inputs, kernel)
    return layer.activation(outputs + layer.bias if layer.use_bias else outputs)


def max_pool(layer: MaxPooling2D, inputs: Tensor) -> Tensor:
    """(N, H, W, C) -> (N, H / size, W / size, C)."""
    return engine.max_pool(inputs, layer.pool_size)


def leaky_relu(layer: LeakyReLU, inputs: Tensor) -> Tensor:
    """Values of any shape -> the same."""
    return engine.leaky_relu(inputs, layer.negative_slope)


def update_step(optimizer: Adam, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
    """Adam.update_step in one kernel."""
    t = ops.cast(optimizer.iterations + 1, keras.backend.standardize_dtype(variable.dtype))
    m, v = optimizer.moments(variable)
    settings = (learning_rate, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, t)
    engine.fused_adam(variable, m, v, gradient, *settings)
