"""The step against the published loop written out plainly, and against itself in other cuts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from common import batches, checkpoint
from common.config import Config, hyperparameters
from tensorflow_impl import state as states
from tensorflow_impl import step as steps

BATCH, NOISE = 16, 96


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (K, B, 28, 28, 1) that look a little like digits, and noise (K, B, Z)."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (count, BATCH, 28, 28, 1), np.uint8)
    images[:, :, :6] = images[:, :, -6:] = 0
    noise = np.stack([batches.noise(0, step, BATCH, NOISE) for step in range(count)])
    return images, noise


def fresh(**changes: object) -> states.TrainState:
    config = Config(batch_size=BATCH, device="cpu", **changes)  # type: ignore[arg-type]
    state = states.TrainState(config)
    states.from_canonical(state, checkpoint.initial(config))
    return state


def difference(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / norm if norm else float(np.abs(a).max())


class Published:
    """The tutorial's loop with plain operations on tensors: no layer or optimizer of ours."""

    def __init__(self, arrays: checkpoint.Arrays) -> None:
        self.w = {n: tf.Variable(a) for n, a in arrays.items() if "optimizer" not in n}
        self.trained = {
            network: [n for n in self.w if n.startswith(network) and "moving" not in n]
            for network in ("discriminator", "generator")
        }
        self.m = {n: tf.Variable(tf.zeros_like(v)) for n, v in self.w.items() if "/" in n}
        self.v = {n: tf.Variable(tf.zeros_like(v)) for n, v in self.w.items() if "/" in n}

    def discriminator(self, x: tf.Tensor) -> tf.Tensor:
        def affine(x: tf.Tensor, layer: str) -> tf.Tensor:
            kernel = self.w[f"discriminator/{layer}/kernel"]
            conv = layer.startswith("conv")
            y = tf.nn.conv2d(x, kernel, 1, "VALID") if conv else x @ kernel
            return y + self.w[f"discriminator/{layer}/bias"]

        def leaky(x: tf.Tensor) -> tf.Tensor:
            return tf.where(x > 0, x, tf.constant(0.01, tf.float64) * x)

        for layer in ("conv1", "conv2"):  # LeakyReLU, then pooling, as published
            x = tf.nn.max_pool2d(leaky(affine(x, layer)), 2, 2, "VALID")
        x = leaky(affine(tf.reshape(x, (-1, 1024)), "dense1"))
        return affine(x, "dense2")

    def generator(self, z: tf.Tensor) -> tf.Tensor:
        def p(name: str) -> tf.Variable:
            return self.w[f"generator/{name}"]

        def norm(x: tf.Tensor, layer: str) -> tf.Tensor:
            mean, variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
            n = float(np.prod(x.shape[:-1]))
            tenth = tf.constant(0.1, tf.float64)
            for name, new in (("moving_mean", mean), ("moving_variance", variance * n / (n - 1))):
                old = p(f"{layer}/{name}")
                old.assign((1 - tenth) * old + tenth * new)
            y = (x - mean) / tf.sqrt(variance + 1e-5)
            return y * p(f"{layer}/scale") + p(f"{layer}/offset")

        x = norm(tf.nn.relu(z @ p("dense1/kernel") + p("dense1/bias")), "norm1")
        x = norm(tf.nn.relu(x @ p("dense2/kernel") + p("dense2/bias")), "norm2")
        x = tf.reshape(x, (-1, 7, 7, 128))
        for layer, size, channels in (("deconv1", 14, 64), ("deconv2", 28, 1)):
            shape = (len(z), size, size, channels)
            x = tf.nn.conv2d_transpose(x, p(f"{layer}/kernel"), shape, 2) + p(f"{layer}/bias")
            x = norm(tf.nn.relu(x), "norm3") if layer == "deconv1" else tf.tanh(x)
        return x

    def update(self, network: str, tape: tf.GradientTape, loss: tf.Tensor, t: int) -> None:
        """Adam as the paper writes it, on the gradients of everything that the loss reached."""
        gradients = dict(zip(self.w, tape.gradient(loss, list(self.w.values())), strict=True))
        for name in self.trained[network]:
            g, m, v = gradients[name], self.m[name], self.v[name]
            m.assign(0.5 * m + 0.5 * g)
            beta2 = tf.constant(0.999, tf.float64)
            v.assign(beta2 * v + (1 - beta2) * g * g)
            corrected = tf.sqrt(v / (1 - beta2**t)) + tf.constant(1e-8, tf.float64)
            rate = tf.constant(3e-4, tf.float64)
            self.w[name].assign_sub(
                rate * (m / (1 - tf.constant(0.5, tf.float64) ** t)) / corrected
            )

    def step(self, images: np.ndarray, noise: np.ndarray, t: int) -> tuple[float, float]:
        def bce(logits: tf.Tensor, label: float) -> tf.Tensor:
            labels = label * tf.ones_like(logits)
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))

        real, z = tf.constant(images / 127.5 - 1), tf.constant(noise.astype(np.float64))
        with tf.GradientTape() as tape:
            fake = self.generator(z)
            d_loss = bce(self.discriminator(real), 1.0) + bce(self.discriminator(fake), 0.0)
        self.update("discriminator", tape, d_loss, t)
        with tf.GradientTape() as tape:
            g_loss = bce(self.discriminator(self.generator(z)), 1.0)
        self.update("generator", tape, g_loss, t)
        return float(d_loss), float(g_loss)


