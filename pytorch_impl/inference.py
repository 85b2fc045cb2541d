"""The networks' outputs without a training step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pytorch_impl.architectures import evaluating
from pytorch_impl.state import TrainState
from pytorch_impl.step import scale_images


@torch.no_grad()
def generate(state: TrainState, noise: NDArray[np.float32]) -> NDArray[np.floating]:
    """Images of the generator in evaluation mode, of the averaged one where the recipe has one:
    noise (N, Z) -> (N, H, W, C) in (-1, 1).
    """
    z = torch.from_numpy(noise).to(state.device, state.dtype)
    with evaluating(state.average or state.generator) as G:
        images = G(z)  # (N, C, H, W)
    return images.permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def outputs(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """The forward passes alone, to be compared: D's logits (B, 1) on images (B, H, W, C) and G's
    images (B, H, W, C) of noise (B, Z), each in training mode, which moves the running statistics,
    and in evaluation mode.
    """
    real = scale_images(torch.from_numpy(images).to(state.device), state.dtype)
    z = torch.from_numpy(noise).to(state.device, state.dtype)
    D = state.discriminator
    logits = D(real)  # first: it moves the running statistics
    with evaluating(D):
        evaluated = D(real)
    return {
        "logits": logits.cpu().numpy(),
        "logits_evaluation": evaluated.cpu().numpy(),
        "images_training": state.generator(z).permute(0, 2, 3, 1).cpu().numpy(),
        "images_evaluation": generate(state, noise),
    }
