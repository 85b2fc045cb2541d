"""Keras's own files, written, read back, and refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from common import checkpoint
from common.config import Config, UserError
from keras_impl import convert
from keras_impl import state as states
from keras_impl import step as steps


@pytest.fixture(scope="module")
def saved(make_state: Callable, advance: Callable) -> checkpoint.Checkpoint:
    """A checkpoint of two steps, with running statistics of its own."""
    config = Config(device="cpu", batch_size=8, train_images=64, steps=2, noise_size=20)
    state = make_state(config)
    advance(state, 2)
    return checkpoint.Checkpoint(states.to_canonical(state), config, 2, "keras", {})


NOISE = np.random.default_rng(0).uniform(-1, 1, (3, 20)).astype(np.float32)


def test_a_keras_file_runs_in_a_fresh_process(
    saved: checkpoint.Checkpoint, make_state: Callable, tmp_path: Path
):
    convert.export_model(saved, "generator", tmp_path / "g.keras")
    np.save(tmp_path / "noise.npy", NOISE)
    program = (
        "import sys, numpy as np, keras_impl.layers, keras\n"
        "model = keras.saving.load_model(sys.argv[1] + '/g.keras')\n"
        "images = model(np.load(sys.argv[1] + '/noise.npy'), training=False)\n"
        "np.save(sys.argv[1] + '/images.npy', keras.ops.convert_to_numpy(images))\n"
        "assert abs(model.get_layer('norm1').momentum - 0.81) < 1e-15\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    state = make_state(saved.config, saved.arrays)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), steps.generate(state, NOISE))


@pytest.mark.parametrize("network", ["generator", "discriminator"])
@pytest.mark.parametrize("name", ["x.keras", "x.weights.h5"])
def test_round_trip_is_bit_for_bit(
    saved: checkpoint.Checkpoint, tmp_path: Path, network: str, name: str
):
    export, read = (
        (convert.export_model, convert.import_model)
        if name.endswith(".keras")
        else (convert.export_weights, convert.import_weights)
    )
    export(saved, network, tmp_path / name)
    back = read(network, tmp_path / name)
    wanted = {k for k in saved.arrays if k.startswith(network)}
    assert back.keys() == wanted
    for key in wanted:
        np.testing.assert_array_equal(back[key], saved.arrays[key])


def test_weights_load_into_a_fresh_network(saved: checkpoint.Checkpoint, tmp_path: Path):
    from keras_impl.networks import Discriminator

    convert.export_weights(saved, "discriminator", tmp_path / "d.weights.h5")
    model = Discriminator("float32")
    model.load_weights(tmp_path / "d.weights.h5")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model.get_layer("conv2").kernel.value),
        saved.arrays["discriminator/conv2/kernel"],
    )


def test_optimizer_round_trip():
    from keras_impl.layers import Adam

    optimizer = Adam(3e-4, 0.5, 0.999, epsilon=1e-8)
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(back) is Adam
    assert (back.beta_1, back.beta_2, back.epsilon) == (0.5, 0.999, 1e-8)


def test_the_wrong_network_is_named(saved: checkpoint.Checkpoint, tmp_path: Path):
    convert.export_weights(saved, "discriminator", tmp_path / "d.weights.h5")
    with pytest.raises(UserError, match="it is no generator of this architecture"):
        convert.import_weights("generator", tmp_path / "d.weights.h5")


def test_the_first_mismatch_is_named(tmp_path: Path):
    from keras.layers import Conv2D, Dense, Flatten

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            Conv2D(32, 5),
            Conv2D(48, 5),
            Flatten(),
            Dense(8),
            Dense(1),
        ]
    )
    model.save(tmp_path / "d.keras")
    with pytest.raises(UserError, match=r"conv2/kernel.*\(5, 5, 32, 48\), not \(5, 5, 32, 64\)"):
        convert.import_model("discriminator", tmp_path / "d.keras")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04" + bytes(60)])
def test_bad_files(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.keras"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as a \.keras file"):
        convert.import_model("generator", path)
    with pytest.raises(UserError, match="cannot be read as Keras's weights"):
        convert.import_weights("generator", path)


def test_a_cut_file(saved: checkpoint.Checkpoint, tmp_path: Path):
    path = tmp_path / "x.weights.h5"
    convert.export_weights(saved, "generator", path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="cannot be read as Keras's weights"):
        convert.import_weights("generator", path)


def test_weight_files_need_kerass_ending(saved: checkpoint.Checkpoint, tmp_path: Path):
    with pytest.raises(UserError, match=r"\.weights\.h5"):
        convert.export_weights(saved, "generator", tmp_path / "x.h5")


def test_float64_is_exported_as_float64(
    saved: checkpoint.Checkpoint, make_state: Callable, tmp_path: Path
):
    config = replace(saved.config, precision="float64")
    state = make_state(config)
    exact = checkpoint.Checkpoint(states.to_canonical(state), config, 0, "keras", {})
    convert.export_weights(exact, "generator", tmp_path / "x.weights.h5")
    back = convert.import_weights("generator", tmp_path / "x.weights.h5")
    assert {array.dtype for array in back.values()} == {np.dtype(np.float64)}