def test_same_as_the_published_loop() -> None:
    """G run twice, full backward passes, running statistics moved twice with momentum 0.1."""
    images, noise = inputs(20)
    ours = fresh(precision="float64")
    published = Published(states.to_canonical(ours))
    losses = steps.train_chunk(ours, images, noise)
    for i in range(20):
        wanted = published.step(images[i], noise[i], i + 1)
        np.testing.assert_allclose(losses[i, :2], wanted, rtol=1e-12)
    found = states.to_canonical(ours)
    for name, value in published.w.items():
        if "/" in name:
            assert difference(found[name], value.numpy()) < 1e-12, name
    for name in itertools.chain(*published.trained.values()):
        for moment, values in (("first", published.m), ("second", published.v)):
            key = f"optimizer/{name}/{moment}_moment"
            assert difference(found[key], values[name].numpy()) < 1e-12, key
    assert found["optimizer/generator/count"] == found["step"] == 20


def test_metrics_are_those_of_ds_update() -> None:
    images, noise = inputs(1)
    state = fresh()
    real = steps.scale_images(tf.constant(images[0]), tf.float32)
    fake = state.generator(tf.constant(noise[0]), training=True)
    d_real = tf.reduce_mean(tf.sigmoid(state.discriminator(real)))
    d_fake = tf.reduce_mean(tf.sigmoid(state.discriminator(fake)))
    metrics = steps.train_chunk(fresh(), images, noise)
    assert metrics.shape == (1, 4)
    np.testing.assert_allclose(metrics[0, 2:], [d_real, d_fake], rtol=1e-6)


def test_images_are_scaled_exactly() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    scaled = steps.scale_images(tf.constant(values), tf.float64).numpy()
    np.testing.assert_array_equal(scaled, values / 127.5 - 1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16"},
        {"precision": "float64"},
        {"precision": "float64", "recipe": "tuned"},
    ],
    ids=str,
)
def test_cuts_and_resumes_move_no_bit(changes: dict[str, object]) -> None:
    images, noise = inputs(6)
    whole = fresh(**changes)
    metrics = steps.train_chunk(whole, images, noise)
    first = fresh(**changes)
    a = steps.train_chunk(first, images[:3], noise[:3])
    second = fresh(**changes)
    states.from_canonical(second, states.to_canonical(first))
    b = steps.train_chunk(second, images[3:5], noise[3:5])
    c = steps.train_chunk(second, images[5:], noise[5:])
    np.testing.assert_array_equal(np.concatenate([a, b, c]), metrics)
    wanted, found = states.to_canonical(whole), states.to_canonical(second)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_one_trace_serves_all_chunks() -> None:
    state = fresh()
    for count in (1, 3, 2):
        steps.train_chunk(state, *inputs(count))
    assert state.graph is not None
    assert state.graph.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]


