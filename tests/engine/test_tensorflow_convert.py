"""TensorFlow's own files, both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from common import checkpoint
from common.config import UserError
from tensorflow_impl import convert, sample
from tensorflow_impl.networks import Generator


def test_saved_model_runs_without_our_code(saved: Path, tmp_path: Path, convert_command) -> None:
    path = tmp_path / "g.savedmodel"
    convert_command(saved, path)
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 20)).astype(np.float32)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    for n in (1, 3):
        images = serve(noise=tf.constant(noise[:n]))["images"]
        ours = sample.load_generator(checkpoint.load(saved), "cpu")(noise[:n])
        np.testing.assert_allclose(images, ours, atol=1e-6)


def test_checkpoint_is_tensorflows(saved: Path, tmp_path: Path, convert_command) -> None:
    convert_command(saved, tmp_path / "g.ckpt")
    generator = Generator(20)
    status = tf.train.Checkpoint(generator).read(str(tmp_path / "g.ckpt"))
    status.assert_consumed()
    wanted = checkpoint.load(saved).arrays["generator/norm2/moving_variance"]
    np.testing.assert_array_equal(generator.norm2.moving_variance, wanted)


@pytest.mark.parametrize("export", [convert.export_checkpoint, convert.export_saved_model])
def test_a_disk_that_refuses_is_an_oserror_and_leaves_nothing(
    saved: Path, tmp_path: Path, export
) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # bytes of a file
    try:
        with pytest.raises(OSError, match=r"^File too large$"):
            export(checkpoint.load(saved), "generator", tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_wrong_files_are_refused(saved: Path, tmp_path: Path, convert_command) -> None:
    target, wrong = tmp_path / "x.safetensors", tmp_path / "wrong.ckpt"
    module = convert.to_framework(checkpoint.load(saved), "discriminator")
    tf.train.Checkpoint(module).write(str(wrong))
    convert_command(wrong, target, refused="no scale of shape (1024,), generator/norm1")
    module = Generator()
    module.norm2.scale = tf.Variable(tf.zeros(1000))
    tf.train.Checkpoint(module).write(str(wrong))
    convert_command(wrong, target, refused="(1000,), not (6272,)")
    Path(f"{wrong}.index").write_bytes(b"no index")
    convert_command(wrong, target, refused="cannot be read")
    empty = tmp_path / "empty.savedmodel"
    empty.mkdir()
    convert_command(empty, target, refused="cannot be read")
    assert not target.exists()


# ------------------------------------------------------------------ files of other people's


class Weighted(tf.Module):
    def __init__(self, *shape: int, outputs: int) -> None:
        super().__init__()
        rng = np.random.default_rng(sum(shape))
        self.w = tf.Variable(rng.normal(size=shape).astype(np.float32))
        self.b = tf.Variable(rng.normal(size=outputs).astype(np.float32))


class Norm(tf.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        rng = np.random.default_rng(size)
        for name in ("gamma", "beta", "moving_mean", "moving_var"):
            setattr(self, name, tf.Variable(rng.random(size, np.float32)))


class OtherNames(tf.Module):
    """The generator's variables as another person might have named them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_bn = Weighted(20, 1024, outputs=1024), Norm(1024)
        self.up, self.up_bn = Weighted(4, 4, 64, 128, outputs=64), Norm(64)
        self.second, self.second_bn = Weighted(1024, 6272, outputs=6272), Norm(6272)
        self.image = Weighted(4, 4, 1, 64, outputs=1)


class Optimizer(tf.Module):
    """Like Keras's, it refers to the variables that it trains, and saved first it names them."""

    def __init__(self, parameters: list[tf.Variable]) -> None:
        super().__init__()
        self.parameters = list(parameters)
        self.moments = [tf.Variable(tf.zeros_like(p)) for p in parameters]


def check_other_names(arrays: checkpoint.Arrays, module: OtherNames) -> None:
    assert len(arrays) == len(module.variables)
    for name, variable in (
        ("dense1/kernel", module.first.w),
        ("dense2/bias", module.second.b),
        ("norm3/offset", module.up_bn.beta),
        ("norm2/moving_variance", module.second_bn.moving_var),
        ("deconv1/kernel", module.up.w),
        ("deconv2/bias", module.image.b),
    ):
        np.testing.assert_array_equal(arrays[f"generator/{name}"], variable.numpy(), err_msg=name)


def test_a_checkpoint_with_other_names(tmp_path: Path, convert_command) -> None:
    module = OtherNames()
    path = tf.train.Checkpoint(model=module).save(str(tmp_path / "ckpt"))
    assert path.endswith("ckpt-1")  # no ending of ours
    convert_command(path, tmp_path / "x.safetensors")
    check_other_names(
        {
            name: array
            for name, array in checkpoint.load(tmp_path / "x.safetensors").arrays.items()
            if name.startswith("generator/")
        },
        module,
    )


def test_a_checkpoint_of_everything(saved: Path, tmp_path: Path) -> None:
    """Both networks and an optimizer, under whose name the variables' values lie in the file."""
    module = OtherNames()
    discriminator = convert.to_framework(checkpoint.load(saved), "discriminator")
    path = tf.train.Checkpoint(
        a_optimizer=Optimizer(module.trainable_variables),
        discriminator=discriminator,
        generator=module,
    ).save(str(tmp_path / "ckpt"))
    assert any("a_optimizer" in name for name, _ in tf.train.list_variables(path))
    check_other_names(convert.import_checkpoint("generator", Path(path)).arrays, module)
    arrays = convert.import_checkpoint("discriminator", Path(path)).arrays
    np.testing.assert_array_equal(arrays["discriminator/conv2/kernel"], discriminator.conv2.kernel)


