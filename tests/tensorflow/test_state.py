"""Canonical arrays: what comes in goes out. Adam: what the paper says."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from common import checkpoint
from common.config import Config, UserError
from tensorflow_impl import layers
from tensorflow_impl import state as states


def random_arrays(config: Config) -> checkpoint.Arrays:
    rng = np.random.default_rng(1)
    arrays = {}
    for name, (shape, dtype) in checkpoint.expected(config).items():
        arrays[name] = np.array(7) if shape == () else rng.random(shape).astype(dtype)
    return arrays


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_round_trip_is_exact(precision: str) -> None:
    config = Config(precision=precision, noise_size=10, device="cpu")  # type: ignore[arg-type]
    arrays = random_arrays(config)
    state = states.TrainState(config)
    states.from_canonical(state, arrays)
    found = states.to_canonical(state)
    checkpoint.check(found, config)
    assert set(found) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name], err_msg=name)


def test_arrays_are_copies() -> None:
    """What a checkpoint is made of does not change with the next step."""
    state = states.TrainState(Config(device="cpu"))
    arrays = states.to_canonical(state)
    state.generator.dense1.bias.assign_add(tf.ones(1024))
    assert not arrays["generator/dense1/bias"].any()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("jit", [False, True])
def test_adam_is_algorithm_one(precision: str, jit: bool) -> None:
    """Epsilon outside the bias correction: gradients as small as it tell the two apart."""
    config = Config(precision=precision, learning_rate=0.01)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    dtype = "float64" if precision == "float64" else "float32"
    start = rng.standard_normal(1000)
    parameter = tf.Variable(start.astype(dtype))
    adam = layers.Adam([parameter], config)
    step = tf.function(lambda g: adam.step([g]), jit_compile=jit, autograph=False)
    w, m, v = start.astype(dtype).astype(np.float64), np.zeros(1000), np.zeros(1000)
    for t in range(1, 21):
        g = rng.standard_normal(1000) * np.logspace(-12, 2, 1000)
        step(tf.constant(g.astype(dtype)))
        m = 0.5 * m + 0.5 * g
        v = 0.999 * v + 0.001 * g * g
        w -= 0.01 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        # float32's 1 - 0.999 is 5e-5 off, and the kernel forms it so.
        bounds = (1e-12, 1e-12, 1e-12) if precision == "float64" else (1e-6, 1e-6, 1e-4)
        found = (parameter, adam.first_moments[0], adam.second_moments[0])
        for array, wanted, bound in zip(found, (w, m, v), bounds, strict=True):
            assert np.linalg.norm(array - wanted) < bound * np.linalg.norm(wanted)
    assert adam.count.numpy() == 20
    assert adam.count.dtype == tf.int64


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="this machine has the device"
)
def test_devices_that_are_not_there() -> None:
    with pytest.raises(UserError, match="--device cuda is not available"):
        states.choose_device(Config(device="cuda"))
    assert states.choose_device(Config(device="auto")) == states.CPU
    assert states.describe(states.CPU) == "CPU"


def test_there_is_no_mps() -> None:
    with pytest.raises(UserError, match="--device mps does not exist for TensorFlow"):
        states.choose_device(Config(device="mps"))
