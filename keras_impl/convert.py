"""Keras's own files <-> checkpoints: `python -m keras_impl.convert --help`.

.keras is a whole network as model.save writes it, .weights.h5 its weights as model.save_weights
writes them. Imported are weights only: no file decides which code is run.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion, matching
from common.architecture import Architecture
from common.config import UserError
from common.quiet import quiet
from keras_impl import exit_without_engine

# The members of a .keras file, a zip archive.
CONFIG_IN_KERAS, WEIGHTS_IN_KERAS = "config.json", "model.weights.h5"


def to_framework(saved: checkpoint.Checkpoint, network: str) -> Any:
    """A network of a checkpoint as a keras.Sequential, on the CPU."""
    from keras_impl import device  # first: it imports Keras and its engine quietly
    from keras_impl.canonical import from_canonical_layout, parameter_tensors

    device.prepare(replace(saved.config, device="cpu"))
    dtype = "float64" if saved.config.precision == "float64" else "float32"
    table = architecture.of(saved.config)
    with device.keras.device("cpu:0"):
        model = _network(network, table, dtype)
        for name, variable in parameter_tensors(model, network, table).items():
            variable.assign(from_canonical_layout(name, saved.arrays[name], table))
    return model


def export_model(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a network of Keras's own layers: keras.saving.load_model reads it without this code.

    In evaluation mode they mean the same; training, Keras's batch norm keeps the biased variance.
    """
    _save(path, "network.keras", _plain(to_framework(saved, network)).save)


def export_lite(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a LiteRT (TensorFlow Lite) file: float32 (N, ...) in, (N, ...) out, any N. UserError on
    an engine on which Keras writes none."""
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        raise UserError(
            f"Keras writes {path.suffix} files with its TensorFlow engine; leave KERAS_BACKEND out "
            "for it, whichever engine trained the run."
        )
    model = _plain(to_framework(saved, network))

    def write(file: Path) -> None:
        model.export(str(file), format="litert", verbose=False)

    _save(path, "network.tflite", write)


def _plain(network: Any) -> Any:
    """The same network with Keras's own layer for each of ours."""
    import keras

    from keras_impl import layers

    def own(layer: Any) -> Any:
        theirs = {
            layers.BatchNormalization: keras.layers.BatchNormalization,
            layers.LeakyReLU: keras.layers.LeakyReLU,
        }
        kind = theirs.get(type(layer), type(layer))
        return kind.from_config(layer.get_config())

    with keras.device("cpu:0"):
        copy = keras.models.clone_model(network, clone_function=own)
        copy.set_weights(network.get_weights())
    return copy


def export_weights(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a network's weights, which load_weights of Generator() or Discriminator() reads."""
    if not path.name.endswith(".weights.h5"):
        raise UserError(f"Keras's weight files end in .weights.h5; {path} does not.")
    _save(path, "network.weights.h5", to_framework(saved, network).save_weights)


def _save(path: Path, name: str, save: Callable[[Path], None]) -> None:
    # On other engines too Keras loads TensorFlow to write a file, where it is installed.
    with quiet(), tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / name)
        checkpoint.write_atomically(path, (Path(folder) / name).read_bytes())


def import_model(network: str, path: Path, key: str | None = None) -> conversion.Imported:
    """Read a `.keras` file's weights, and its batch norms' epsilons. UserError if it is of another
    architecture.

    Its layers are looked at, too: weights fit layers of another slope, stride or activation.
    """
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read(CONFIG_IN_KERAS))
            content = file.read(WEIGHTS_IN_KERAS)
    except (  # RuntimeError: encrypted, or compressed in an unknown way
        zipfile.BadZipFile,
        KeyError,
        RuntimeError,
        ValueError,
        EOFError,
    ) as error:
        raise UserError(
            f"{path} cannot be read as a .keras file ({type(error).__name__}); save it with "
            "network.save(path)."
        ) from None
    table, arrays, both = _import(network, path, io.BytesIO(content), key)
    layers = _layers(config)
    if layers is None:  # a class of one's own; the names and shapes of its weights were right
        return conversion.Imported(arrays, both=both)
    ours = _layers(json.loads(_network(network, table).to_json())) or []
    _compare_layers(network, path, layers, ours)
    norms = [layer["config"] for layer in layers if "epsilon" in layer["config"]]
    return conversion.Imported(arrays, [float(norm["epsilon"]) for norm in norms])


def _layers(config: Any) -> list[dict[str, Any]] | None:
    """The layers in a network's JSON as Keras writes it, None if it names none."""
    try:
        layers = config["config"]["layers"]
        return [layer for layer in layers if isinstance(layer["config"], dict)]
    except (KeyError, TypeError):
        return None


def _compare_layers(
    network: str, path: Path, theirs: list[dict[str, Any]], ours: list[dict[str, Any]]
) -> None:
    """UserError at the first operation that is not the same."""
    for number, (a, b) in enumerate(
        itertools.zip_longest(_operations(theirs), _operations(ours), fillvalue="no further one"), 1
    ):
        if a != b:
            raise UserError(
                f"{path} is of another architecture: operation {number} of the {network} is "
                f"{a}, not {b}."
            )


