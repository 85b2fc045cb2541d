"""Keras's own files <-> checkpoints: `python -m keras_impl.convert --help`.

.keras is a whole network as model.save writes it, .weights.h5 its weights as model.save_weights
writes them. Imported are weights only: no file decides which code is run.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion
from common.config import UserError
from common.quiet import quiet
from keras_impl import load_engine, main_check

WEIGHTS_IN_KERAS = "model.weights.h5"  # the member of a .keras file, a zip archive


def to_framework(saved: checkpoint.Checkpoint, network: str) -> Any:
    """A network of a checkpoint as a keras.Sequential, on the CPU."""
    engine = load_engine()
    import keras

    from keras_impl import state as states
    from keras_impl.networks import Discriminator, Generator

    engine.prepare(saved.config.precision)
    dtype = "float64" if saved.config.precision == "float64" else "float32"
    generator = network == "generator"
    with keras.device("cpu:0"):
        model = Generator(saved.config.noise_size, dtype) if generator else Discriminator(dtype)
        for name, variable in states.parameter_tensors(model, network).items():
            variable.assign(states.from_canonical_layout(name, saved.arrays[name]))
    return model


def export_model(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a network that keras.saving.load_model reads where keras_impl.layers was imported."""
    _save(path, "network.keras", to_framework(saved, network).save)


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


def import_model(network: str, path: Path) -> checkpoint.Arrays:
    """Read a `.keras` file's weights. UserError if it is of another architecture."""
    try:
        with zipfile.ZipFile(path) as file:
            content = file.read(WEIGHTS_IN_KERAS)
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read as a .keras file ({type(error).__name__}); save it with "
            "network.save(path)."
        ) from None
    return _import(network, path, io.BytesIO(content))


def import_weights(network: str, path: Path) -> checkpoint.Arrays:
    """Read a `.weights.h5` file. UserError if it is of another architecture."""
    return _import(network, path, io.BytesIO(path.read_bytes()))


def _import(network: str, path: Path, content: io.BytesIO) -> checkpoint.Arrays:
    """The arrays of an HDF5 file of weights under their canonical names."""
    values = _read(path, content)
    wanted = _stored_names(network)
    for name in sorted(set(wanted) ^ set(values)):
        what = "lacks" if name in wanted else "has an unknown"
        raise UserError(f"{path} {what} weight {name!r}; it is no {network} of this architecture.")
    first = next(name for name, canonical in wanted.items() if canonical.endswith("dense1/kernel"))
    noise_size = values[first].shape[0] if network == "generator" and values[first].ndim else 96
    shapes = architecture.get("mnist28", noise_size).parameters()
    arrays = {}
    for name, canonical in wanted.items():
        if values[name].shape != shapes[canonical]:
            raise UserError(
                f"{path} is of another architecture: {name} ({canonical}) has shape "
                f"{values[name].shape}, not {shapes[canonical]}."
            )
        if values[name].dtype.kind != "f":
            raise UserError(f"{path}: {name} holds {values[name].dtype}, not floating point.")
        arrays[canonical] = values[name]
    return arrays


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


def _stored_names(network: str) -> dict[str, str]:
    """Name in a file of Keras's -> canonical name, seen in a file that Keras writes for us.

    Keras names a layer by its class and its number: layers/dense_1/vars/0.
    """
    load_engine()
    import keras

    from keras_impl import state as states
    from keras_impl.networks import Discriminator, Generator

    with quiet(), keras.device("cpu:0"), tempfile.TemporaryDirectory() as folder:
        model = Generator() if network == "generator" else Discriminator()
        variables = states.parameter_tensors(model, network)
        for mark, variable in enumerate(variables.values()):
            variable.assign(np.full(variable.shape, mark, np.float32))
        file = Path(folder) / "marked.weights.h5"
        model.save_weights(file)
        marked = _read(file, io.BytesIO(file.read_bytes()))
    names = list(variables)
    return {name: names[int(array.flat[0])] for name, array in marked.items()}


if __name__ == "__main__":
    main_check()
    conversion.main(
        "keras",
        {".keras": export_model, ".h5": export_weights},
        {".keras": import_model, ".h5": import_weights},
    )
