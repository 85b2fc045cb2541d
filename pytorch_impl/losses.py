"""The two losses of Goodfellow et al. 2014 (section 3, with the non-saturating G), on logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def batch_mean(x: Tensor) -> Tensor:
    """Mean over the batch; over this worker's share of it where several share one (workers.py)."""
    return x.mean()


def discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """BCE(real, 1) + BCE(fake, 0): the mean of -log D(x), plus the mean of -log(1 - D(G(z))).

    logits_real, logits_fake: (N, 1) -> scalar.
    """
    ones, zeros = torch.ones_like(logits_real), torch.zeros_like(logits_fake)
    real = F.binary_cross_entropy_with_logits(logits_real, ones, reduction="none")
    fake = F.binary_cross_entropy_with_logits(logits_fake, zeros, reduction="none")
    return batch_mean(real) + batch_mean(fake)


def generator_loss(logits_fake: Tensor) -> Tensor:
    """BCE(fake, 1): the mean of -log D(G(z)). logits_fake: (N, 1) -> scalar."""
    ones = torch.ones_like(logits_fake)
    return batch_mean(F.binary_cross_entropy_with_logits(logits_fake, ones, reduction="none"))


def gradient_penalty(D: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1 without its weight: the mean of ||grad D(x)||^2 / 2 (Mescheder et al. 2018, equation 9).

    D: images -> logits (N, 1); real (N, C, H, W) -> scalar, to be differentiated again.
    """
    x = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return batch_mean(gradient.square().sum((1, 2, 3))) / 2
