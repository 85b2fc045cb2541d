"""fit(), and --compile where the engine has no compiler. Runs on every engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from common.config import Config, UserError, to_json
from keras_impl import backend, load_engine
from keras_impl.model import DCGAN, Batches
from tests.conftest import ROOT

engine = load_engine()


@pytest.mark.recompiles
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


FRESH = """
import json, sys
from common.config import Config
from keras_impl import device
from keras_impl.model import Batches
from tests.engine.conftest import Pictures
import keras

config = Config(**json.loads(sys.argv[2]))
device.prepare(config)
model = keras.saving.load_model(sys.argv[1])
history = model.fit(Batches(Pictures(), config, 3), shuffle=False, verbose=0).history
print(json.dumps([history["d_loss"], history["g_loss"]]))
"""


@pytest.mark.slow
def test_a_model_is_saved_whole_and_goes_on_in_a_fresh_process(
    dataset: object, config: Config, make_state: Callable, tmp_path: Path
):
    """By hand and by ModelCheckpoint; the other stock callbacks work beside it."""
    state = make_state()
    model = DCGAN(state.discriminator, state.generator)
    model.compile(state.d_optimizer, state.g_optimizer)
    by_loss = {"monitor": "d_loss", "mode": "min"}
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "kept.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "kept.weights.h5", save_weights_only=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping(patience=9, **by_loss),
        keras.callbacks.ReduceLROnPlateau(patience=9, **by_loss),
        keras.callbacks.TensorBoard(tmp_path / "tensorboard"),
        keras.callbacks.TerminateOnNaN(),
    ]
    fit = {"shuffle": False, "verbose": 0}
    model.fit(Batches(dataset, replace(config, steps=3)), callbacks=callbacks, **fit)
    model.save(tmp_path / "model.keras")
    assert list((tmp_path / "tensorboard").rglob("events.*"))
    longer = replace(config, steps=6)
    history = model.fit(Batches(dataset, longer, 3), **fit).history
    for name in ("model.keras", "kept.keras"):
        arguments = [str(tmp_path / name), json.dumps(to_json(longer))]
        done = subprocess.run(
            [sys.executable, "-c", FRESH, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        again = json.loads(done.stdout.splitlines()[-1])
        np.testing.assert_allclose(again, [history["d_loss"], history["g_loss"]], rtol=1e-12)


EXPORT = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from common.config import Config
from keras_impl import device
device.prepare(Config(device="cpu"))
import keras
from keras_impl.model import DCGAN
from keras_impl.networks import Discriminator, Generator

model, out = DCGAN(Discriminator(), Generator()), sys.argv[1]
z = np.random.default_rng(0).uniform(-1, 1, (3, 96)).astype("float32")
if keras.backend.backend() == "torch":  # its engine's format, of one image; no other works there
    import torch
    z = z[:1]
    model.export(f"{out}/generator.pt2", format="torch", verbose=False)
    served = torch.export.load(f"{out}/generator.pt2").module()(torch.from_numpy(z)).detach()
else:
    import tensorflow as tf
    model.export(f"{out}/generator", verbose=False)
    loaded = tf.saved_model.load(f"{out}/generator")
    served = loaded.serve(z)
ours = keras.ops.convert_to_numpy(model(z, training=False))
np.testing.assert_allclose(served.numpy(), ours, rtol=0, atol=1e-5)
"""


@pytest.mark.slow
def test_a_model_exports_its_generator(tmp_path: Path):
    subprocess.run([sys.executable, "-c", EXPORT, str(tmp_path)], check=True, cwd=ROOT)
