"""The losses against their formulas."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_impl.losses import discriminator_loss, engine, generator_loss, gradient_penalty


def test_formulas() -> None:
    real, fake = np.random.default_rng(0).standard_normal((2, 8, 1)).astype("float32")
    wanted = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
    np.testing.assert_allclose(
        discriminator_loss(*map(ops.convert_to_tensor, (real, fake))), wanted, rtol=1e-6
    )
    wanted = np.log1p(np.exp(-fake)).mean()
    np.testing.assert_allclose(generator_loss(ops.convert_to_tensor(fake)), wanted, rtol=1e-6)


def test_the_gradient_penalty_of_a_known_network() -> None:
    """D(x) = sum(w x): its gradient is w, the penalty |w|^2 / 2, and the penalty's gradient w."""
    D = keras.Sequential([keras.Input((5, 5, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    x = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((3, 5, 5, 1), "float32"))
    w = ops.convert_to_numpy(D.layers[-1].kernel.value)
    penalty, _, (gradient, *_) = engine.gradients(
        D, lambda: (gradient_penalty(D, x) + 0 * ops.sum(D(x)), None)
    )
    np.testing.assert_allclose(penalty, np.square(w).sum() / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, w, rtol=1e-6)
