"""TensorFlow's part of the suite, as with_pytorch.py."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from common import architecture
from tensorflow_impl import backend  # noqa: F401, first: it imports TensorFlow quietly

import tensorflow as tf  # isort: skip

from tensorflow_impl import canonical, step
from tensorflow_impl.losses import gradient_penalty
from tensorflow_impl.networks import Discriminator, Generator

EXACT = 0.0  # how far an image may be scaled from its exact value

# What a run is started with, to be resumed.
FLAGS: list[tuple[str, ...]] = [(), ("--precision", "float64"), ("--compile",)]

# (recipe, compiled, K steps in one dispatch, bound) of what is the same function as the plain step.
WAYS = [
    pytest.param(("published", False, True, 1e-12), marks=pytest.mark.slow),
    ("tuned", False, True, 1e-12),  # with the step's two graphs in the loop
    pytest.param(("published", True, False, 1e-10), marks=pytest.mark.slow),
    pytest.param(("published", True, True, 1e-10), marks=pytest.mark.slow),
]

# Importing TensorFlow sets its log level in the environment, where the commands that the tests
# start would take it for the user's.
os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)


def loop(state: Any) -> None:
    """Take K steps in one dispatch, as on a GPU, here on the processor."""
    state.device = "/device:CPU:0"  # the processor, by a name that is not device.CPU


def tensor(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array)


def array(x: tf.Tensor) -> np.ndarray:
    return x.numpy()


def networks(noise_size: int = 96, dtype: str = "float32") -> dict[str, tf.Module]:
    kind = getattr(tf, dtype)
    return {"discriminator": Discriminator(kind), "generator": Generator(noise_size, kind)}


def apply(network: tf.Module, x: np.ndarray, training: bool) -> np.ndarray:
    arguments = {"training": training} if isinstance(network, Generator) else {}
    return network(tf.constant(x), **arguments).numpy()


def scaled(images: np.ndarray) -> np.ndarray:
    return step.scale_images(tf.constant(images), tf.float64).numpy()


def arrays(network: tf.Module, name: str) -> dict[str, np.ndarray]:
    tensors = canonical.parameter_tensors(network, name, architecture.get("mnist28", 96))
    assert {id(v) for v in tensors.values()} == {id(v) for v in network.variables}
    return {key: variable.numpy() for key, variable in tensors.items()}


def trained(network: tf.Module, name: str) -> set[str]:
    tensors = canonical.parameter_tensors(network, name, architecture.get("mnist28", 96))
    return {key for key, variable in tensors.items() if variable.trainable}


def sizes(network: tf.Module) -> tuple[int, int]:
    every, trained = (
        sum(int(np.prod(v.shape)) for v in variables)
        for variables in (network.variables, network.trainable_variables)
    )
    return trained, every - trained


def dtypes(state: Any) -> set[str]:
    return {variable.dtype.name for variable in canonical.canonical_tensors(state).values()}


def gradient(function: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    leaf = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        value = function(leaf)
    return value.numpy(), tape.gradient(value, leaf).numpy()


def penalty(w: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def of(w: tf.Tensor) -> tf.Tensor:
        return gradient_penalty(
            lambda x: tf.reduce_sum(w * x**2, (1, 2, 3))[:, None], tf.constant(x)
        )

    return gradient(of, w)
