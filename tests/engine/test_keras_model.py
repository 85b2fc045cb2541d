"""fit(), and --compile where the engine has no compiler. Runs on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import pytest

from common.config import Config, UserError
from keras_impl import backend, load_engine
from keras_impl.model import DCGAN, Batches

engine = load_engine()


def test_fit_is_the_same_training(
    dataset: object,
    config: Config,
    make_state: Callable,
    lend_state: Callable,
    advance: Callable,
    assert_close: Callable,
):
    config = replace(config, steps=6)
    chunked = lend_state()
    metrics = advance(chunked, 6)
    state = make_state()
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
    assert_close(backend.to_canonical(state), backend.to_canonical(chunked), 1e-12)
    assert len(seen) == 6
    means = [history.history[name][0] for name in ("d_loss", "g_loss", "d_real", "d_fake")]
    np.testing.assert_allclose(means, metrics.mean(0), rtol=1e-10)
    images = model.predict(np.zeros((3, 96)), verbose=0)
    np.testing.assert_allclose(
        images, backend.generate(chunked, np.zeros((3, 96), np.float32)), rtol=1e-10
    )


def test_compile_is_refused_where_the_engine_cannot(make_state: Callable):
    state = make_state()
    if engine.CAN_JIT:
        backend.compile_step(state)
        assert state.jit
    else:
        with pytest.raises(UserError, match="--compile"):
            backend.compile_step(state)
