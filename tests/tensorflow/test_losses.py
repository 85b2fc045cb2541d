"""The losses against their definition, and where a naive formula overflows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tensorflow_impl.losses import (
    batch_mean,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)


def test_definition() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 8, 1))
    log_d = -np.log1p(np.exp(-real)).mean()
    log_not_d = -np.log1p(np.exp(fake)).mean()
    found = discriminator_loss(tf.constant(real), tf.constant(fake)).numpy()
    np.testing.assert_allclose(found, -log_d - log_not_d, rtol=1e-14)
    found = generator_loss(tf.constant(fake)).numpy()
    np.testing.assert_allclose(found, np.log1p(np.exp(-fake)).mean(), rtol=1e-14)


def test_large_logits_and_zero() -> None:
    for value, loss, slope in ((-1000.0, 1000.0, -1.0), (0.0, np.log(2), -0.5), (1000.0, 0.0, 0.0)):
        logits = tf.constant([[value]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            found = generator_loss(logits)
        np.testing.assert_allclose(found, loss, rtol=1e-15)
        np.testing.assert_allclose(tape.gradient(found, logits), [[slope]], rtol=1e-15)


def test_batch_mean_over_axes() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(batch_mean(tf.constant(x), (0, 1)), x.mean((0, 1)))
    assert batch_mean(tf.constant(x)).shape == ()


def test_the_gradient_penalty_of_a_known_function() -> None:
    """D(x) = sum(w x^2): its gradient is 2 w x, and the penalty's derivative by w is 4 w x^2."""
    x = tf.constant(np.random.default_rng(0).standard_normal((3, 5, 5, 1)))
    w = tf.Variable(np.linspace(-1, 2, 25).reshape(5, 5, 1))
    with tf.GradientTape() as tape:
        penalty = gradient_penalty(lambda x: tf.reduce_sum(w * x**2, (1, 2, 3))[:, None], x)
    wanted = np.square(2 * w.numpy() * x.numpy()).sum((1, 2, 3)).mean() / 2
    np.testing.assert_allclose(penalty.numpy(), wanted, rtol=1e-14)
    found = tape.gradient(penalty, w).numpy()
    np.testing.assert_allclose(found, (4 * w.numpy() * x.numpy() ** 2).mean(0), rtol=1e-13)
