"""What the networks have learned, to be looked at (Radford et al. 2016, sections 5 and 6).

D's convolutions with their activations are called its maps; everything here is in evaluation mode.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from common.architecture import FEATURE_GRID
from pytorch_impl.architectures import evaluating
from pytorch_impl.state import TrainState
from pytorch_impl.step import scale_images


@torch.no_grad()
def features(state: TrainState, images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """D's features (section 5.1): each of its maps max-pooled to 4x4, flattened, joined.

    images (N, H, W, C) -> (N, F), layer by layer, each in (H, W, C) order.
    """
    real = scale_images(torch.from_numpy(images).to(state.device), state.dtype)
    with evaluating(state.discriminator) as D:
        pooled = [F.max_pool2d(x, x.shape[-1] // FEATURE_GRID) for x in _maps(D, real)]
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in pooled], 1).cpu().numpy()


def guided_gradients(
    state: TrainState, images: NDArray[np.uint8], channels: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Guided backpropagation (Springenberg et al. 2015, section 3.4; the paper's figure 5): from
    the largest value of a channel of D's last map, of each image one, to the image; a gradient goes
    back through an activation where both are positive.

    images (N, H, W, C), channels (N,) -> (N, H, W, C).
    """
    real = scale_images(torch.from_numpy(images).to(state.device), state.dtype)
    # The jitter of R1, for its reason: where pixels are equal, so is what a pooling compares.
    real = (real + state.jitter).requires_grad_()
    with evaluating(state.discriminator) as D:
        maps = _maps(D, real)
    values = maps[-1].detach()[torch.arange(len(images)), torch.from_numpy(channels)]  # (N, 4, 4)
    largest = F.one_hot(values.flatten(1).argmax(1), values[0].numel()).view(values.shape)
    gradient = torch.zeros_like(maps[-1])  # (N, C, 4, 4)
    gradient[torch.arange(len(images)), torch.from_numpy(channels)] = largest.to(state.dtype)
    for before, after in reversed(list(zip([real, *maps], maps, strict=False))):
        guided = torch.where((after > 0) & (gradient > 0), gradient, 0)
        (gradient,) = torch.autograd.grad(after, before, guided)
    return gradient.permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def feature_maps(
    state: TrainState, noise: NDArray[np.float32], kept: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """G's last feature maps, as its last batch norm gives them, and the images that become of them
    if each map is multiplied by `kept`, 0 or 1 (section 6.3.1).

    noise (N, Z), kept (C,) -> (N, h, w, C), (N, H, W, C) in (-1, 1).
    """
    z = torch.from_numpy(noise).to(state.device, state.dtype)
    factors = torch.from_numpy(kept).to(state.device, state.dtype).view(-1, 1, 1)
    found: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        found.append(output)
        return output * factors

    with evaluating(state.average or state.generator) as G:
        *_, norm = (layer for layer in G.modules() if isinstance(layer, nn.BatchNorm2d))
        hook = norm.register_forward_hook(keep)
        try:
            images = G(z)
        finally:
            hook.remove()
    return tuple(x.permute(0, 2, 3, 1).cpu().numpy() for x in (*found, images))


def _maps(D: nn.Module, x: Tensor) -> list[Tensor]:
    """D's maps of images: (N, C, H, W) each, in order."""
    maps, layers = [], iter(layer for layer in D.modules() if not list(layer.children()))
    for layer in layers:
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.LeakyReLU):
            break  # dense layers; what is after dcgan's last convolution is not activated
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            maps.append(x)
    return maps
