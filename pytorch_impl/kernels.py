"""What is only faster on a processor: the same functions as the stock layers, computed another way.

PyTorch's CPU convolutions work on blocks of 16 channels, so a convolution from or to a one-channel
image leaves most of each block empty; its float32 dense layers go through MKL, which is slower
than oneDNN on AMD processors. A network's layers stay what networks.py says, with their parameters;
only what their forward() calls is another function, which rounds differently in the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 4  # the image's gradient is computed in blocks of 4 x 4 pixels: 16 channels
FEW = 4  # channels of an image: 1, 3 or 4


def prefer_speed(network: nn.Module) -> None:
    """Let a network's layers use channels-last memory and, on a processor, the functions below.

    Without it a network gives, bit for bit, what stock layers with its weights give.
    """
    network.to(memory_format=torch.channels_last)
    for layer in network.modules():
        faster = _faster(layer)
        if faster is not None and next(layer.parameters()).device.type == "cpu":
            layer.forward = partial(faster, layer)  # type: ignore[assignment]


def _faster(layer: nn.Module) -> Callable[..., Tensor] | None:
    """The function that takes a layer and its input, if there is one for such a layer."""
    if isinstance(layer, nn.Linear) and layer.out_features > 1:
        return linear
    if isinstance(layer, nn.Conv2d) and layer.in_channels <= FEW:
        plain = layer.stride == (1, 1) and layer.padding == (0, 0) and layer.bias is not None
        return conv_from_image if plain else None
    if isinstance(layer, nn.ConvTranspose2d) and layer.bias is not None:
        return conv_transpose_to_image if layer.out_channels <= FEW else conv_transpose
    return None


# ------------------------------------------------------------------ dense layers


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """nn.Linear whose float32 products go through oneDNN."""
    # bfloat16 goes there anyway; float64 it does not know.
    if not _onednn_takes(x):
        return F.linear(x, layer.weight, layer.bias)
    return _Linear.apply(x, layer.weight, layer.bias)


def _onednn_takes(x: Tensor) -> bool:
    return (
        x.dtype is torch.float32
        and not torch.is_autocast_enabled("cpu")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # made for torch.compile, not public
        and not torch.compiler.is_compiling()  # which takes it with constant weights only
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # made of differentiable operations
        x, weight = ctx.saved_tensors
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = _Linear.apply(grad, weight.t(), None)
        if ctx.needs_input_grad[1]:
            weight_grad = _Linear.apply(grad.t(), x.t(), None)
        if ctx.needs_input_grad[2]:
            bias_grad = grad.sum(0)
        return x_grad, weight_grad, bias_grad


# ------------------------------------------------------------------ a convolution from an image


def conv_from_image(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """nn.Conv2d (stride 1, no padding) on an image of few channels, with a fast image gradient."""
    if x.shape[-1] % BLOCK:
        return F.conv2d(x, layer.weight, layer.bias)
    return _ConvFromImage.apply(x, layer.weight, layer.bias)


class _ConvFromImage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # made of differentiable operations
        x, weight = (tensor.to(grad.dtype) for tensor in ctx.saved_tensors)
        image_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            image_grad = _image_gradient(grad, weight)
        if ctx.needs_input_grad[1]:
            _, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
                grad, x, weight, [len(weight)], [1, 1], [0, 0], [1, 1], False, [0, 0], 1,
                [False, True, True],
            )  # fmt: skip
        return image_grad, weight_grad, bias_grad


def _image_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The image's gradient of conv2d(image, weight): grad (N, O, h, w) -> (N, I, H, W).

    It is the convolution of the padded gradient with the flipped kernel. Pixel (a, b) of a block
    sees that kernel shifted by (a, b), so all its pixels are the channels of one convolution.
    """
    out, channels, size, _ = weight.shape
    wide = size + BLOCK - 1
    flipped = weight.flip(2, 3).transpose(0, 1)  # (I, O, k, k)
    kernel = weight.new_zeros(channels, BLOCK, BLOCK, out, wide, wide)
    for a in range(BLOCK):
        for b in range(BLOCK):
            kernel[:, a, b, :, a : a + size, b : b + size] = flipped
    kernel = kernel.view(-1, out, wide, wide).contiguous(memory_format=torch.channels_last)
    blocks = F.conv2d(grad, kernel, stride=BLOCK, padding=size - 1)  # (N, I * 16, H / 4, W / 4)
    return F.pixel_shuffle(blocks, BLOCK)


# ------------------------------------------------------------------ transposed convolutions


def conv_transpose(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """nn.ConvTranspose2d (square, no output padding), with a fast kernel gradient in bfloat16."""
    assert layer.bias is not None
    stride, padding = layer.stride[0], int(layer.padding[0])
    if x.dtype is torch.bfloat16:
        return _ConvTranspose.apply(x, layer.weight, layer.bias, stride, padding)
    image = F.conv_transpose2d(x, layer.weight, None, stride, padding)
    return image.add_(layer.bias[:, None, None])  # in float32 faster than oneDNN's own


class _ConvTranspose(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv_transpose2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # made of differentiable operations
        x, weight = (tensor.to(grad.dtype) for tensor in ctx.saved_tensors)
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:  # conv_transpose2d is defined as this convolution's gradient
            x_grad = F.conv2d(grad, weight, None, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            weight_grad = _kernel_gradient(grad, x, weight.shape[2], ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            bias_grad = grad.sum((0, 2, 3))
        return x_grad, weight_grad, bias_grad, None, None


def _kernel_gradient(grad: Tensor, x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """conv_transpose2d's kernel gradient as one product: grad (N, O, ., .), x (N, I, H, W) ->
    (I, O, size, size).

    Each input pixel meets the window of the output that its multiple of the kernel was added to.
    """
    n, channels, height, width = x.shape
    out = grad.shape[1]
    padded = F.pad(grad.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    image, row, column, channel = padded.stride()
    windows = padded.as_strided(
        (n, height, width, size, size, out),
        (image, stride * row, stride * column, row, column, channel),
    ).reshape(n * height * width, size * size * out)
    pixels = x.permute(0, 2, 3, 1).reshape(n * height * width, channels)
    return (pixels.t() @ windows).view(channels, size, size, out).permute(0, 3, 1, 2)


def conv_transpose_to_image(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """nn.ConvTranspose2d to an image of few channels, with a fast forward pass."""
    assert layer.bias is not None
    stride, padding, kernel = layer.stride[0], int(layer.padding[0]), layer.kernel_size
    # The definition: each input pixel adds its multiple of the kernel to the output.
    n, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels).transpose(1, 2)
    columns = layer.weight.flatten(1).t() @ pixels  # (N, out * kh * kw, H * W)
    size = tuple((s - 1) * stride - 2 * padding + kernel[0] for s in (height, width))
    image = F.fold(columns, size, kernel, padding=padding, stride=stride)
    return image + layer.bias.to(image.dtype)[:, None, None]
