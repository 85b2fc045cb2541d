"""What is only faster on a processor: the same function as the stock layer, computed another way.

oneDNN works on blocks of 16 channels; of a one-channel image's gradient it wastes 15 of them.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tensorflow_impl.networks import Conv

BLOCK = 4  # the image's gradient is computed in blocks of 4 x 4 pixels: 16 channels
FEW = 4  # channels of an image: 1, 3 or 4


def prefer_speed(network: tf.Module) -> None:
    """Let a network's layers use the functions below, on a processor; they round differently."""
    for layer in network.submodules:
        if (
            isinstance(layer, Conv)
            and layer.kernel.shape[2] <= FEW
            and "CPU" in layer.kernel.device
        ):
            layer.convolve = conv_from_image  # type: ignore[method-assign]


def conv_from_image(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d (stride 1, no padding) on an image of few channels, with a fast image gradient:
    (N, H, W, I), (k, k, I, O) -> (N, H - k + 1, W - k + 1, O)."""
    if x.shape[1] % BLOCK or x.shape[2] % BLOCK:
        return tf.nn.conv2d(x, kernel, strides=1, padding="VALID")
    return _conv_from_image(x, kernel)


@tf.custom_gradient
def _conv_from_image(x: tf.Tensor, kernel: tf.Tensor) -> Any:
    def gradients(grad: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:  # the unused one is pruned
        kernel_grad = tf.raw_ops.Conv2DBackpropFilter(
            input=x,
            filter_sizes=kernel.shape,
            out_backprop=grad,
            strides=[1, 1, 1, 1],
            padding="VALID",
        )
        return _image_gradient(grad, kernel), kernel_grad

    return tf.nn.conv2d(x, kernel, strides=1, padding="VALID"), gradients


def _image_gradient(grad: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The image's gradient of conv2d(image, kernel): grad (N, h, w, O) -> (N, H, W, I).

    It is the convolution of the padded gradient with the flipped kernel. Pixel (a, b) of a block
    sees that kernel shifted by (a, b), so all its pixels are the channels of one convolution.
    """
    size, last = kernel.shape[0], BLOCK - 1
    flipped = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))  # (k, k, O, I)
    shifted = [
        tf.pad(flipped, ((a, last - a), (b, last - b), (0, 0), (0, 0)))
        for a in range(BLOCK)
        for b in range(BLOCK)
    ]
    border = (size - 1, size - 1)
    blocks = tf.nn.conv2d(
        grad, tf.concat(shifted, -1), strides=BLOCK, padding=((0, 0), border, border, (0, 0))
    )  # (N, H / 4, W / 4, 16 * I)
    return tf.nn.depth_to_space(blocks, BLOCK)
