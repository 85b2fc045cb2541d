"""Layers against numpy, ties included, and the fast kernels against the stock ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from common import architecture
from common.config import Config
from tensorflow_impl import dcgan, kernels, layers
from tensorflow_impl.architectures import make_discriminator, make_generator
from tensorflow_impl.networks import Conv, ConvTranspose, Discriminator, Generator


def gradient(f: Callable[..., tf.Tensor], x: tf.Tensor, upstream: tf.Tensor) -> np.ndarray:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    return tape.gradient(y, x, output_gradients=upstream).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("jit", [False, True])
def test_leaky_relu_at_ties(dtype: str, jit: bool) -> None:
    f = tf.function(lambda x: layers.leaky_relu(x, 0.01), jit_compile=jit, autograph=False)
    x = np.array([-2, -1e-30, -0.0, 0.0, 1e-30, 3], dtype)
    slope = np.array(0.01, dtype)  # not float32's 0.01 in a float64 run
    np.testing.assert_array_equal(f(tf.constant(x)), np.where(x > 0, x, slope * x))
    found = gradient(f, tf.constant(x), tf.ones(6, dtype))
    np.testing.assert_array_equal(found, np.where(x > 0, np.array(1, dtype), slope))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_pool_gives_the_gradient_to_the_first_maximum(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (4, 8, 6, 5)).astype(dtype)  # many ties
    upstream = rng.standard_normal((4, 4, 3, 5)).astype(dtype)
    wanted = np.zeros_like(x)
    for n, i, j, c in np.ndindex(upstream.shape):
        block = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        a, b = np.unravel_index(block.argmax(), (2, 2))
        wanted[n, 2 * i + a, 2 * j + b, c] = upstream[n, i, j, c]
    f = tf.function(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), autograph=False)
    np.testing.assert_array_equal(gradient(f, tf.constant(x), tf.constant(upstream)), wanted)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 3, 5)])
def test_batch_norm_is_the_definition(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = 3 + 2 * rng.standard_normal(shape)
    norm = layers.BatchNorm(5, momentum=0.19, dtype=tf.float64)
    values = {name: rng.random(5) + 0.5 for name in ("scale", "offset")}
    values |= {name: rng.random(5) + 0.5 for name in ("moving_mean", "moving_variance")}
    for name, value in values.items():
        getattr(norm, name).assign(value)
    axis = tuple(range(len(shape) - 1))
    mean, biased, unbiased = x.mean(axis), x.var(axis), x.var(axis, ddof=1)
    y = (x - mean) / np.sqrt(biased + 1e-5) * values["scale"] + values["offset"]
    np.testing.assert_allclose(norm(tf.constant(x), training=True), y, rtol=1e-12, atol=1e-13)
    moved_mean = 0.81 * values["moving_mean"] + 0.19 * mean
    moved_variance = 0.81 * values["moving_variance"] + 0.19 * unbiased
    np.testing.assert_allclose(norm.moving_mean, moved_mean, rtol=1e-14)
    np.testing.assert_allclose(norm.moving_variance, moved_variance, rtol=1e-14)
    before = norm.moving_mean.numpy()
    y = (x - moved_mean) / np.sqrt(moved_variance + 1e-5) * values["scale"] + values["offset"]
    np.testing.assert_allclose(norm(tf.constant(x), training=False), y, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(norm.moving_mean, before)  # evaluation moves nothing


def test_batch_norm_of_bfloat16_has_float32_statistics() -> None:
    """A mean of 4096 values near 300: bfloat16 sums would stop growing long before the last."""
    x = tf.cast(300 + 2 * np.random.default_rng(0).standard_normal((4096, 3)), tf.bfloat16)
    norm = layers.BatchNorm(3, momentum=1.0, dtype=tf.float32)
    assert norm(x, training=True).dtype == tf.bfloat16
    wide = tf.cast(x, tf.float64).numpy()
    np.testing.assert_allclose(norm.moving_mean, wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, wide.var(0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_fast_image_gradient(channels: int) -> None:
    rng = np.random.default_rng(2)
    conv = Conv(channels, 8, 5, tf.float64)
    conv.kernel.assign(rng.standard_normal(conv.kernel.shape))
    conv.bias.assign(rng.standard_normal(8))
    x = tf.constant(rng.standard_normal((2, 28, 20, channels)))
    upstream = tf.constant(rng.standard_normal((2, 24, 16, 8)))
    results = []
    for fast in (False, True):
        if fast:
            holder = tf.Module()
            holder.conv = conv
            kernels.prefer_speed(holder)
            assert conv.convolve is kernels.conv_from_image
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = conv(x)
        results.append([y, *tape.gradient(y, [x, conv.kernel, conv.bias], upstream)])
    for stock, fast in zip(*results, strict=True):
        np.testing.assert_allclose(fast, stock, rtol=1e-12, atol=1e-12)


def test_deconvolution_is_pytorchs_padding_one() -> None:
    """One pixel at (1, 1) puts the kernel's first element at (2 * 1 - 1, 2 * 1 - 1)."""
    deconv = ConvTranspose(1, 1, tf.float64)
    kernel = np.arange(1.0, 17).reshape(4, 4)
    deconv.kernel.assign(kernel[..., None, None])
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1, 0] = 1
    wanted = np.zeros((6, 6))
    wanted[1:5, 1:5] = kernel
    np.testing.assert_array_equal(deconv(tf.constant(x))[0, ..., 0], wanted)


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


