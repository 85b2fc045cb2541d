"""K iterations in a row, and their compilation: step.train_step is the same function either way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from common.config import UserError, hyperparameters, recipe_of
from common.recipes import Hyper
from tensorflow_impl.device import CPU
from tensorflow_impl.state import TrainState
from tensorflow_impl.step import train_step


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
        if state.device == CPU or state.shared:
            penalties = [each.penalty for each in schedule]
            metrics = tf.stack([state.graph(*step) for step in zip(*batch, penalties, strict=True)])
        else:
            metrics = state.graph(*batch)
        metrics = state.mean_over_workers(metrics)
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
            for penalty in (recipe_of(state.config).lazy_penalty, 0.0)
        )
        if not recipe_of(state.config).penalty:
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
    function = step if state.device == CPU or state.shared else steps
    return tf.function(function, jit_compile=jit_compile, autograph=False, reduce_retracing=True)


def compile_step(state: TrainState) -> None:
    """Let XLA compile the step. UserError with several workers: it has no word for the others."""
    if state.shared:
        raise UserError(
            "--compile is not available to several workers of TensorFlow; leave it out."
        )
    state.graph = _graph(state, jit_compile=True)
