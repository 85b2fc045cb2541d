"""TensorFlow's own files <-> checkpoints: `python -m tensorflow_impl.convert --help`.

.ckpt is the prefix of a tf.train.Checkpoint of the network's variables (NAME.ckpt.index and
NAME.ckpt.data-*). .savedmodel is a folder; its serving signature takes `noise`, float32 (N, Z), any
N, and gives `images` (N, H, W, C) in evaluation mode (of the discriminator: images -> logits).
.tflite is the same for LiteRT.
Neither file holds a slope: imported weights are taken to be for 0.01.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion, matching
from common.config import UserError
from common.quiet import quiet


def to_framework(saved: checkpoint.Checkpoint, network: str) -> Any:
    """A network of a checkpoint as a tf.Module on the CPU."""
    from tensorflow_impl import device  # first: it imports TensorFlow quietly
    from tensorflow_impl.architectures import make_discriminator, make_generator
    from tensorflow_impl.canonical import from_canonical_layout, parameter_tensors

    tf = device.tf
    dtype = tf.float64 if saved.config.precision == "float64" else tf.float32
    with tf.device(device.CPU):
        table = architecture.of(saved.config)
        make = make_generator if network == "generator" else make_discriminator
        module = make(table, dtype)
        for name, tensor in parameter_tensors(module, network, table).items():
            tensor.assign(from_canonical_layout(name, saved.arrays[name], table))
    return module


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """What a disk refuses TensorFlow, as Python's OSError: the command has a sentence for it."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = str(error.message).rpartition("; ")[2].partition(" [Op:")[0]
        raise OSError(reason) from None


