"""Steps, canonical arrays and the fit() path. Runs on every engine."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from common import checkpoint
from common.config import Config, UserError
from keras_impl import load_engine
from keras_impl import state as states
from keras_impl import step as steps
from keras_impl.model import DCGAN, Batches

engine = load_engine()


def test_canonical_round_trip_is_bit_for_bit(
    config: Config, make_state: Callable, assert_close: Callable
):
    rng = np.random.default_rng(0)
    arrays = {
        name: np.array(7) if not shape else rng.random(shape)
        for name, (shape, _) in checkpoint.expected(config).items()
    }
    state = make_state(config, arrays)
    back = states.to_canonical(state)
    checkpoint.check(back, config)
    assert_close(back, arrays, 0)
    assert state.step == 7
    assert int(state.g_optimizer.iterations.value) == 7


def test_resume_and_chunks_change_nothing(
    config: Config, make_state: Callable, advance: Callable, assert_close: Callable
):
    whole = make_state(config)
    metrics = advance(whole, 6)
    assert metrics.shape == (6, 4)
    assert metrics.dtype == np.float64
    first = make_state(config)
    rows = [advance(first, 1), advance(first, 2)]
    second = make_state(config, states.to_canonical(first))
    rows.append(advance(second, 3))
    np.testing.assert_array_equal(np.concatenate(rows), metrics)
    arrays = states.to_canonical(second)
    checkpoint.check(arrays, config)
    assert int(arrays["step"]) == int(arrays["optimizer/generator/count"]) == 6
    assert_close(arrays, states.to_canonical(whole), 0)


def test_chunk_lengths_move_no_bit(
    config: Config, make_state: Callable, advance: Callable, assert_close: Callable
):
    state = make_state(config)
    start = states.to_canonical(state)
    metrics, arrays = advance(state, 7), states.to_canonical(state)
    for length in (1, 2, 3):
        states.from_canonical(state, start)
        rows = [advance(state, min(length, 7 - first)) for first in range(0, 7, length)]
        np.testing.assert_array_equal(np.concatenate(rows), metrics)
        assert_close(states.to_canonical(state), arrays, 0)


@pytest.mark.parametrize("looped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_step_is_the_same_function(
    config: Config, make_state: Callable, advance: Callable, assert_close: Callable, looped: bool
):
    """looped: K steps in one dispatch, as on a GPU, run here on the processor."""
    if not engine.CAN_JIT or (engine.ALWAYS_JIT and not looped):
        pytest.skip("there is nothing else to compare with")
    plain, compiled = make_state(config), make_state(config)
    if looped:
        compiled.device = compiled.device.upper()  # the processor, by a name not taken for it
    steps.compile_step(compiled)
    for length in (2, 1):
        np.testing.assert_allclose(advance(compiled, length), advance(plain, length), rtol=1e-10)
    assert_close(states.to_canonical(compiled), states.to_canonical(plain), 1e-10)


def test_fit_is_the_same_training(
    dataset: object, config: Config, make_state: Callable, advance: Callable, assert_close: Callable
):
    chunked = make_state(config)
    metrics = advance(chunked, 6)
    state = make_state(config)
    model = DCGAN(state.discriminator, state.generator)
    model.compile(state.d_optimizer, state.g_optimizer)
    seen: list[dict[str, float]] = []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda i, logs: seen.append(logs))
    keep_rate = keras.callbacks.LearningRateScheduler(lambda epoch, rate: config.learning_rate)
    history = model.fit(
        Batches(dataset, config),
        shuffle=False,
        verbose=0,
        callbacks=[record, keep_rate, keras.callbacks.TerminateOnNaN()],
    )
    state.step = 6
    assert_close(states.to_canonical(state), states.to_canonical(chunked), 1e-12)
    assert len(seen) == 6
    means = [history.history[name][0] for name in ("d_loss", "g_loss", "d_real", "d_fake")]
    np.testing.assert_allclose(means, metrics.mean(0), rtol=1e-10)
    images = model.predict(np.zeros((3, 96)), verbose=0)
    np.testing.assert_allclose(
        images, steps.generate(chunked, np.zeros((3, 96), np.float32)), rtol=1e-10
    )


def test_generate_is_in_evaluation_mode(config: Config, make_state: Callable, advance: Callable):
    state = make_state(config)
    advance(state, 1)
    noise = np.random.default_rng(0).random((4, 96), np.float32)
    before = states.to_canonical(state)
    together = steps.generate(state, noise)
    alone = np.concatenate([steps.generate(state, noise[i : i + 1]) for i in range(4)])
    assert together.shape == (4, 28, 28, 1)
    np.testing.assert_allclose(together, alone, rtol=1e-10, atol=1e-13)
    for name, array in states.to_canonical(state).items():
        np.testing.assert_array_equal(array, before[name])


def test_float32_starts_like_float64(config: Config, make_state: Callable, advance: Callable):
    from dataclasses import replace

    exact = advance(make_state(config), 1)
    for precision, bound in (("float32", 1e-5), ("bfloat16", 3e-2)):
        metrics = advance(make_state(replace(config, precision=precision)), 1)
        assert metrics.dtype == np.float32
        np.testing.assert_allclose(metrics, exact, rtol=bound)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device: str):
    if engine.choose_device("auto", "float32").startswith({"cuda": "gpu", "mps": "mps"}[device]):
        pytest.skip("it is there")
    with pytest.raises(UserError, match=f"--device {device} is not available"):
        states.choose_device(Config(device=device))


def test_describe_names_the_engine():
    assert states.describe(states.choose_device(Config(device="cpu"))) == (
        f"CPU, keras on {keras.backend.backend()}"
    )


def test_compile_is_refused_where_the_engine_cannot(config: Config, make_state: Callable):
    state = make_state(config)
    if engine.CAN_JIT:
        steps.compile_step(state)
        assert state.jit
    else:
        with pytest.raises(UserError, match="--compile"):
            steps.compile_step(state)
