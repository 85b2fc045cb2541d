"""One iteration of the training, and K of them in a row. Compilation happens here and only here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.config import hyperparameters
from common.recipes import RECIPES, Hyper
from tensorflow_impl.losses import (
    batch_mean,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from tensorflow_impl.state import CPU, TrainState


def scale_images(images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """uint8 (B, H, W, C) -> [-1, 1], (B, H, W, C): channels last is TensorFlow's order."""
    return tf.cast(images, dtype) / 127.5 - 1


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
        # One batch of 2B, since D has no batch norm that would mix real with fake.
        logits = D(tf.concat([real, tf.stop_gradient(fake)], axis=0))  # (2B, 1)
        logits_real, logits_fake = tf.split(tf.cast(logits, state.dtype), 2)
        objective = d_loss = discriminator_loss(logits_real, logits_fake)
        if hyper.penalty:  # - penalty / 2 E[||grad D(x)||^2]
            objective = d_loss + hyper.penalty * gradient_penalty(D, real + state.jitter)
    state.d_optimizer.step(d_tape.gradient(objective, d_parameters))

    # maximize over G:  E[log D(G(z))], with the D just updated
    with g_tape:  # goes on recording: through D, without D's weight gradients
        logits = D(fake)  # (B, 1)
        g_loss = generator_loss(tf.cast(logits, state.dtype))
    state.g_optimizer.step(g_tape.gradient(g_loss, g_parameters))
    state.update_average(hyper)

    d_real, d_fake = batch_mean(tf.sigmoid(logits_real)), batch_mean(tf.sigmoid(logits_fake))
    return tf.stack([d_loss, g_loss, d_real, d_fake])  # (4,)


def train_chunk(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> NDArray[np.floating]:
    """K iterations: images (K, B, H, W, C), noise (K, B, Z) -> metrics (K, 4), as train_step's.

    The device gets uint8 and the host waits once, for the metrics at the end.
    """
    if state.graph is None:
        state.graph = _graph(state, jit_compile=False)
    schedule = [hyperparameters(state.config, state.step + k) for k in range(len(images))]
    with tf.device(state.device):
        batch = tf.constant(images), tf.constant(noise), tf.constant(np.array(schedule))
        if state.device == CPU:
            penalties = [each.penalty for each in schedule]
            metrics = tf.stack([state.graph(*step) for step in zip(*batch, penalties, strict=True)])
        else:
            metrics = state.graph(*batch)
    state.step += len(images)
    return metrics.numpy()


def _graph(state: TrainState, jit_compile: bool) -> Callable[..., tf.Tensor]:
    """train_step as a graph, traced at its first call: one step on a processor, K on a GPU."""

    def step(images: tf.Tensor, noise: tf.Tensor, numbers: tf.Tensor, penalty: float) -> tf.Tensor:
        """numbers: those of Hyper, (4,) float64. Each penalty has a graph of its own."""
        d_rate, g_rate, _, average = tf.unstack(numbers)
        return train_step(state, images, noise, Hyper(d_rate, g_rate, penalty, average))

    def any_step(images: tf.Tensor, noise: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """The step with its penalty or without: both are in the graph, one runs. How TensorFlow
        orders sums in a branch may differ from one trace to the next, in the last bit."""
        with_penalty, without = (
            partial(step, images, noise, numbers, penalty)
            for penalty in (RECIPES[state.config.recipe].lazy_penalty, 0.0)
        )
        if not RECIPES[state.config.recipe].penalty:
            return without()
        return tf.cond(numbers[2] > 0, with_penalty, without)

    def steps(images: tf.Tensor, noise: tf.Tensor, schedule: tf.Tensor) -> tf.Tensor:
        """(K, B, ...), (K, B, Z), (K, 4) -> (K, 4), one step after the other, in one dispatch."""
        return tf.map_fn(
            lambda batch: any_step(*batch),
            (images, noise, schedule),
            fn_output_signature=state.dtype,
            parallel_iterations=1,
        )

    # On a processor the host loops: XLA runs convolutions inside a loop several times slower
    # there, and starting a graph costs nothing beside a step's 100 ms.
    function = step if state.device == CPU else steps
    return tf.function(function, jit_compile=jit_compile, autograph=False, reduce_retracing=True)


def compile_step(state: TrainState) -> None:
    """Let XLA compile the step."""
    state.graph = _graph(state, jit_compile=True)


def generate(state: TrainState, noise: NDArray[np.float32]) -> NDArray[np.floating]:
    """Images of the generator in evaluation mode, of the averaged one where the recipe has one:
    noise (N, Z) -> (N, H, W, C) in (-1, 1).
    """
    with tf.device(state.device):
        z = tf.cast(noise, state.dtype)
        generator = state.average or state.generator
        # Running statistics: an image does not depend on its batch-mates.
        return generator(z, training=False).numpy()


def outputs(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """The forward passes alone, to be compared: D's logits (B, 1) on images (B, H, W, C), and G's
    images (B, H, W, C) of noise (B, Z) in training mode, which moves its running statistics, and in
    evaluation mode.
    """
    with tf.device(state.device):
        real = scale_images(tf.constant(images), state.dtype)
        z = tf.cast(noise, state.dtype)
        return {
            "logits": state.discriminator(real).numpy(),
            "images_training": state.generator(z, training=True).numpy(),
            "images_evaluation": generate(state, noise),
        }
