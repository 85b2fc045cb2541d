"""The two losses of Goodfellow et al. 2014 (section 3, with the non-saturating G), on logits."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def batch_mean(x: tf.Tensor) -> tf.Tensor:
    """Mean over the batch; over this worker's share of it where several share one (workers.py)."""
    return tf.reduce_mean(x)


def discriminator_loss(logits_real: tf.Tensor, logits_fake: tf.Tensor) -> tf.Tensor:
    """BCE(real, 1) + BCE(fake, 0): the mean of -log D(x), plus the mean of -log(1 - D(G(z))).

    logits_real, logits_fake: (N, 1) -> scalar.
    """
    ones, zeros = tf.ones_like(logits_real), tf.zeros_like(logits_fake)
    real = tf.nn.sigmoid_cross_entropy_with_logits(labels=ones, logits=logits_real)
    fake = tf.nn.sigmoid_cross_entropy_with_logits(labels=zeros, logits=logits_fake)
    return batch_mean(real) + batch_mean(fake)


def generator_loss(logits_fake: tf.Tensor) -> tf.Tensor:
    """BCE(fake, 1): the mean of -log D(G(z)). logits_fake: (N, 1) -> scalar."""
    ones = tf.ones_like(logits_fake)
    return batch_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=ones, logits=logits_fake))


def gradient_penalty(D: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor) -> tf.Tensor:
    """R1 without its weight: the mean of ||grad D(x)||^2 / 2 (Mescheder et al. 2018, equation 9).

    D: images -> logits (N, 1); real (N, H, W, C) -> scalar, to be differentiated again.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(real)
        logits = D(real)
    gradient = tape.gradient(logits, real)
    if gradient.dtype == tf.bfloat16:  # sums of bfloat16 values would lose their last ones
        gradient = tf.cast(gradient, tf.float32)
    return batch_mean(tf.reduce_sum(tf.square(gradient), (1, 2, 3))) / 2
