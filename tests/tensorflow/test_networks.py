"""The networks against the table, and against the layers' definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from common import architecture, checkpoint
from common.config import Config
from tensorflow_impl import state as states
from tensorflow_impl.networks import Discriminator, Generator

NETWORKS = {"discriminator": Discriminator, "generator": Generator}


def count(variables: list[tf.Variable]) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


def test_parameter_counts() -> None:
    D, G = Discriminator(), Generator()
    assert count(D.trainable_variables) == count(D.variables) == 1_102_721
    assert count(G.trainable_variables) == 6_675_009
    assert count(G.variables) == 6_675_009 + 14_720


@pytest.mark.parametrize("network", NETWORKS)
def test_variables_are_those_of_the_table(network: str) -> None:
    module = NETWORKS[network]()
    table = architecture.get("mnist28", 96)
    found = states.parameter_tensors(module, network)
    wanted = {n: s for n, s in table.parameters().items() if n.startswith(network)}
    assert {name: tuple(v.shape) for name, v in found.items()} == wanted
    assert {id(v) for v in found.values()} == {id(v) for v in module.variables}
    assert {n for n, v in found.items() if v.trainable} == set(table.trainable()) & set(wanted)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16])
@pytest.mark.parametrize("n", [1, 5])
def test_output_shapes(n: int, dtype: tf.DType) -> None:
    """N = 1 is a batch too, but in training mode batch norm's variance needs two."""
    wide = tf.float64 if dtype == tf.float64 else tf.float32
    D, G = Discriminator(wide), Generator(dtype=wide)
    for training in (False, True) if n > 1 else (False,):
        images = G(tf.zeros((n, 96), dtype), training=training)
        assert (images.shape, images.dtype) == ((n, 28, 28, 1), dtype)
    logits = D(images)
    assert (logits.shape, logits.dtype) == ((n, 1), dtype)


def test_one_image_in_training_mode_has_its_shape() -> None:
    assert Generator()(tf.zeros((1, 96)), training=True).shape == (1, 28, 28, 1)


def test_other_noise_sizes() -> None:
    assert Generator(10)(tf.zeros((2, 10))).shape == (2, 28, 28, 1)


def test_intermediate_shapes_are_those_of_the_table() -> None:
    D, G = Discriminator(), Generator()
    x = tf.zeros((2, 28, 28, 1))
    table = {layer.name: layer.output_shape for layer in architecture.get("mnist28", 96).generator}
    assert D.conv1(x).shape[1:] == (24, 24, 32)
    assert D.conv2(tf.zeros((2, 12, 12, 32))).shape[1:] == (8, 8, 64)
    assert G.deconv1(tf.zeros((2, 7, 7, 128))).shape[1:] == table["deconv1"]
    assert G.deconv2(tf.zeros((2, 14, 14, 64))).shape[1:] == table["deconv2"]


def test_evaluation_mode_is_the_definition() -> None:
    """The generator in numpy, from the canonical arrays alone."""
    config = Config(precision="float64", device="cpu")
    arrays = checkpoint.initial(config)
    rng = np.random.default_rng(0)
    for name in arrays:
        if name.startswith("generator") and ("moving" in name or "norm" in name):
            arrays[name] = rng.random(arrays[name].shape) + 0.5
    state = states.TrainState(config)
    states.from_canonical(state, arrays)

    def p(name: str) -> np.ndarray:
        return arrays[f"generator/{name}"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        deviation = np.sqrt(p(f"{name}/moving_variance") + 1e-5)
        y = (x - p(f"{name}/moving_mean")) / deviation
        return y * p(f"{name}/scale") + p(f"{name}/offset")

    def deconv(x: np.ndarray, name: str) -> np.ndarray:
        """Each input pixel adds its multiple of the kernel; one row and column cut at each side."""
        kernel = p(f"{name}/kernel")  # (4, 4, out, in)
        n, h, w, _ = x.shape
        y = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[2]))
        for i in range(h):
            for j in range(w):
                y[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                    "nc,uvoc->nuvo", x[:, i, j], kernel
                )
        return y[:, 1:-1, 1:-1] + p(f"{name}/bias")

    z = rng.uniform(-1, 1, (3, 96))
    x = norm(np.maximum(z @ p("dense1/kernel") + p("dense1/bias"), 0), "norm1")
    x = norm(np.maximum(x @ p("dense2/kernel") + p("dense2/bias"), 0), "norm2")
    x = norm(np.maximum(deconv(x.reshape(3, 7, 7, 128), "deconv1"), 0), "norm3")
    wanted = np.tanh(deconv(x, "deconv2"))
    found = state.generator(tf.constant(z)).numpy()
    assert np.linalg.norm(found - wanted) < 1e-13 * np.linalg.norm(wanted)
