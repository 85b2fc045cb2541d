"""The fast kernels are the same functions as the stock layers, derivatives included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytorch_impl import kernels
from pytorch_impl.networks import Discriminator, Generator


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


@pytest.mark.parametrize("channels", [1, 3])
def test_conv_from_image(channels: int) -> None:
    layer = nn.Conv2d(channels, 8, 5).double()
    x = torch.randn(4, channels, 28, 28, dtype=torch.float64, requires_grad=True)
    g = torch.randn(4, 8, 24, 24, dtype=torch.float64)
    inputs = (x, layer.weight, layer.bias)
    stock = torch.autograd.grad(layer(x), inputs, g)
    kernels.prefer_speed(layer)
    fast = torch.autograd.grad(layer(x), inputs, g)
    for a, b in zip(fast, stock, strict=True):
        assert relative(a, b) < 1e-14


def test_conv_from_image_has_second_derivatives() -> None:
    layer = nn.Conv2d(1, 2, 5).double()
    kernels.prefer_speed(layer)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_conv_transpose_to_image() -> None:
    layer = nn.ConvTranspose2d(6, 1, 4, 2, padding=1).double()
    x = torch.randn(4, 6, 14, 14, dtype=torch.float64, requires_grad=True)
    stock = layer(x)
    kernels.prefer_speed(layer)
    fast = layer(x)
    g = torch.randn_like(stock)
    assert relative(fast, stock) < 1e-14
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(fast, inputs, g), torch.autograd.grad(stock, inputs, g), strict=True
    ):
        assert relative(a, b) < 1e-14


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    layer = nn.Linear(96, 40, bias=bias)
    x = torch.randn(8, 96, requires_grad=True)
    g = torch.randn(8, 40)
    inputs = (x, *layer.parameters())
    stock = (layer(x), *torch.autograd.grad(layer(x), inputs, g))
    kernels.prefer_speed(layer)
    assert "_Linear" in str(layer(x).grad_fn)
    fast = (layer(x), *torch.autograd.grad(layer(x), inputs, g))
    for a, b in zip(fast, stock, strict=True):
        assert relative(a, b) < 1e-6  # rounding of a float32 sum of 96 terms


def test_linear_has_second_derivatives() -> None:
    layer = nn.Linear(5, 3)
    x, g = torch.randn(4, 5, requires_grad=True), torch.randn(4, 3)
    found = []
    for prefer in (lambda layer: None, kernels.prefer_speed):
        prefer(layer)
        (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), (x, layer.weight)))
    for a, b in zip(*found, strict=True):
        assert relative(b, a) < 1e-6
    layer.double()  # oneDNN has no float64: the stock kernel
    assert "_Linear" not in str(layer(x.double() * g.double().sum()).grad_fn)


def test_conv_transpose_in_bfloat16() -> None:
    layer = nn.ConvTranspose2d(6, 5, 4, 2, padding=1).bfloat16()
    x = torch.randn(4, 6, 7, 7).bfloat16().requires_grad_()
    g = torch.randn(4, 5, 14, 14).bfloat16()
    inputs = (x, *layer.parameters())
    exact = [a.detach().double().requires_grad_() for a in (x, layer.weight, layer.bias)]
    y = torch.nn.functional.conv_transpose2d(*exact, stride=2, padding=1)
    reference = (y, *torch.autograd.grad(y, exact, g.double()))
    kernels.prefer_speed(layer)
    assert "_ConvTranspose" in str(layer(x).grad_fn)
    fast = (layer(x), *torch.autograd.grad(layer(x), inputs, g))
    for a, b in zip(fast, reference, strict=True):
        assert relative(a.double(), b) < 2**-8  # one rounding to bfloat16


@pytest.mark.parametrize(("size", "stride", "padding"), [(4, 2, 1), (3, 1, 0), (5, 3, 2)])
def test_kernel_gradient(size: int, stride: int, padding: int) -> None:
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    weight = torch.randn(3, 4, size, size, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.conv_transpose2d(x, weight, None, stride, padding)
    g = torch.randn_like(y)
    (reference,) = torch.autograd.grad(y, weight, g)
    assert relative(kernels._kernel_gradient(g, x, size, stride, padding), reference) < 1e-14


def test_only_a_training_state_asks_for_them() -> None:
    for network in (Discriminator(), Generator()):
        layers = [layer for layer in network.modules() if kernels._faster(layer)]
        assert layers
        assert not any("forward" in vars(layer) for layer in layers)
        kernels.prefer_speed(network)
        assert all("forward" in vars(layer) for layer in layers)
