"""TensorFlow's own files, both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from common import checkpoint
from common.config import Config
from tensorflow_impl import convert, sample
from tensorflow_impl.networks import Generator

CONVERT = "tensorflow_impl.convert"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    arrays = checkpoint.initial(Config())
    rng = np.random.default_rng(2)
    for name in arrays:
        if "moving" in name:
            arrays[name] = rng.random(arrays[name].shape, np.float32) + 0.5
    checkpoint.save(path, arrays, Config(), "tensorflow", {})
    return path


@pytest.mark.parametrize("ending", [".ckpt", ".savedmodel"])
def test_there_and_back(saved: Path, tmp_path: Path, ending: str, command) -> None:
    g, d = (tmp_path / (name + ending) for name in "gd")
    back = tmp_path / "back.safetensors"
    command(CONVERT, saved, g)
    command(CONVERT, saved, d, "--network", "discriminator")
    command(CONVERT, g, back, "--discriminator", d)
    wanted, found = checkpoint.load(saved).arrays, checkpoint.load(back).arrays
    assert set(wanted) == set(found)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    refused("exists already", command(CONVERT, saved, g, status=2))
    command(CONVERT, saved, g, "--overwrite")
    assert not list(tmp_path.glob(".*")), "temporary files are left"


def test_saved_model_runs_without_our_code(saved: Path, tmp_path: Path, command) -> None:
    path = tmp_path / "g.savedmodel"
    command(CONVERT, saved, path)
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 96)).astype(np.float32)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    for n in (1, 3):
        images = serve(noise=tf.constant(noise[:n]))["images"]
        ours = sample.load_generator(checkpoint.load(saved), "cpu")(noise[:n])
        np.testing.assert_allclose(images, ours, atol=1e-6)


def test_checkpoint_is_tensorflows(saved: Path, tmp_path: Path, command) -> None:
    command(CONVERT, saved, tmp_path / "g.ckpt")
    generator = Generator()
    status = tf.train.Checkpoint(generator).read(str(tmp_path / "g.ckpt"))
    status.assert_consumed()
    wanted = checkpoint.load(saved).arrays["generator/norm2/moving_variance"]
    np.testing.assert_array_equal(generator.norm2.moving_variance, wanted)


def refused(text: str, done) -> None:
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_wrong_files_are_refused(saved: Path, tmp_path: Path, command) -> None:
    target, wrong = tmp_path / "x.safetensors", tmp_path / "wrong.ckpt"
    module = convert.to_framework(checkpoint.load(saved), "discriminator")
    tf.train.Checkpoint(module).write(str(wrong))
    refused("unknown tensor 'conv1/bias'", command(CONVERT, wrong, target, status=2))
    module = Generator()
    module.norm2.scale = tf.Variable(tf.zeros(1000))
    tf.train.Checkpoint(module).write(str(wrong))
    refused("(1000,), not (6272,)", command(CONVERT, wrong, target, status=2))
    Path(f"{wrong}.index").write_bytes(b"no index")
    refused("cannot be read", command(CONVERT, wrong, target, status=2))
    empty = tmp_path / "empty.savedmodel"
    empty.mkdir()
    refused("cannot be read", command(CONVERT, empty, target, status=2))
    refused("There is no file", command(CONVERT, tmp_path / "none.ckpt", target, status=2))
    refused("no known ending", command(CONVERT, saved, tmp_path / "g.h5", status=2))
    assert not target.exists()
