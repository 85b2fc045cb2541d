"""The networks from Keras's stock layers, as the readers of its tutorials write them."""

from __future__ import annotations

from typing import Any

from common import architecture
from common.config import Config


def networks(config: Config, keras: Any) -> tuple[Any, Any]:
    """The discriminator, which gives logits, and the generator. keras: the package, or tf.keras."""
    if config.architecture == "dcgan":
        return _dcgan(config, keras)
    layers = keras.layers
    discriminator = keras.Sequential([
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, 5), layers.LeakyReLU(0.01), layers.MaxPool2D(),
        layers.Conv2D(64, 5), layers.LeakyReLU(0.01), layers.MaxPool2D(),
        layers.Flatten(), layers.Dense(1024), layers.LeakyReLU(0.01), layers.Dense(1),
    ])  # fmt: skip
    generator = keras.Sequential([
        layers.Input((config.noise_size,)),
        layers.Dense(1024), layers.ReLU(), layers.BatchNormalization(),
        layers.Dense(7 * 7 * 128), layers.ReLU(), layers.BatchNormalization(),
        layers.Reshape((7, 7, 128)),
        layers.Conv2DTranspose(64, 4, 2, "same"), layers.ReLU(), layers.BatchNormalization(),
        layers.Conv2DTranspose(1, 4, 2, "same", activation="tanh"),
    ])  # fmt: skip
    return discriminator, generator


def _dcgan(config: Config, keras: Any) -> tuple[Any, Any]:
    """The paper's, for images of any size; like the examples', without biases."""
    layers, table = keras.layers, architecture.of(config)
    discriminator = [layers.Input(table.image_shape)]
    for layer in table.discriminator:
        if layer.operation == "conv":
            channels = layer.output_shape[-1]
            last = channels == 1
            size = (1, "valid") if last else (2, "same")
            discriminator += [layers.Conv2D(channels, 4, *size, use_bias=False)]
            discriminator += [layers.Flatten() if last else layers.LeakyReLU(0.2)]
        elif layer.operation == "batch_norm":
            discriminator.insert(-1, layers.BatchNormalization())
    noise = config.noise_size
    generator = [layers.Input((noise,)), layers.Reshape((1, 1, noise))]
    for layer in table.generator:
        if layer.operation == "deconv":
            channels = layer.output_shape[-1]
            first, last = len(generator) == 2, layer is table.generator[-1]
            size = (1, "valid") if first else (2, "same")
            generator += [layers.Conv2DTranspose(channels, 4, *size, use_bias=False)]
            generator += [layers.Activation("tanh") if last else layers.ReLU()]
        elif layer.operation == "batch_norm":
            generator.insert(-1, layers.BatchNormalization())
    return keras.Sequential(discriminator), keras.Sequential(generator)
