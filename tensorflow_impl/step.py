"""One iteration of the training."""

from __future__ import annotations

import tensorflow as tf

from common.recipes import Hyper
from tensorflow_impl.architectures import has_batch_norm
from tensorflow_impl.losses import (
    batch_mean,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from tensorflow_impl.state import TrainState


def scale_images(images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """uint8 (B, H, W, C) -> [-1, 1], (B, H, W, C): channels last is TensorFlow's order."""
    return tf.cast(images, dtype) / 127.5 - 1


def judge(state: TrainState, real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """D's logits (B, 1) on real and on fake images: two batches where D has batch norm, which must
    not mix them; else one batch of 2B, which is the same and takes less time."""
    D = state.discriminator
    if has_batch_norm(D):
        logits = D(real, training=True), D(fake, training=True)
    else:
        logits = tf.split(D(tf.concat([real, fake], axis=0), training=True), 2)
    return tf.cast(logits[0], state.dtype), tf.cast(logits[1], state.dtype)


def train_step(state: TrainState, images: tf.Tensor, noise: tf.Tensor, hyper: Hyper) -> tf.Tensor:
    """Update D, then G through the updated D, both with the same noise (the published order).

    images uint8 (B, H, W, C); noise (B, Z) in [-1, 1); hyper: the recipe's numbers of this step
    -> (4,): d_loss, g_loss, and the means of D(x) and D(G(z)) in D's update. Changes the state in
    place.
    """
    D, G = state.discriminator, state.generator
    state.set_rates(hyper)
    d_parameters, g_parameters = state.d_optimizer.parameters, state.g_optimizer.parameters
    real = scale_images(images, state.compute_dtype)  # (B, H, W, C)

    # G runs once: the published second run has the same weights and noise, so the same images.
    with tf.GradientTape(watch_accessed_variables=False) as g_tape:
        g_tape.watch(g_parameters)
        fake = G(tf.cast(noise, state.compute_dtype), training=True)  # (B, H, W, C)

    # maximize over D:  E[log D(x)] + E[log(1 - D(G(z)))]
    with tf.GradientTape(watch_accessed_variables=False) as d_tape:
        d_tape.watch(d_parameters)  # not G's, which D's update leaves alone
        logits_real, logits_fake = judge(state, real, tf.stop_gradient(fake))  # (B, 1) each
        objective = d_loss = discriminator_loss(logits_real, logits_fake)
        if hyper.penalty:  # - penalty / 2 E[||grad D(x)||^2]
            objective = d_loss + hyper.penalty * gradient_penalty(D, real + state.jitter)
    state.d_optimizer.step(d_tape.gradient(objective, d_parameters))

    # maximize over G:  E[log D(G(z))], with the D just updated
    with g_tape:  # goes on recording: through D, without D's weight gradients
        logits = D(fake, training=True)  # (B, 1)
        g_loss = generator_loss(tf.cast(logits, state.dtype))
    state.g_optimizer.step(g_tape.gradient(g_loss, g_parameters))
    state.update_average(hyper)

    d_real, d_fake = batch_mean(tf.sigmoid(logits_real)), batch_mean(tf.sigmoid(logits_fake))
    return tf.stack([d_loss, g_loss, d_real, d_fake])  # (4,)