def test_bfloat16_goes_through() -> None:
    D, G = Discriminator(), Generator()
    for n, training in ((1, False), (5, False), (5, True)):
        images = G(tf.zeros((n, 96), tf.bfloat16), training=training)
        assert (images.shape, images.dtype) == ((n, 28, 28, 1), tf.bfloat16)
        logits = D(images)
        assert (logits.shape, logits.dtype) == ((n, 1), tf.bfloat16)


def test_one_image_in_training_mode_has_its_shape() -> None:
    assert Generator()(tf.zeros((1, 96)), training=True).shape == (1, 28, 28, 1)


def test_intermediate_shapes_are_those_of_the_table() -> None:
    D, G = Discriminator(), Generator()
    x = tf.zeros((2, 28, 28, 1))
    table = {layer.name: layer.output_shape for layer in architecture.get("mnist28", 96).generator}
    assert D.conv1(x).shape[1:] == (24, 24, 32)
    assert D.conv2(tf.zeros((2, 12, 12, 32))).shape[1:] == (8, 8, 64)
    assert G.deconv1(tf.zeros((2, 7, 7, 128))).shape[1:] == table["deconv1"]
    assert G.deconv2(tf.zeros((2, 14, 14, 64))).shape[1:] == table["deconv2"]


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (32, 3), (64, 3), (128, 1)])
def test_the_papers_intermediate_shapes_are_those_of_the_table(
    size: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: dict[int, tuple[int, ...]] = {}
    for kind in (dcgan.Conv, dcgan.ConvTranspose, layers.BatchNorm):

        def call(self: tf.Module, *x: object, plain: Callable = kind.__call__) -> tf.Tensor:
            y = plain(self, *x)
            shapes[id(self)] = tuple(y.shape[1:])
            return y

        monkeypatch.setattr(kind, "__call__", call)
    table = architecture.dcgan(20, size, channels, width=4)
    D, G = make_discriminator(table), make_generator(table)
    assert D(tf.zeros((2, *table.image_shape)), training=True).shape[1:] == (1,)
    assert G(tf.zeros((2, 20)), training=True).shape[1:] == table.image_shape
    for network, rows in ((D, table.discriminator), (G, table.generator)):
        for layer in rows:
            if layer.parameters:
                assert shapes[id(getattr(network, layer.name))] == layer.output_shape, layer.name
