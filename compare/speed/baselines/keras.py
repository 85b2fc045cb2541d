"""A Keras model with its own `train_step`, in the shape of keras.io's DCGAN example, under `fit`.

Served as timing.py serves a backend's steps, on the engine of KERAS_BACKEND. `fit` cannot train two
networks on JAX with two optimizers, so there it is the loop of Keras's guide to training with JAX:
stateless calls inside one jitted function. The images lie ready as floats, so that no input is
timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from common.config import Config
from common.quiet import quiet
from compare.speed.baselines.stock import networks
from compare.speed.timing import Images, Loop, Noise, serve

Floats = np.ndarray  # float32 (N, H, W, C) in [-1, 1]


def fitted(config: Config) -> Callable[[Any], object]:
    """The model on TensorFlow or torch: trains with `fit`, once through what ready() makes."""
    import keras
    from keras import ops

    engine = keras.backend.backend()
    seeds = keras.random.SeedGenerator(0)

    def noise(count: int) -> Any:
        return keras.random.uniform((count, config.noise_size), -1, 1, seed=seeds)

    class GAN(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.D, self.G = networks(config, keras)
            self.built = True  # it has no `call` to be built from
            self.d_metric = keras.metrics.Mean(name="d_loss")
            self.g_metric = keras.metrics.Mean(name="g_loss")

        def compile(self, d_optimizer: Any, g_optimizer: Any, loss_function: Any) -> None:
            super().compile()
            self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
            self.loss_function = loss_function

        @property
        def metrics(self) -> list[Any]:
            return [self.d_metric, self.g_metric]

        def update(self, network: Any, optimizer: Any, objective: Callable[[], Any]) -> Any:
            """One step of an optimizer down an objective's gradient; the loss."""
            weights = network.trainable_weights
            if engine == "tensorflow":
                import tensorflow as tf

                with tf.GradientTape() as tape:
                    loss = objective()
                gradients = tape.gradient(loss, weights)
                optimizer.apply_gradients(zip(gradients, weights, strict=True))
                return loss
            import torch

            self.zero_grad()
            loss = objective()
            loss.backward()
            with torch.no_grad():
                optimizer.apply([weight.value.grad for weight in weights], weights)
            return loss

        def train_step(self, real: Any) -> dict[str, Any]:
            count = ops.shape(real)[0]
            fake = self.G(noise(count), training=True)
            images = ops.concatenate([fake, real], axis=0)
            if engine == "torch":
                images = images.detach()  # a tape over D alone does so on TensorFlow
            labels = ops.concatenate([ops.zeros((count, 1)), ops.ones((count, 1))], axis=0)
            d_loss = self.update(
                self.D, self.d_optimizer, lambda: self.loss_function(labels, self.D(images))
            )
            z, misleading = noise(count), ops.ones((count, 1))
            g_loss = self.update(
                self.G,
                self.g_optimizer,
                lambda: self.loss_function(misleading, self.D(self.G(z, training=True))),
            )
            self.d_metric.update_state(d_loss)
            self.g_metric.update_state(g_loss)
            return {"d_loss": self.d_metric.result(), "g_loss": self.g_metric.result()}

    gan = GAN()
    gan.compile(
        keras.optimizers.Adam(config.learning_rate, beta_1=config.beta1),
        keras.optimizers.Adam(config.learning_rate, beta_1=config.beta1),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    if engine == "tensorflow":
        return lambda dataset: gan.fit(dataset, verbose=0)
    return lambda x: gan.fit(x, batch_size=config.batch_size, shuffle=False, verbose=0)


def ready(images: Floats, batch_size: int) -> Any:
    """What `fit` is given: a tf.data.Dataset on TensorFlow, the usual way there, else the array.

    Given arrays, `fit` on TensorFlow shuffles and slices them while it trains, and is slower.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return images
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(images).batch(batch_size, drop_remainder=True)


def looped(config: Config) -> Callable[[Floats], object]:
    """The loop on JAX: trains on images, once through."""
    import jax
    import keras
    from keras import ops

    D, G = networks(config, keras)
    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    optimizers = [keras.optimizers.Adam(config.learning_rate, beta_1=config.beta1) for _ in "DG"]
    for network, optimizer in zip((D, G), optimizers, strict=True):
        optimizer.build(network.trainable_variables)

    def values(variables: list[Any]) -> list[Any]:
        return [variable.value for variable in variables]

    def d_objective(d: Any, d_rest: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        logits, d_rest = D.stateless_call(d, d_rest, images, training=True)
        return bce(labels, logits), d_rest

    def g_objective(g: Any, g_rest: Any, d: Any, d_rest: Any, z: Any) -> tuple[Any, Any]:
        fake, g_rest = G.stateless_call(g, g_rest, z, training=True)
        logits, d_rest = D.stateless_call(d, d_rest, fake, training=True)
        return bce(ops.ones_like(logits), logits), g_rest

    @jax.jit
    def train_step(state: Any, real: Any, key: Any) -> tuple[Any, Any]:
        d, d_rest, d_moments, g, g_rest, g_moments = state
        shape = (len(real), config.noise_size)
        first, second = (jax.random.uniform(k, shape, minval=-1) for k in jax.random.split(key))
        fake, g_rest = G.stateless_call(g, g_rest, first, training=True)
        images = ops.concatenate([fake, real], axis=0)
        labels = ops.concatenate([ops.zeros((len(real), 1)), ops.ones((len(real), 1))], axis=0)
        slope = jax.value_and_grad(d_objective, has_aux=True)
        (d_loss, d_rest), gradients = slope(d, d_rest, images, labels)
        d, d_moments = optimizers[0].stateless_apply(d_moments, gradients, d)
        slope = jax.value_and_grad(g_objective, has_aux=True)
        (g_loss, g_rest), gradients = slope(g, g_rest, d, d_rest, second)
        g, g_moments = optimizers[1].stateless_apply(g_moments, gradients, g)
        return (d, d_rest, d_moments, g, g_rest, g_moments), (d_loss, g_loss)

    state: Any = tuple(
        values(variables)
        for network, optimizer in zip((D, G), optimizers, strict=True)
        for variables in (
            network.trainable_variables,
            network.non_trainable_variables,
            optimizer.variables,
        )
    )
    key = jax.random.key(0)

    def work(x: Floats) -> None:
        nonlocal state, key
        for start in range(0, len(x), config.batch_size):
            key, now = jax.random.split(key)
            state, losses = train_step(state, x[start : start + config.batch_size], now)
        jax.block_until_ready(losses)

    return work


def loop(config: Config) -> Loop:
    """What the engine trains with, and its data as that takes it."""
    if config.device == "cpu":  # before an engine is imported
        os.environ |= {"KERAS_TORCH_DEVICE": "cpu", "JAX_PLATFORMS": "cpu"}
    with quiet():
        import keras

        if config.device == "cpu" and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")
        work = (looped if keras.backend.backend() == "jax" else fitted)(config)

    def prepare(images: Images, noise: Noise) -> Any:
        return ready(np.concatenate(images).astype(np.float32) / 127.5 - 1, config.batch_size)

    return prepare, work, ""


if __name__ == "__main__":
    serve(loop)
