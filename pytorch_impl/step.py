"""One iteration of the training."""

from __future__ import annotations

import torch
from torch import Tensor

from common.recipes import Hyper
from pytorch_impl.architectures import has_batch_norm
from pytorch_impl.losses import batch_mean, discriminator_loss, generator_loss, gradient_penalty
from pytorch_impl.state import TrainState


def scale_images(images: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (B, H, W, C) -> [-1, 1], (B, C, H, W): channels first is PyTorch's order."""
    return (images.to(dtype) / 127.5 - 1).permute(0, 3, 1, 2)  # a view: channels last in memory


def judge(state: TrainState, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """D's logits (B, 1) on real and on fake images: two batches where D has batch norm, which must
    not mix them; else one batch of 2B, which is the same and takes less time."""
    D = state.discriminator
    if has_batch_norm(D):
        logits = D(real), D(fake)
    else:
        logits = D(torch.cat([real, fake])).chunk(2)
    return logits[0].to(state.dtype), logits[1].to(state.dtype)


def train_step(state: TrainState, images: Tensor, noise: Tensor, hyper: Hyper) -> Tensor:
    """Update D, then G through the updated D, both with the same noise (the published order).

    images uint8 (B, H, W, C); noise (B, Z) in [-1, 1); hyper: the recipe's numbers of this step
    -> (4,): d_loss, g_loss, and the means of D(x) and D(G(z)) in D's update. Changes the state in
    place.
    """
    D, G = state.discriminator, state.generator
    state.set_rates(hyper)
    real = scale_images(images, state.dtype)  # (B, C, H, W)

    # G runs once: the published second run has the same weights and noise, so the same images.
    with state.autocast():
        fake = G(noise.to(state.dtype))  # (B, C, H, W)

    # maximize over D:  E[log D(x)] + E[log(1 - D(G(z)))]
    with state.autocast():
        logits_real, logits_fake = judge(state, real, fake.detach())  # (B, 1) each
    d_loss = discriminator_loss(logits_real, logits_fake)
    d_loss.backward()  # not into G, which D's update leaves alone
    if hyper.penalty:  # - penalty / 2 E[||grad D(x)||^2]
        with state.autocast():  # D.forward: what torch.compile made has no second derivative
            penalty = hyper.penalty * gradient_penalty(D.forward, real + state.jitter)
        penalty.backward()
    state.d_optimizer.step()
    state.d_optimizer.zero_grad()

    # maximize over G:  E[log D(G(z))], with the D just updated
    D.requires_grad_(False)
    with state.autocast():
        logits = D(fake)  # (B, 1)
    D.requires_grad_(True)
    g_loss = generator_loss(logits.to(state.dtype))
    g_loss.backward()  # through D, without D's weight gradients
    state.g_optimizer.step()
    state.g_optimizer.zero_grad()
    state.update_average(hyper)

    d_real, d_fake = batch_mean(logits_real.sigmoid()), batch_mean(logits_fake.sigmoid())
    return torch.stack([d_loss, g_loss, d_real, d_fake]).detach()  # (4,)
