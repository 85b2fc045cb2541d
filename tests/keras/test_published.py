"""The published loop, written out plainly, against the step that leaves out what is thrown away.

Plain: G runs twice with running statistics that move by 0.1 each time, D's loss is sent back
through the whole graph, LeakyReLU stands before the pooling, Adam is its formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras.layers import Conv2D, Dense, Flatten, Lambda, MaxPooling2D

from common import batches
from common.config import Config
from keras_impl import state as states

if keras.backend.backend() != "tensorflow":
    pytest.skip("written with TensorFlow's tape", allow_module_level=True)

import tensorflow as tf


def plain_discriminator() -> keras.Sequential:
    def leaky() -> keras.layers.Layer:
        slope = tf.constant(0.01, tf.float64)
        return Lambda(lambda x: tf.where(x > 0, x, slope * x), dtype="float64")

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            Conv2D(32, 5, name="conv1", dtype="float64"),
            leaky(),
            MaxPooling2D(2, dtype="float64"),
            Conv2D(64, 5, name="conv2", dtype="float64"),
            leaky(),
            MaxPooling2D(2, dtype="float64"),
            Flatten(dtype="float64"),
            Dense(1024, name="dense1", dtype="float64"),
            leaky(),
            Dense(1, name="dense2", dtype="float64"),
        ]
    )


class PlainAdam:
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g**2; x -= lr m^ / (sqrt(v^) + eps)."""

    def __init__(self, variables: list[keras.Variable]) -> None:
        self.variables, self.t = variables, 0
        self.m = [tf.zeros(x.shape, tf.float64) for x in variables]
        self.v = [tf.zeros(x.shape, tf.float64) for x in variables]

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self.t += 1
        correction1, correction2 = 1 - 0.5**self.t, 1 - 0.999**self.t
        for i, (x, g) in enumerate(zip(self.variables, gradients, strict=True)):
            self.m[i] = 0.5 * self.m[i] + 0.5 * g
            self.v[i] = 0.999 * self.v[i] + (1 - 0.999) * g * g
            x.assign(
                x - 3e-4 * (self.m[i] / correction1) / ((self.v[i] / correction2) ** 0.5 + 1e-8)
            )


def test_twenty_iterations_equal_the_published_loop(
    config: Config, dataset: object, make_state: Callable, advance: Callable, assert_close: Callable
):
    config = replace(config, batch_size=16, steps=20)
    state = make_state(config)
    start = states.to_canonical(state)
    found = advance(state, 20)

    D, G = plain_discriminator(), make_state(config).generator
    for name, variable in states.parameter_tensors(D, "discriminator").items():
        variable.assign(start[name])
    for layer in ("norm1", "norm2", "norm3"):
        G.get_layer(layer).momentum = 0.9  # PyTorch's default 0.1
    d_solver, g_solver = PlainAdam(D.trainable_variables), PlainAdam(G.trainable_variables)
    bce = tf.nn.sigmoid_cross_entropy_with_logits

    losses = []
    for step in range(20):
        which = batches.indices(0, step, 16, 64)
        real = tf.constant(2 * (dataset.gather(which) / 255.0 - 0.5))  # type: ignore[attr-defined]
        noise = tf.constant(batches.noise(0, step, 16, 96).astype(np.float64))
        with tf.GradientTape() as tape:
            logits_real, logits_fake = D(real), D(G(noise, training=True))
            d_loss = tf.reduce_mean(bce(tf.ones_like(logits_real), logits_real))
            d_loss += tf.reduce_mean(bce(tf.zeros_like(logits_fake), logits_fake))
        d_solver.apply(tape.gradient(d_loss, [x.value for x in D.trainable_variables]))
        with tf.GradientTape() as tape:
            logits_fake = D(G(noise, training=True))
            g_loss = tf.reduce_mean(bce(tf.ones_like(logits_fake), logits_fake))
        g_solver.apply(tape.gradient(g_loss, [x.value for x in G.trainable_variables]))
        losses.append([float(d_loss), float(g_loss)])

    np.testing.assert_allclose(found[:, :2], losses, rtol=1e-11)
    wanted = {}
    for network, model, solver in (("discriminator", D, d_solver), ("generator", G, g_solver)):
        moments = {
            id(x): (m, v) for x, m, v in zip(solver.variables, solver.m, solver.v, strict=True)
        }
        for name, variable in states.parameter_tensors(model, network).items():
            wanted[name] = variable.value.numpy()
            if id(variable) in moments:
                first, second = moments[id(variable)]
                wanted[f"optimizer/{name}/first_moment"] = first.numpy()
                wanted[f"optimizer/{name}/second_moment"] = second.numpy()
    arrays = states.to_canonical(state)
    assert_close({name: arrays[name] for name in wanted}, wanted, 1e-12)
