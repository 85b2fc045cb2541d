"""The networks and the layers that differ from Keras's own. Runs on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from common import architecture
from keras_impl import load_engine
from keras_impl.architectures import make_discriminator, make_generator
from keras_impl.canonical import canonical_tensors
from keras_impl.kernels import prefer_speed
from keras_impl.layers import Adam, BatchNormalization, LeakyReLU
from keras_impl.networks import Discriminator, Generator

engine = load_engine()


def test_layer_output_shapes_follow_the_table():
    table = architecture.get("mnist28", 96)
    for model, layers in ((Discriminator(), table.discriminator), (Generator(), table.generator)):
        for layer in layers:
            assert tuple(model.get_layer(layer.name).output.shape[1:]) == layer.output_shape


@pytest.mark.recompiles
@pytest.mark.parametrize(("size", "channels"), [(32, 1), (32, 3), (64, 3), (128, 1)])
def test_the_papers_layer_shapes_follow_the_table(size: int, channels: int):
    table = architecture.dcgan(20, size, channels, width=4)
    for model, layers in (
        (make_discriminator(table), table.discriminator),
        (make_generator(table), table.generator),
    ):
        for layer in layers:
            assert tuple(model.get_layer(layer.name).output.shape[1:]) == layer.output_shape
        assert model.output_shape[1:] == layers[-1].output_shape


def test_summary_prints(capsys: pytest.CaptureFixture[str]):
    Generator().summary()
    Discriminator().summary()
    printed = capsys.readouterr().out
    for word in ("norm3", "deconv2", "6,675,009", "14,720", "1,102,721"):
        assert word in printed


def test_initial_weights_are_bounded_like_pytorchs():
    kernel = ops.convert_to_numpy(Generator().get_layer("deconv1").kernel)
    bound = 1 / np.sqrt(16 * 64)
    assert 0.99 * bound < np.abs(kernel).max() <= bound


def test_leaky_relu_is_exact_and_has_its_slope_at_zero():
    x = ops.convert_to_tensor(np.array([[-3.0, -0.0, 0.0, 2.0]]))
    model = keras.Sequential([keras.Input((4,)), LeakyReLU(0.01, dtype="float64")])
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), [[-3 * 0.01, 0, 0, 2]])
    _, gradient = engine.input_gradient(model, lambda x: ops.sum(model(x)), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(gradient), [[0.01, 0.01, 0.01, 1]])


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 3, 5)])
def test_batch_norm_against_numpy(shape: tuple[int, ...]):
    layer = BatchNormalization(momentum=0.81, epsilon=1e-5, dtype="float64")
    layer.build(shape)
    rng = np.random.default_rng(0)
    scale, offset = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    layer.gamma.assign(scale)
    layer.beta.assign(offset)
    mean, variance = np.zeros(shape[-1]), np.ones(shape[-1])
    for _ in range(3):
        x = 2 + rng.normal(size=shape)
        flat = x.reshape(-1, shape[-1])
        wanted = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5) * scale + offset
        outputs = ops.convert_to_numpy(layer(x, training=True))
        np.testing.assert_allclose(outputs, wanted, rtol=1e-12, atol=1e-13)
        mean = 0.81 * mean + 0.19 * flat.mean(0)
        variance = 0.81 * variance + 0.19 * flat.var(0, ddof=1)  # n / (n - 1)
    found = ops.convert_to_numpy(layer.moving_mean), ops.convert_to_numpy(layer.moving_variance)
    np.testing.assert_allclose(found[0], mean, rtol=1e-14)
    np.testing.assert_allclose(found[1], variance, rtol=1e-14)
    x = rng.normal(size=shape)
    wanted = (x - mean) / np.sqrt(variance + 1e-5) * scale + offset
    outputs = ops.convert_to_numpy(layer(x, training=False))
    np.testing.assert_allclose(outputs, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.5, 0.999), (0.0, 0.9)])
def test_adam_against_numpy(beta1: float, beta2: float):
    rng = np.random.default_rng(0)
    value, m, v = rng.normal(size=(4, 3)), np.zeros((4, 3)), np.zeros((4, 3))
    variable = keras.Variable(value, dtype="float64")
    optimizer = Adam(3e-4, beta1, beta2, epsilon=1e-8)
    optimizer.build([variable])
    for step in range(1, 8):
        size = 10.0 ** rng.integers(-9, 2, (4, 3))  # some are small beside epsilon
        g = size * rng.normal(size=(4, 3))
        with engine.no_gradients():
            optimizer.apply([ops.convert_to_tensor(g)])
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        corrected = np.sqrt(v / (1 - beta2**step)) + 1e-8
        value = value - 3e-4 / (1 - beta1**step) * m / corrected
        first, second = (ops.convert_to_numpy(x) for x in optimizer.moments(variable))
        np.testing.assert_allclose(ops.convert_to_numpy(variable), value, rtol=1e-14)
        assert np.linalg.norm(first - m) <= 1e-14 * np.linalg.norm(m)
        assert np.linalg.norm(second - v) <= 1e-14 * np.linalg.norm(v)


def test_dense_layers_by_an_engines_kernel_are_keras_own():
    """In float32: the outputs, and gradients of gradients, as R1 takes them."""
    random = np.random.default_rng(0)
    x = ops.convert_to_tensor(random.uniform(-1, 1, (8, 96)).astype("float32"))
    weights = [random.uniform(-0.2, 0.2, shape) for shape in ((96, 40), (40,), (40, 1), (1,))]

    def derivatives(network: keras.Model) -> list[np.ndarray]:
        def squares(v: Any) -> Any:
            return ops.sum(ops.square(network(v)))

        def objective() -> tuple[Any, Any]:
            loss, gradient = engine.input_gradient(network, squares, x)
            return loss + ops.sum(ops.square(gradient)), None

        loss, _, gradients = engine.gradients(network, objective)
        return [ops.convert_to_numpy(value) for value in (loss, *gradients)]

    found = []
    for prefer in (lambda network: None, prefer_speed):
        layers = [keras.layers.Dense(40, dtype="float32"), keras.layers.Dense(1, dtype="float32")]
        network = keras.Sequential([keras.Input((96,), dtype="float32"), *layers])
        network.set_weights(weights)
        prefer(network)
        found.append(derivatives(network))
    for fast, own in zip(*found, strict=True):
        assert np.linalg.norm(fast - own) <= 1e-5 * np.linalg.norm(own)


def test_float64_layers_compute_in_float64():
    """On torch and jax Keras turns float64 to float32 unless it is kept from it."""
    x = np.random.default_rng(0).normal(size=(3, 28, 28, 1))
    model = Discriminator("float64")
    kernel = ops.convert_to_numpy(model.get_layer("conv1").kernel)
    bias = ops.convert_to_numpy(model.get_layer("conv1").bias)
    outputs = model.get_layer("conv1")(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float64"
    wanted = np.einsum("nhwij,ijo->nhwo", _patches(x[..., 0]), kernel[:, :, 0]) + bias
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), wanted, rtol=1e-12, atol=1e-13)


def _patches(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (5, 5), (1, 2))


def test_bfloat16_keeps_weights_and_statistics_in_float32(make_state: Callable):
    state = make_state(precision="bfloat16")
    dtypes = {variable.dtype for variable in canonical_tensors(state).values()}
    assert dtypes == {"float32"}
    logits = state.discriminator(np.zeros((2, 28, 28, 1), np.float32))
    assert keras.backend.standardize_dtype(logits.dtype) == "bfloat16"


def test_adams_first_updates_in_float32():
    """The betas of a fused kernel are float32: the bias correction must be theirs, not 0.999's."""
    gradient = np.linspace(1e-4, 1, 101)
    x = keras.Variable(np.zeros(101), dtype="float32")
    optimizer = Adam(3e-4, 0.5, 0.999, epsilon=1e-8)
    optimizer.build([x])
    for _ in range(3):  # a constant gradient: both corrected moments are the gradient's
        with engine.no_gradients():
            optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))])
    expected = -3 * 3e-4 * gradient / (gradient + 1e-8)
    found = ops.convert_to_numpy(x.value)
    assert np.linalg.norm(found - expected) < 3e-7 * np.linalg.norm(expected)


def test_one_image_in_training_mode_has_its_shape():
    assert tuple(Generator()(np.zeros((1, 96)), training=True).shape) == (1, 28, 28, 1)
