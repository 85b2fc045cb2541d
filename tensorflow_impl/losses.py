"""The two losses of Goodfellow et al. 2014 (section 3, with the non-saturating G), on logits."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def batch_mean(x: tf.Tensor, axis: Sequence[int] | None = None) -> tf.Tensor:
    """Mean over the batch. The one place to make it a mean over several workers' batches.

    With an axis, over those axes (the batch's first): batch norm's statistics.
    """
    return tf.reduce_mean(x, axis)


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
