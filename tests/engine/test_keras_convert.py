"""Keras's own files, written, read back, and refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from common import checkpoint
from common.config import Config, UserError
from keras_impl import backend, convert

# What a file holds is Keras's doing, on any engine.
pytestmark = pytest.mark.long_run


@pytest.fixture
def saved(statistics: Callable) -> checkpoint.Checkpoint:
    """A checkpoint with running statistics of its own."""
    config = Config(device="cpu", noise_size=20)
    return checkpoint.Checkpoint(statistics(config), config, 2, "keras", {})


NOISE = np.random.default_rng(0).uniform(-1, 1, (3, 20)).astype(np.float32)


def test_a_keras_file_runs_without_this_code(saved: checkpoint.Checkpoint, tmp_path: Path):
    convert.export_model(saved, "generator", tmp_path / "g.keras")
    np.save(tmp_path / "noise.npy", NOISE)
    program = (
        "import sys, numpy as np, keras\n"
        "model = keras.saving.load_model(sys.argv[1] + '/g.keras')\n"
        "images = model(np.load(sys.argv[1] + '/noise.npy'), training=False)\n"
        "np.save(sys.argv[1] + '/images.npy', keras.ops.convert_to_numpy(images))\n"
        "assert abs(model.get_layer('norm1').momentum - 0.81) < 1e-15\n"
        "assert not [name for name in sys.modules if name.startswith(('keras_impl', 'common'))]\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    found = np.load(tmp_path / "images.npy")
    exact = convert.to_framework(saved, "generator")(NOISE, training=False)
    np.testing.assert_array_equal(found, keras.ops.convert_to_numpy(exact))
    ours = backend.generate(backend.make_state(saved.config, saved.arrays), NOISE)
    # Elsewhere a state's kernels are not the file's layers: the ladder's bound of float32 outputs.
    bound = 0 if keras.backend.backend() == "tensorflow" else 1e-5
    assert np.linalg.norm(found - ours) <= bound * np.linalg.norm(ours)


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


# ------------------------------------------------------------------ files of other people's


@pytest.fixture
def float32() -> Iterator[None]:
    """Keras's defaults in this process, which a float64 run changes."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


OTHERS = pytest.mark.usefixtures("float32")


def plain(network: str, **change: object) -> keras.Sequential:
    """The network in Keras's own layers, LeakyReLU before pooling, statistics of its own."""
    from keras.layers import (
        BatchNormalization,
        Conv2D,
        Conv2DTranspose,
        Dense,
        Flatten,
        LeakyReLU,
        MaxPooling2D,
        ReLU,
        Reshape,
    )  # fmt: skip

    get = {"slope": 0.01, "epsilon": 1e-5, "last": "tanh", "strides": 2} | change
    if network == "discriminator":
        act = [LeakyReLU(negative_slope=get["slope"]) for _ in range(3)]
        return keras.Sequential([
            keras.Input((28, 28, 1)), Conv2D(32, 5), act[0], MaxPooling2D(), Conv2D(64, 5), act[1],
            MaxPooling2D(), Flatten(), Dense(1024), act[2], Dense(1),
        ])  # fmt: skip
    norms = [BatchNormalization(epsilon=get["epsilon"]) for _ in range(3)]
    same = {"strides": get["strides"], "padding": "same"}
    model = keras.Sequential([
        keras.Input((20,)), Dense(1024), ReLU(), norms[0], Dense(6272, "relu"), norms[1],
        Reshape((7, 7, 128)), Conv2DTranspose(64, 4, activation="relu", **same), norms[2],
        Conv2DTranspose(1, 4, strides=2, padding="same", activation=get["last"]),
    ])  # fmt: skip
    rng = np.random.default_rng(1)
    for norm in norms:
        for variable in norm.variables:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    return model


def same_function(network: str, model: keras.Model, arrays: checkpoint.Arrays) -> None:
    saved = checkpoint.Checkpoint(arrays, Config(noise_size=20), 0, "keras", {})
    ours = convert.to_framework(saved, network)
    shape = (3, 20) if network == "generator" else (3, 28, 28, 1)
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    a, b = (keras.ops.convert_to_numpy(m(x, training=False)) for m in (ours, model))
    assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


@OTHERS
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_plain_network_both_ways(network: str, tmp_path: Path):
    model = plain(network)
    model.save(tmp_path / "x.keras")
    model.save_weights(tmp_path / "x.weights.h5")
    arrays = convert.import_model(network, tmp_path / "x.keras").arrays
    same_function(network, model, arrays)
    for name, array in convert.import_weights(network, tmp_path / "x.weights.h5").arrays.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    saved = checkpoint.Checkpoint(arrays, Config(noise_size=20), 0, "keras", {})
    convert.export_weights(saved, network, tmp_path / "back.weights.h5")
    wanted = [keras.ops.convert_to_numpy(v.value) for v in model.variables]
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape, np.float32))
    model.load_weights(tmp_path / "back.weights.h5")
    for variable, value in zip(model.variables, wanted, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), value)


