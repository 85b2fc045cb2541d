"""Keras's part of the suite, on every engine, as with_pytorch.py."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from common import architecture
from keras_impl import load_engine

engine = load_engine()  # first: it imports Keras and its engine quietly

import keras  # noqa: E402
from keras import ops  # noqa: E402

from keras_impl import canonical, step  # noqa: E402
from keras_impl.losses import gradient_penalty  # noqa: E402
from keras_impl.networks import Discriminator, Generator  # noqa: E402

# How far an image may be scaled from its exact value: JAX multiplies by 1 / 127.5.
EXACT = 2**-52 if keras.backend.backend() == "jax" else 0.0

# What a run is started with, to be resumed.
FLAGS: list[tuple[str, ...]] = [(), ("--precision", "float64")]

# (recipe, compiled, K steps in one dispatch, bound) of what is the same function as the plain step.
WAYS = {
    "tensorflow": [
        pytest.param(("published", True, False, 1e-10), marks=pytest.mark.slow),
        pytest.param(("published", True, True, 1e-10), marks=pytest.mark.slow),
    ],
    "torch": [],
    "jax": [pytest.param(("published", True, True, 1e-10), marks=pytest.mark.slow)],
}[keras.backend.backend()]

os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)  # see with_tensorflow.py


def loop(state: Any) -> None:
    """Take K steps in one dispatch, as on a GPU, here on the processor."""
    state.device = state.device.upper()  # the processor, by a name not taken for it


def tensor(array: np.ndarray) -> Any:
    return ops.convert_to_tensor(array)


def array(x: Any) -> np.ndarray:
    return ops.convert_to_numpy(x)


def networks(noise_size: int = 96, dtype: str = "float64") -> dict[str, keras.Model]:
    return {"discriminator": Discriminator(dtype), "generator": Generator(noise_size, dtype)}


def apply(network: keras.Model, x: np.ndarray, training: bool) -> np.ndarray:
    return ops.convert_to_numpy(network(x, training=training))


def scaled(images: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(step.scale_images(ops.convert_to_tensor(images), "float64"))


def arrays(network: keras.Model, name: str) -> dict[str, np.ndarray]:
    tensors = canonical.parameter_tensors(network, name, architecture.get("mnist28", 96))
    assert len(tensors) == len(network.variables)
    return {key: ops.convert_to_numpy(variable.value) for key, variable in tensors.items()}


def trained(network: keras.Model, name: str) -> set[str]:
    tensors = canonical.parameter_tensors(network, name, architecture.get("mnist28", 96))
    return {key for key, variable in tensors.items() if variable.trainable}


def sizes(network: keras.Model) -> tuple[int, int]:
    trained, others = (
        sum(int(np.prod(v.shape)) for v in variables)
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )
    return trained, others


def dtypes(state: Any) -> set[str]:
    return {variable.dtype for variable in canonical.canonical_tensors(state).values()}


def gradient(function: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    network = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Identity()])
    value, found = engine.input_gradient(network, function, ops.convert_to_tensor(x))
    return ops.convert_to_numpy(value), ops.convert_to_numpy(found)


class _Squares(keras.layers.Layer):
    """D(x) = sum(w x^2)."""

    def __init__(self, w: np.ndarray) -> None:
        super().__init__(dtype="float64")
        self.w = self.add_weight(shape=w.shape, name="w")
        self.w.assign(w)

    def call(self, x: Any) -> Any:
        return ops.sum(self.w * ops.square(x), (1, 2, 3))[:, None]


def penalty(w: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    D = keras.Sequential([keras.Input(x.shape[1:]), _Squares(w)])
    real = ops.convert_to_tensor(x)
    value, _, (found,) = engine.gradients(D, lambda: (gradient_penalty(D, real), None))
    return ops.convert_to_numpy(value), ops.convert_to_numpy(found)
