"""The fast kernels are the same functions as the stock layers, derivatives included."""

from __future__ import annotations

import pytest
import torch

from pytorch_impl import layers
from pytorch_impl.networks import Discriminator, Generator


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


@pytest.mark.parametrize("channels", [1, 3])
def test_conv_from_image(channels: int) -> None:
    layer = layers.ConvFromImage(channels, 8, 5).double()
    x = torch.randn(4, channels, 28, 28, dtype=torch.float64, requires_grad=True)
    g = torch.randn(4, 8, 24, 24, dtype=torch.float64)
    inputs = (x, layer.weight, layer.bias)
    stock = torch.autograd.grad(layer(x), inputs, g)
    layer.fast = True
    fast = torch.autograd.grad(layer(x), inputs, g)
    for a, b in zip(fast, stock, strict=True):
        assert relative(a, b) < 1e-14


def test_conv_from_image_has_second_derivatives() -> None:
    layer = layers.ConvFromImage(1, 2, 5).double()
    layer.fast = True
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_conv_transpose_to_image() -> None:
    layer = layers.ConvTransposeToImage(6, 1, 4, 2, padding=1).double()
    x = torch.randn(4, 6, 14, 14, dtype=torch.float64, requires_grad=True)
    stock = layer(x)
    layer.fast = True
    fast = layer(x)
    g = torch.randn_like(stock)
    assert relative(fast, stock) < 1e-14
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(fast, inputs, g), torch.autograd.grad(stock, inputs, g), strict=True
    ):
        assert relative(a, b) < 1e-14


def test_only_a_training_state_asks_for_them() -> None:
    for network in (Discriminator(), Generator()):
        switches = [m for m in network.modules() if hasattr(m, "fast")]
        assert len(switches) == 1
        assert not switches[0].fast
        layers.prefer_speed(network)
        assert switches[0].fast