@OTHERS
@pytest.mark.parametrize(("suffix", "given"), [
    (".keras", []), (".weights.h5", ["--batch-norm-epsilon", "0.001"]),
])  # fmt: skip
def test_kerass_own_epsilon_is_taken_over(
    suffix: str,
    given: list[str],
    tmp_path: Path,
    convert_command: Callable,
    capfd: pytest.CaptureFixture[str],
):
    """A whole network tells it; of weights a person has to, and is told so."""
    model, file = plain("generator", epsilon=1e-3), tmp_path / f"x{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(file)
    said = convert_command(file, tmp_path / "x.safetensors", *given)
    same_function("generator", model, checkpoint.load(tmp_path / "x.safetensors").arrays)
    assert "norm3's epsilon is 0.001, here 1e-05" in said
    assert "is assumed" not in said
    if not given:
        convert_command(
            file, tmp_path / "y.safetensors", "--batch-norm-epsilon", 1e-3,
            refused="--batch-norm-epsilon is for files that hold none",
        )  # fmt: skip


@OTHERS
def test_an_optimizer_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = plain("discriminator")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "x.keras")
    same_function(
        "discriminator", model, convert.import_model("discriminator", tmp_path / "x.keras").arrays
    )
    assert "moments of zero" in capsys.readouterr().out


@OTHERS
@pytest.mark.parametrize(
    ("network", "change", "text"),
    [
        ("discriminator", {"slope": 0.3}, "LeakyReLU 0.3, not LeakyReLU 0.01"),
        ("generator", {"last": "sigmoid"}, "sigmoid, not tanh"),
        ("generator", {"strides": 1}, r"Conv2DTranspose, strides \[1, 1\].*strides \[2, 2\]"),
    ],
)
def test_weights_that_fit_another_function_are_refused(
    network: str, change: dict[str, object], text: str, tmp_path: Path
):
    plain(network, **change).save(tmp_path / "x.keras")
    with pytest.raises(UserError, match=text):
        convert.import_model(network, tmp_path / "x.keras")


@OTHERS
def test_a_functional_network(tmp_path: Path):
    model = plain("discriminator")
    functional = keras.Model(model.inputs, model.outputs)
    functional.save(tmp_path / "x.keras")
    same_function(
        "discriminator", model, convert.import_model("discriminator", tmp_path / "x.keras").arrays
    )


@OTHERS
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_old_format_is_named(tmp_path: Path):
    plain("discriminator").save(tmp_path / "x.h5")
    with pytest.raises(UserError, match="in Keras's old format"):
        convert.import_weights("discriminator", tmp_path / "x.h5")


# ------------------------------------------------------------------ classes of other people's


class Gan(keras.Model):
    """A GAN as keras.io writes it: a model that has both networks."""

    def __init__(self, **names: object) -> None:
        super().__init__()
        self.generator, self.discriminator = plain("generator"), plain("discriminator")

    def call(self, noise):
        return self.discriminator(self.generator(noise))


class Subclassed(keras.Model):
    """The generator's layers under names of their own, in no order."""

    def __init__(self) -> None:
        super().__init__()
        layers = [layer for layer in plain("generator").layers if layer.variables]
        self.first, self.bn_a, self.second, self.bn_b, self.up, self.bn_c, self.last = layers

    def call(self, x):
        from keras import ops

        x = self.bn_b(ops.relu(self.second(self.bn_a(ops.relu(self.first(x))))))
        x = ops.reshape(x, (-1, 7, 7, 128))
        return self.last(self.bn_c(self.up(x)))


@OTHERS
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_class_that_holds_both_networks(
    suffix: str, tmp_path: Path, convert_command: Callable
) -> None:
    gan, file = Gan(), tmp_path / f"x{suffix}"
    gan(NOISE)
    (gan.save if suffix == ".keras" else gan.save_weights)(file)
    said = convert_command(file, tmp_path / "x.safetensors")
    assert "; both networks" in said
    assert "1e-05 is assumed" in said
    arrays = checkpoint.load(tmp_path / "x.safetensors").arrays
    for network in ("generator", "discriminator"):
        same_function(network, getattr(gan, network), arrays)


@OTHERS
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_subclassed_network(suffix: str, tmp_path: Path, convert_command: Callable) -> None:
    model, file = Subclassed(), tmp_path / f"x{suffix}"
    model(NOISE)
    (model.save if suffix == ".keras" else model.save_weights)(file)
    said = convert_command(file, tmp_path / "x.safetensors")
    assert "layers by their shapes: first is" in said
    same_function("generator", model, checkpoint.load(tmp_path / "x.safetensors").arrays)


def test_a_lite_file_is_the_generator(
    saved: checkpoint.Checkpoint, tmp_path: Path, lite: Callable
) -> None:
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(UserError, match="leave KERAS_BACKEND out"):
            convert.export_lite(saved, "generator", tmp_path / "g.tflite")
        return
    convert.export_lite(saved, "generator", tmp_path / "g.tflite")
    ours = keras.ops.convert_to_numpy(convert.to_framework(saved, "generator")(NOISE))
    found = lite(tmp_path / "g.tflite", NOISE)
    np.testing.assert_allclose(found, ours, rtol=0, atol=1e-5)
