"""TensorFlow's own files <-> checkpoints: `python -m tensorflow_impl.convert --help`.

.ckpt is the prefix of a tf.train.Checkpoint of the network's variables (NAME.ckpt.index and
NAME.ckpt.data-*). .savedmodel is a folder; its serving signature takes `noise`, float32 (N, Z), any
N, and gives `images` (N, 28, 28, 1) in evaluation mode (of the discriminator: images -> logits).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion
from common.config import UserError


def to_framework(saved: checkpoint.Checkpoint, network: str) -> Any:
    """A network of a checkpoint as a tf.Module on the CPU."""
    from tensorflow_impl import startup

    startup.start()
    import tensorflow as tf

    from tensorflow_impl import state as states
    from tensorflow_impl.networks import Discriminator, Generator

    dtype = tf.float64 if saved.config.precision == "float64" else tf.float32
    with tf.device(states.CPU):
        if network == "generator":
            module: Any = Generator(saved.config.noise_size, dtype)
        else:
            module = Discriminator(dtype)
        for name, tensor in states.parameter_tensors(module, network).items():
            tensor.assign(states.from_canonical_layout(name, saved.arrays[name]))
    return module


def export_checkpoint(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write the variables: tf.train.Checkpoint(Generator()).read(path) reads them."""
    module = to_framework(saved, network)
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        tf.train.Checkpoint(module).write(str(Path(folder, path.name)))
        # A reader opens the index first, so it comes last.
        for file in sorted(Path(folder).glob(f"{path.name}.*"), key=lambda f: f.suffix == ".index"):
            file.replace(path.with_name(file.name))


def export_saved_model(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a SavedModel; tf.saved_model.load(path).signatures["serving_default"] runs it."""
    module = to_framework(saved, network)
    import tensorflow as tf

    dtype = module.dense1.kernel.dtype
    shape: tuple[int | None, ...]
    if network == "generator":
        source, result, shape = "noise", "images", (None, saved.config.noise_size)
    else:
        source, result, shape = "images", "logits", (None, 28, 28, 1)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {result: module(tf.cast(x, dtype))}

    signature = tf.function(serve, autograph=False).get_concrete_function(
        tf.TensorSpec(shape, tf.float32, name=source)
    )
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        tf.saved_model.save(module, str(written), signatures=signature)
        if path.exists():  # --overwrite; a folder cannot be renamed over a full one
            path.replace(Path(folder, "old"))
        written.replace(path)


def import_checkpoint(network: str, path: Path) -> checkpoint.Arrays:
    """Read the variables of a tf.train.Checkpoint. UserError if it is of another architecture."""
    from tensorflow_impl import startup

    startup.start()
    import tensorflow as tf

    from tensorflow_impl import state as states

    try:  # tensors by their names; nothing in the file is run
        reader = tf.train.load_checkpoint(str(path))
        values = {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") and not name.startswith("save_counter/")
        }
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as a TensorFlow checkpoint ({type(error).__name__}); write it "
            "with tf.train.Checkpoint(network).write(path)."
        ) from None
    names = states.parameter_names(network)
    for name in sorted(set(names.values()) ^ set(values)):
        what = "lacks" if name in names.values() else "has an unknown"
        short = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        raise UserError(f"{path} {what} tensor {short!r}; it is no {network} of this architecture.")
    first = values[names[f"{network}/dense1/kernel"]]
    noise_size = first.shape[0] if network == "generator" and first.ndim else 96
    shapes = architecture.get("mnist28", noise_size).parameters()
    arrays = {}
    for canonical, name in names.items():
        array = np.asarray(values[name])
        if array.shape != shapes[canonical] or array.dtype.hasobject:
            raise UserError(
                f"{path} is of another architecture: {canonical.partition('/')[2]} has shape "
                f"{array.shape}, not {shapes[canonical]}."
            )
        arrays[canonical] = states.to_canonical_layout(canonical, array)
    return arrays


def import_saved_model(network: str, path: Path) -> checkpoint.Arrays:
    """Read the variables of a SavedModel's folder, without its graph."""
    return import_checkpoint(network, path / "variables" / "variables")


if __name__ == "__main__":
    conversion.main(
        "tensorflow",
        {".ckpt": export_checkpoint, ".savedmodel": export_saved_model},
        {".ckpt": import_checkpoint, ".savedmodel": import_saved_model},
    )