def export_checkpoint(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write the variables: tf.train.Checkpoint(Generator()).read(path) reads them."""
    module = to_framework(saved, network)
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        with _disk_errors():
            tf.train.Checkpoint(module).write(str(Path(folder, path.name)))
        # A reader opens the index first, so it comes last.
        for file in sorted(Path(folder).glob(f"{path.name}.*"), key=lambda f: f.suffix == ".index"):
            file.replace(path.with_name(file.name))


def export_saved_model(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a SavedModel; tf.saved_model.load(path).signatures["serving_default"] runs it."""
    module = to_framework(saved, network)
    import tensorflow as tf

    signature = _signature(module, saved, network)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        with _disk_errors():
            tf.saved_model.save(module, str(written), signatures=signature)
        if path.exists():  # --overwrite; a folder cannot be renamed over a full one
            path.replace(Path(folder, "old"))
        written.replace(path)


def export_lite(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a LiteRT (TensorFlow Lite) file with the SavedModel's signature, for any N."""
    module = to_framework(saved, network)
    import tensorflow as tf

    signature = _signature(module, saved, network)
    with quiet():  # it reports what it did to the graph
        content = tf.lite.TFLiteConverter.from_concrete_functions([signature], module).convert()
    checkpoint.write_atomically(path, content)


def _signature(module: Any, saved: checkpoint.Checkpoint, network: str) -> Any:
    """The network as a function of float32 arrays by their names."""
    import tensorflow as tf

    dtype = module.variables[0].dtype
    table = architecture.of(saved.config)
    shape: tuple[int, ...]
    if network == "generator":
        source, result, shape = "noise", "images", (table.noise_size,)
    else:
        source, result, shape = "images", "logits", table.image_shape

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {result: module(tf.cast(x, dtype))}

    return tf.function(serve, autograph=False).get_concrete_function(
        tf.TensorSpec((None, *shape), tf.float32, name=source)
    )


GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # who refers to whom, in a checkpoint of TensorFlow 2's
# Canonical kind -> what a layer may call it, in the words of tf.Module, Keras and Sonnet.
KINDS = {
    "kernel": ("kernel", "_kernel", "w", "weight", "weights"),
    "bias": ("bias", "b"),
    "scale": ("scale", "gamma"),
    "offset": ("offset", "beta"),
    "moving_mean": ("moving_mean", "running_mean"),
    "moving_variance": ("moving_variance", "moving_var", "running_variance", "running_var"),
}


def import_checkpoint(network: str, path: Path, key: str | None = None) -> conversion.Imported:
    """Read the variables of a tf.train.Checkpoint. UserError if it is of another architecture.

    Ours have the canonical names. Others, a Keras network's or a tf.Module's of other names, are
    told apart by the variables' own names and shapes, which occur once each. A checkpoint of
    several objects must call the network `generator` or `discriminator`. Optimizers are left out.
    """
    values, both = _read(network, path.with_suffix("") if path.suffix == ".index" else path, key)
    kernels = [a.shape for a in values.values() if a.ndim > 1]
    wanted = matching.shapes(network, matching.table_of(network, kernels))
    names = {name: name.removeprefix(f"{network}/") for name in wanted}
    if set(names.values()) != set(values):
        numbered = all(name.rpartition("/")[2].isdecimal() for name in values)
        find_names = _names_by_number if numbered else _names_by_shape
        names = find_names(network, path, values, wanted)
    return conversion.Imported(matching.collect(path, network, values, names, wanted), both=both)


def _names_by_number(
    network: str, path: Path, values: checkpoint.Arrays, wanted: dict[str, matching.Shape]
) -> dict[str, str]:
    """Canonical name -> the variable in the file that has its place, as Keras's model.export
    numbers them: layer by layer, and a batch norm's as the table has them."""
    in_order = sorted(values, key=lambda name: int(name.rpartition("/")[2]))
    if len(in_order) != len(wanted):
        raise UserError(
            f"{path} has {len(in_order)} variables, and the {network} of this architecture has "
            f"{len(wanted)}."
        )
    return dict(zip(wanted, in_order, strict=True))


def _names_by_shape(
    network: str, path: Path, values: checkpoint.Arrays, wanted: dict[str, matching.Shape]
) -> dict[str, str]:
    """Canonical name -> the variable in the file that has its kind and shape."""
    names = {}
    for canonical, shape in wanted.items():
        kind = canonical.rpartition("/")[2]
        fitting = [
            name
            for name, array in values.items()
            if name.rpartition("/")[2] in KINDS[kind] and matching.fits(array.shape, shape)
        ]
        if len(fitting) != 1:
            raise UserError(
                f"{path} has {'several' if fitting else 'no'} {kind} of shape "
                f"{matching.in_words(shape)}, {canonical} here; it is no {network} of this "
                "architecture."
            )
        names[canonical] = fitting[0]
    return names


def _read(network: str, path: Path, key: str | None) -> tuple[dict[str, np.ndarray], bool]:
    """The variables by their path from the network, or from the root if it names no network; and
    does the file name a discriminator?"""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from tensorflow_impl.device import tf  # which imports TensorFlow quietly

    try:  # tensors by their names; nothing in the file is run
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        reader = tf.train.load_checkpoint(str(path))
        if not reader.has_tensor(GRAPH):
            raise UserError(
                f"{path} is of TensorFlow 1's Saver, which does not say what belongs to which "
                "network; load it there, and write tf.train.Checkpoint(network).write(path)."
            )
        graph = TrackableObjectGraph.FromString(reader.get_tensor(GRAPH))
        children = {child.local_name: child.node_id for child in graph.nodes[0].children}
        name = matching.the_one(path, network, children, key)
        if {"variables", "_all_variables"} <= children.keys():  # by Keras's model.export, all twice
            stored = [key for key in reader.get_variable_to_shape_map() if key[:10] == "variables/"]
            paths = {key: key.partition("/.")[0] for key in stored}
        else:
            paths = _paths(children[name] if name else 0, graph)
        values = {name: np.asarray(reader.get_tensor(key)) for key, name in paths.items()}
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError, DecodeError) as error:
        raise UserError(
            f"{path} cannot be read as a TensorFlow checkpoint ({type(error).__name__}); write it "
            "with tf.train.Checkpoint(network).write(path)."
        ) from None
    for name, array in values.items():
        if array.dtype not in (np.float32, np.float64, np.float16, tf.bfloat16.as_numpy_dtype):
            raise UserError(f"{path}: {name} holds {array.dtype}, not floating point.")
    return values, any(matching.names_network(name, "discriminator") for name in children)


def _paths(start: int, graph: Any) -> dict[str, str]:
    """Key of a variable in the file -> its path from an object.

    Keys alone do not do: an optimizer saved along gives a variable a key of its own.
    """
    words = {word for words in KINDS.values() for word in words}
    paths = {start: ""}
    found: dict[str, str] = {}
    queue = [start]
    for node in queue:  # which grows
        for child in graph.nodes[node].children:
            name = child.local_name
            if name == "save_counter" or any(x in name for x in ("optimizer", "metric", "loss")):
                continue
            path = f"{paths[node]}/{name}".removeprefix("/")
            for attribute in graph.nodes[child.node_id].attributes:
                known = found.get(attribute.checkpoint_key, "").rpartition("/")[2] in words
                if attribute.name == "VARIABLE_VALUE" and not known:
                    found[attribute.checkpoint_key] = path
            if child.node_id not in paths:
                paths[child.node_id] = path
                queue.append(child.node_id)
    return found


def import_saved_model(network: str, path: Path, key: str | None = None) -> conversion.Imported:
    """Read the variables of a SavedModel's folder, without its graph."""
    return import_checkpoint(network, path / "variables" / "variables", key)


def import_newest(network: str, path: Path, key: str | None = None) -> conversion.Imported:
    """Read the newest checkpoint of a tf.train.CheckpointManager's folder."""
    from tensorflow_impl.device import tf

    newest = tf.train.latest_checkpoint(str(path))
    if newest is None:
        raise UserError(f"{path} has no checkpoint that its file `checkpoint` names.")
    print(f"{path}: the newest is {Path(newest).name}.")
    return import_checkpoint(network, Path(newest), key)


# By the ending of a file's name.
EXPORTS: dict[str, conversion.Export] = {
    ".ckpt": export_checkpoint,
    ".savedmodel": export_saved_model,
    ".tflite": export_lite,
}
IMPORTS: dict[str, conversion.Import] = {
    ".ckpt": import_checkpoint,
    ".savedmodel": import_saved_model,
    ".index": import_checkpoint,
    conversion.MANAGED: import_newest,
}

if __name__ == "__main__":
    conversion.main("tensorflow", EXPORTS, IMPORTS)
