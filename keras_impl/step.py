"""One iteration of the training, and K of them in a row.

The mathematics is here, for every engine. What Keras leaves to the engine, gradients and
compilation, is in engine_tensorflow.py, engine_torch.py and engine_jax.py.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from common.config import UserError, hyperparameters
from common.recipes import Hyper
from keras_impl import load_engine
from keras_impl.losses import batch_mean, discriminator_loss, generator_loss, gradient_penalty
from keras_impl.state import TrainState

engine = load_engine()

Tensor = Any  # the engine's own


def scale_images(images: Tensor, dtype: str) -> Tensor:
    """uint8 (B, H, W, C) -> [-1, 1], (B, H, W, C): channels last is Keras's order."""
    return ops.cast(images, dtype) / 127.5 - 1


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
        # One batch of 2B, since D has no batch norm that would mix real with fake.
        logits = D(ops.concatenate([real, ops.stop_gradient(fake)]), training=True)  # (2B, 1)
        logits_real, logits_fake = ops.split(ops.cast(logits, state.dtype), 2)
        objective = d_loss = discriminator_loss(logits_real, logits_fake)
        if hyper.penalty:  # - penalty / 2 E[||grad D(x)||^2]
            logits_of = lambda x: ops.cast(D(x, training=True), state.dtype)  # noqa: E731
            objective = d_loss + hyper.penalty * gradient_penalty(logits_of, real + state.jitter)
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


def train_chunk(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> NDArray[np.floating]:
    """K iterations: images (K, B, H, W, C), noise (K, B, Z) -> metrics (K, 4), as train_step's."""
    if state.run_chunk is None:
        state.run_chunk = engine.make_chunk(state, train_step)
    schedule = [hyperparameters(state.config, state.step + k) for k in range(len(images))]
    with keras.device(state.device):
        metrics = state.run_chunk(images, noise, schedule)
    state.step += len(images)
    return metrics


def compile_step(state: TrainState) -> None:
    """Let XLA fuse the step. UserError on torch, whose compiler cannot take Keras's variables."""
    if not engine.CAN_JIT:
        raise UserError(
            f"--compile is not available to Keras on {keras.backend.backend()}; leave it out, or "
            "set KERAS_BACKEND to tensorflow or jax."
        )
    state.jit, state.run_chunk = True, None


def generate(state: TrainState, noise: NDArray[np.float32]) -> NDArray[np.floating]:
    """Images of the generator in evaluation mode, of the averaged one where the recipe has one:
    noise (N, Z) -> (N, H, W, C) in (-1, 1).
    """
    generator = state.generator if state.average is None else state.average
    with keras.device(state.device), engine.no_gradients():
        z = ops.convert_to_tensor(noise.astype(state.dtype))
        # Running statistics: an image does not depend on its batch-mates.
        images = ops.cast(generator(z, training=False), state.dtype)  # (N, H, W, C)
    return ops.convert_to_numpy(images)


def outputs(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """The forward passes alone, to be compared: D's logits (B, 1) on images (B, H, W, C), and G's
    images (B, H, W, C) of noise (B, Z) in training mode, which moves its running statistics, and in
    evaluation mode.
    """
    with keras.device(state.device), engine.no_gradients():
        real = scale_images(ops.convert_to_tensor(images), state.dtype)
        z = ops.convert_to_tensor(noise.astype(state.dtype))
        return {
            "logits": ops.convert_to_numpy(state.discriminator(real, training=True)),
            "images_training": ops.convert_to_numpy(state.generator(z, training=True)),
            "images_evaluation": generate(state, noise),
        }