def test_a_saved_model_without_an_ending(tmp_path: Path, convert_command) -> None:
    module = OtherNames()
    tf.saved_model.save(module, str(tmp_path / "mine"))
    convert_command(tmp_path / "mine", tmp_path / "x.safetensors")


def test_the_first_mismatch_is_named(tmp_path: Path) -> None:
    module = OtherNames()
    module.third_bn = Norm(64)
    path = tf.train.Checkpoint(module).write(str(tmp_path / "x.ckpt"))
    with pytest.raises(UserError, match=r"several scale of shape \(64,\), generator/norm3/scale"):
        convert.import_checkpoint("generator", Path(path))
    module.third_bn = Norm(65)
    path = tf.train.Checkpoint(module).write(str(tmp_path / "x.ckpt"))
    with pytest.raises(UserError, match="unknown tensor 'third_bn/"):
        convert.import_checkpoint("generator", Path(path))
    module.third_bn = tf.Variable(1)
    path = tf.train.Checkpoint(module).write(str(tmp_path / "x.ckpt"))
    with pytest.raises(UserError, match="third_bn holds int32"):
        convert.import_checkpoint("generator", Path(path))


def checkpoint_of_both(saved: Path, names: tuple[str, str]) -> tf.train.Checkpoint:
    g, d = names
    discriminator = convert.to_framework(checkpoint.load(saved), "discriminator")
    module = OtherNames()
    optimizer = Optimizer(module.trainable_variables)
    return tf.train.Checkpoint(**{g: module, d: discriminator, f"{g}_optimizer": optimizer})


@pytest.mark.parametrize("names", [("generator", "discriminator"), ("gen", "disc"), ("G", "netD")])
def test_one_file_serves_both_networks(
    saved: Path, names: tuple[str, str], tmp_path: Path, convert_command
) -> None:
    """By its newest of a CheckpointManager's folder, by its .index, and by its prefix."""
    both = checkpoint_of_both(saved, names)
    manager = tf.train.CheckpointManager(both, str(tmp_path / "kept"), max_to_keep=2)
    manager.save()
    newest = manager.save()
    assert newest.endswith("ckpt-2")
    wanted = checkpoint.load(saved).arrays
    for path in (tmp_path / "kept", f"{newest}.index", newest):
        said = convert_command(path, tmp_path / "x.safetensors", "--overwrite")
        assert "; both networks" in said
        assert ("the newest is ckpt-2" in said) == (path == tmp_path / "kept")
        found = checkpoint.load(tmp_path / "x.safetensors").arrays
        for name, array in found.items():
            if name.startswith("discriminator/"):
                np.testing.assert_array_equal(array, wanted[name], err_msg=name)
        generator = {n: a for n, a in found.items() if n.startswith("generator/")}
        check_other_names(generator, getattr(both, names[0]))


def test_which_of_several_objects_is_said_with_a_flag(tmp_path: Path, convert_command) -> None:
    path = tf.train.Checkpoint(G=OtherNames(), gen=OtherNames()).write(str(tmp_path / "x.ckpt"))
    convert_command(path, tmp_path / "x.safetensors", refused="several that may be the generator: ")
    convert_command(path, tmp_path / "x.safetensors", "--key", "gen")
    convert_command(path, tmp_path / "y.safetensors", "--key", "ema", refused="has no 'ema'; it")


def test_a_checkpoint_of_tensorflow_1_is_named_as_such(tmp_path: Path, convert_command) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("generator/dense/kernel", (20, 1024))
        session.run(tf.compat.v1.global_variables_initializer())
        path = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    convert_command(path, tmp_path / "x.safetensors", refused="is of TensorFlow 1's Saver")


def test_what_keras_exports_has_numbers_for_names(tmp_path: Path, convert_command) -> None:
    program = (
        "import sys, numpy as np, keras\n"
        "from keras.layers import BatchNormalization as BN, Conv2DTranspose, Dense, Reshape\n"
        "same = {'strides': 2, 'padding': 'same'}\n"
        "model = keras.Sequential([keras.Input((20,)), Dense(1024, 'relu'), BN(epsilon=1e-5),\n"
        "    Dense(6272, 'relu'), BN(epsilon=1e-5), Reshape((7, 7, 128)),\n"
        "    Conv2DTranspose(64, 4, activation='relu', **same), BN(epsilon=1e-5),\n"
        "    Conv2DTranspose(1, 4, activation='tanh', **same)])\n"
        "rng = np.random.default_rng(1)\n"
        "for v in model.variables: v.assign(rng.uniform(0.01, 0.02, v.shape))\n"
        "z = rng.uniform(-1, 1, (3, 20)).astype('float32')\n"
        "np.savez(sys.argv[2], z=z, images=model(z, training=False).numpy())\n"
        "model.export(sys.argv[1], verbose=False)\n"
    )
    arguments = [str(tmp_path / "exported"), str(tmp_path / "images.npz")]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env=environment)
    convert_command(tmp_path / "exported", tmp_path / "x.safetensors")
    images = np.load(tmp_path / "images.npz")
    ours = convert.to_framework(checkpoint.load(tmp_path / "x.safetensors"), "generator")
    found = ours(tf.constant(images["z"])).numpy()
    assert np.linalg.norm(found - images["images"]) <= 1e-5 * np.linalg.norm(found)


def test_a_lite_file_is_the_generator(
    saved: Path, tmp_path: Path, convert_command, lite: Callable
) -> None:
    convert_command(saved, tmp_path / "g.tflite")
    z = np.random.default_rng(0).uniform(-1, 1, (3, 20)).astype(np.float32)
    ours = convert.to_framework(checkpoint.load(saved), "generator")(tf.constant(z)).numpy()
    np.testing.assert_allclose(lite(tmp_path / "g.tflite", z), ours, rtol=0, atol=1e-5)
