"""The two losses of Goodfellow et al. 2014 (section 3, with the non-saturating G), on logits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_impl import load_engine

engine = load_engine()

Tensor = Any  # the engine's own


def batch_mean(x: Tensor) -> Tensor:
    """Mean over the batch; over this worker's share of it where several share one (workers.py)."""
    return ops.mean(x)


def discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """BCE(real, 1) + BCE(fake, 0): the mean of -log D(x), plus the mean of -log(1 - D(G(z))).

    logits_real, logits_fake: (N, 1) -> scalar.
    """
    ones, zeros = ops.ones_like(logits_real), ops.zeros_like(logits_fake)
    real = ops.binary_crossentropy(ones, logits_real, from_logits=True)
    fake = ops.binary_crossentropy(zeros, logits_fake, from_logits=True)
    return batch_mean(real) + batch_mean(fake)


def generator_loss(logits_fake: Tensor) -> Tensor:
    """BCE(fake, 1): the mean of -log D(G(z)). logits_fake: (N, 1) -> scalar."""
    ones = ops.ones_like(logits_fake)
    return batch_mean(ops.binary_crossentropy(ones, logits_fake, from_logits=True))


def gradient_penalty(D: keras.Model, real: Tensor) -> Tensor:
    """R1 without its weight: the mean of ||grad D(x)||^2 / 2 (Mescheder et al. 2018, equation 9).

    D: images -> logits (N, 1); real (N, H, W, C) -> scalar, to be differentiated again.
    """

    def objective(x: Tensor) -> Tensor:
        return ops.sum(ops.cast(D(x, training=True), real.dtype))

    _, gradient = engine.input_gradient(D, objective, real)
    return batch_mean(ops.sum(ops.square(gradient), (1, 2, 3))) / 2