def test_the_averaged_generator_draws_the_samples() -> None:
    state, noise = fresh(recipe="tuned"), batches.shown_noise(0, 4, NOISE)
    steps.train_chunk(state, *inputs(3))
    images = steps.generate(state, noise)
    drawn = checkpoint.averaged(states.to_canonical(state))
    plain = fresh()
    states.from_canonical(plain, drawn)
    np.testing.assert_array_equal(steps.generate(plain, noise), images)
    states.from_canonical(plain, states.to_canonical(state))
    assert np.abs(steps.generate(plain, noise) - images).max() > 1e-3


@pytest.mark.parametrize("recipe", ["published", "tuned"])
def test_eager_step_is_the_graphs(recipe: str) -> None:
    images, noise = inputs(2)
    metrics = steps.train_chunk(fresh(precision="float64", recipe=recipe), images, noise)
    state = fresh(precision="float64", recipe=recipe)
    for i in range(2):
        batch = tf.constant(images[i]), tf.constant(noise[i])
        eager = steps.train_step(state, *batch, hyperparameters(state.config, i))
        np.testing.assert_allclose(eager, metrics[i], rtol=1e-12)


@pytest.mark.parametrize("recipe", ["published", "tuned"])
def test_the_loop_of_a_gpu_gives_the_same(recipe: str) -> None:
    """K steps in one dispatch, run here on the processor: same order, same numbers."""
    images, noise = inputs(4)
    plain, looped = (
        fresh(precision="float64", recipe=recipe, learning_rate=1e-4) for _ in range(2)
    )
    wanted = steps.train_chunk(plain, images, noise)
    looped.device = "/device:CPU:0"  # the processor, by a name that is not states.CPU
    found = [steps.train_chunk(looped, images[i:j], noise[i:j]) for i, j in ((0, 3), (3, 4))]
    np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-12)
    a, b = states.to_canonical(plain), states.to_canonical(looped)
    for name in a:
        assert difference(b[name], a[name]) < 1e-12, name


@pytest.mark.parametrize("looped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_step_is_the_same_function(looped: bool) -> None:
    images, noise = inputs(3)
    plain, compiled = fresh(precision="float64"), fresh(precision="float64")
    wanted = steps.train_chunk(plain, images, noise)
    if looped:
        compiled.device = "/device:CPU:0"
    steps.compile_step(compiled)
    found = [steps.train_chunk(compiled, images[i:j], noise[i:j]) for i, j in ((0, 2), (2, 3))]
    np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-10)
    a, b = states.to_canonical(plain), states.to_canonical(compiled)
    for name in a:
        assert difference(b[name], a[name]) < 1e-10, name


def test_bfloat16_is_kept_out_of_the_state() -> None:
    images, noise = inputs(2)
    state = fresh(precision="bfloat16")
    metrics = steps.train_chunk(state, images, noise)
    assert metrics.dtype == np.float32
    for name, tensor in states.canonical_tensors(state).items():
        assert tensor.dtype == tf.float32, name
    exact = steps.train_chunk(fresh(), images, noise)
    assert not np.array_equal(metrics, exact)  # it did compute in bfloat16 ...
    np.testing.assert_allclose(metrics, exact, rtol=0.1)  # ... which has 8 bits


def test_generate_does_not_depend_on_batch_mates_or_move_statistics() -> None:
    state = fresh()
    steps.train_chunk(state, *inputs(2))
    before = states.to_canonical(state)
    noise = batches.shown_noise(0, 16, NOISE)
    whole = steps.generate(state, noise)
    assert whole.shape == (16, 28, 28, 1)
    np.testing.assert_allclose(steps.generate(state, noise[3:4])[0], whole[3], atol=1e-6)
    after = states.to_canonical(state)
    assert all(np.array_equal(before[name], after[name]) for name in before)
