"""One iteration of the training.

The mathematics is here, for every engine. What Keras leaves to the engine, gradients and
compilation, is in engine_tensorflow.py, engine_torch.py and engine_jax.py.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from common.recipes import Hyper
from keras_impl import load_engine
from keras_impl.architectures import has_batch_norm
from keras_impl.losses import batch_mean, discriminator_loss, generator_loss, gradient_penalty
from keras_impl.state import TrainState

engine = load_engine()

Tensor = Any  # the engine's own


def scale_images(images: Tensor, dtype: str) -> Tensor:
    """uint8 (B, H, W, C) -> [-1, 1], (B, H, W, C): channels last is Keras's order."""
    return ops.cast(images, dtype) / 127.5 - 1


def judge(state: TrainState, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """D's logits (B, 1) on real and on fake images: two batches where D has batch norm, which must
    not mix them; else one batch of 2B, which is the same and takes less time."""
    D = state.discriminator
    if has_batch_norm(D):
        logits = D(real, training=True), D(fake, training=True)
    else:
        logits = ops.split(D(ops.concatenate([real, fake]), training=True), 2)
    return ops.cast(logits[0], state.dtype), ops.cast(logits[1], state.dtype)


def train_step(state: TrainState, images: Tensor, noise: Tensor, hyper: Hyper) -> Tensor:
    """Update D, then G through the updated D, both with the same noise (the published order).

    images uint8 (B, H, W, C); noise (B, Z) in [-1, 1); hyper: the recipe's numbers of this step
    -> (4,): d_loss, g_loss, and the means of D(x) and D(G(z)) in D's update. Changes the state in
    place.
    """
    D, G = state.discriminator, state.generator
    state.set_rates(hyper)
    real = scale_images(images, state.dtype)  # (B, H, W, C)
    z = ops.cast(noise, state.dtype)

    # G runs once: the published second run has the same weights and noise, so the same images.
    # `pullback` takes a gradient of the images to the gradients of G's parameters.
    fake, pullback = engine.forward(G, lambda: ops.cast(G(z, training=True), state.dtype))

    # maximize over D:  E[log D(x)] + E[log(1 - D(G(z)))]
    def d_objective() -> tuple[Tensor, Any]:
        logits_real, logits_fake = judge(state, real, ops.stop_gradient(fake))  # (B, 1) each
        objective = d_loss = discriminator_loss(logits_real, logits_fake)
        if hyper.penalty:  # - penalty / 2 E[||grad D(x)||^2]
            objective = d_loss + hyper.penalty * gradient_penalty(D, real + state.jitter)
        return objective, (d_loss, logits_real, logits_fake)

    _, (d_loss, logits_real, logits_fake), gradients = engine.gradients(D, d_objective)
    state.d_optimizer.apply(gradients)

    # maximize over G:  E[log D(G(z))], with the D just updated
    def g_objective(fake: Tensor) -> Tensor:
        return generator_loss(ops.cast(D(fake, training=True), state.dtype))

    g_loss, image_gradient = engine.input_gradient(D, g_objective, fake)
    gradients = pullback(image_gradient)  # through D, without D's weight gradients
    state.g_optimizer.apply(gradients)
    state.update_average(hyper)

    d_real, d_fake = batch_mean(ops.sigmoid(logits_real)), batch_mean(ops.sigmoid(logits_fake))
    return ops.stack([d_loss, g_loss, d_real, d_fake])  # (4,)