# What else than weights a layer's result depends on, by its name in the layer's config.
FACTS = ("strides", "padding", "dilation_rate", "data_format", "pool_size", "groups")


def _operations(layers: list[dict[str, Any]]) -> list[str]:
    """What a network does in words, one item a layer and one an activation.

    max pooling goes before an activation, whose order is the same function.
    """
    found: list[str] = []
    for layer in layers:
        kind, config = str(layer.get("class_name")), layer["config"]
        if kind in ("InputLayer", "Flatten", "Reshape"):
            continue
        if kind == "LeakyReLU":
            found.append(f"LeakyReLU {config.get('negative_slope')}")
        elif kind == "ReLU":
            plain = not config.get("max_value") and not config.get("negative_slope")
            found.append("relu" if plain else "a bounded ReLU")
        elif kind != "Activation":
            facts = [f"{name} {config[name]}" for name in FACTS if name in config]
            found.append(", ".join([kind, *facts]))
        if config.get("activation") not in (None, "linear"):
            found.append(str(config["activation"]))
        swap = found[-1].startswith("MaxPooling2D") and found[-2:-1]
        if swap and (swap == ["relu"] or swap[0].startswith("LeakyReLU")):
            found[-2:] = found[:-3:-1]
    return found


def import_weights(network: str, path: Path, key: str | None = None) -> conversion.Imported:
    """Read a `.weights.h5` file. UserError if it is of another architecture.

    It holds no slope: that is taken to be ours, 0.01.
    """
    _, arrays, both = _import(network, path, io.BytesIO(path.read_bytes()), key)
    return conversion.Imported(arrays, both=both)


def _import(
    network: str, path: Path, content: io.BytesIO, key: str | None
) -> tuple[Architecture, checkpoint.Arrays, bool]:
    """The architecture of a network in an HDF5 file of weights, its arrays under their canonical
    names, and whether the file has a discriminator, too: a class that trains holds both."""
    values = _read(path, content)
    if any(name.startswith("model_weights/") for name in values):
        raise UserError(
            f"{path} is a whole network in Keras's old format; save it with "
            "network.save_weights('x.weights.h5'), or as .keras."
        )
    if any(name.startswith("optimizer/") for name in values):
        values = {k: v for k, v in values.items() if not k.startswith("optimizer/")}
        print(
            f"{path}: the optimizer's moments are left out, since Keras's Adam counts and places "
            "its epsilon in its own way; training goes on with moments of zero."
        )
    parts: dict[str, checkpoint.Arrays] = {}
    for name, array in values.items():
        if "/optimizer/" not in name:
            first, _, rest = name.partition("/")
            parts.setdefault(first, {})[rest] = array
    part = matching.the_one(path, network, parts, key)
    values = values if part is None else parts[part]
    table = matching.table_of(network, [a.shape for a in values.values() if a.ndim > 1])
    names, wanted = _stored_names(network, table), matching.shapes(network, table)
    if set(names.values()) != set(values):
        names = matching.layers_by_shape(path, values, names, wanted, "/vars/")
    arrays = matching.collect(path, network, values, names, wanted)
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise UserError(f"{path}: {name} holds {array.dtype}, not floating point.")
    both = any(matching.names_network(name, "discriminator") for name in parts)
    return table, arrays, both


def _read(path: Path, content: io.BytesIO) -> dict[str, np.ndarray]:
    """Every array of an HDF5 file, by its path in it. h5py comes with Keras."""
    import h5py  # type: ignore[import-untyped]

    values: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            values[name] = np.asarray(item)

    try:
        with h5py.File(content, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read as Keras's weights ({type(error).__name__}); save them with "
            "network.save_weights(path)."
        ) from None
    return values


def _network(network: str, table: Architecture, dtype: str | None = None) -> Any:
    """A fresh network on the CPU."""
    from keras_impl import device  # first: it imports Keras and its engine quietly
    from keras_impl.architectures import make_discriminator, make_generator

    with device.keras.device("cpu:0"):
        return (make_generator if network == "generator" else make_discriminator)(table, dtype)


def _stored_names(network: str, table: Architecture) -> dict[str, str]:
    """Canonical name -> name in a file of Keras's, seen in a file of ours.

    Keras names a layer by its class and its number: layers/dense_1/vars/0.
    """
    model = _network(network, table)
    from keras_impl.canonical import parameter_tensors

    with quiet(), tempfile.TemporaryDirectory() as folder:
        variables = parameter_tensors(model, network, table)
        for mark, variable in enumerate(variables.values()):
            variable.assign(np.full(variable.shape, mark, np.float32))
        file = Path(folder) / "marked.weights.h5"
        model.save_weights(file)
        marked = _read(file, io.BytesIO(file.read_bytes()))
    names = {int(array.flat[0]): name for name, array in marked.items()}
    return {canonical: names[mark] for mark, canonical in enumerate(variables)}


# By the ending of a file's name.
EXPORTS: dict[str, conversion.Export] = {
    ".keras": export_model,
    ".h5": export_weights,
    ".tflite": export_lite,
}
IMPORTS: dict[str, conversion.Import] = {".keras": import_model, ".h5": import_weights}

if __name__ == "__main__":
    exit_without_engine()
    conversion.main("keras", EXPORTS, IMPORTS)
