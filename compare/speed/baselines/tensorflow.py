"""A TensorFlow loop in the shape of TensorFlow's DCGAN tutorial: what its reader writes.

Layers from tf.keras; one tf.function with a tape over each network; both gradients from the same
forward passes, then both updates. Served as timing.py serves a backend's steps. The images lie
ready as float tensors, so that no input is timed.
"""

from __future__ import annotations

import os

from common.config import Config
from common.quiet import quiet
from compare.speed.baselines.stock import networks
from compare.speed.timing import Images, Loop, Noise, serve

os.environ["KERAS_BACKEND"] = "tensorflow"
with quiet():
    import tensorflow as tf

    tf.config.list_logical_devices()


def loop(config: Config) -> Loop:
    """Networks, optimizers and the loop over float images (B, H, W, C) in [-1, 1]."""
    if config.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    D, G = networks(config, tf.keras)
    d_optimizer = tf.keras.optimizers.Adam(config.learning_rate, beta_1=config.beta1)
    g_optimizer = tf.keras.optimizers.Adam(config.learning_rate, beta_1=config.beta1)
    bce = tf.keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def train_step(real: tf.Tensor) -> None:
        noise = tf.random.uniform((config.batch_size, config.noise_size), -1, 1)
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            fake = G(noise, training=True)
            logits_real, logits_fake = D(real, training=True), D(fake, training=True)
            g_loss = bce(tf.ones_like(logits_fake), logits_fake)
            d_loss = bce(tf.ones_like(logits_real), logits_real) + bce(
                tf.zeros_like(logits_fake), logits_fake
            )
        g_gradients = g_tape.gradient(g_loss, G.trainable_variables)
        d_gradients = d_tape.gradient(d_loss, D.trainable_variables)
        g_optimizer.apply_gradients(zip(g_gradients, G.trainable_variables, strict=True))
        d_optimizer.apply_gradients(zip(d_gradients, D.trainable_variables, strict=True))

    def prepare(images: Images, noise: Noise) -> list[tf.Tensor]:
        return [tf.cast(x, tf.float32) / 127.5 - 1 for x in images]

    def work(data: list[tf.Tensor]) -> None:
        for real in data:
            train_step(real)
        d_optimizer.iterations.numpy()  # waits for the device

    return prepare, work, ""


if __name__ == "__main__":
    serve(loop)
