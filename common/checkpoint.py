"""A training state as one safetensors file, the same from every backend, written atomically."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture
from common.config import Config, UserError, from_json, recipe_of, to_json
from common.limits import quoted

FORMAT_VERSION = "1"
FILE_NAME = "checkpoint.safetensors"
# Endings of frameworks' own files -> who converts them.
WEIGHT_FILES = {
    ".pth": "pytorch", ".pt": "pytorch", ".keras": "keras", ".h5": "keras", ".index": "tensorflow",
}  # fmt: skip
AVERAGE = "average/"
NETWORKS = ("discriminator/", "generator/")
COUNTS = ("step", "optimizer/discriminator/count", "optimizer/generator/count")
LARGEST = 2**31  # bytes of a file that is read as a whole
LARGEST_JSON = 2**26

Arrays = dict[str, NDArray[Any]]


class CheckpointError(UserError):
    """A file that is no checkpoint of this format, or one that holds impossible values."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds, checked."""

    arrays: Arrays  # canonical name -> array, see expected()
    config: Config
    step: int  # updates done
    backend: str  # which one wrote it
    versions: dict[str, str]
    weights_only: bool = False  # of save_weights: without an optimizer's state to go on with


def expected(config: Config) -> dict[str, tuple[tuple[int, ...], str]]:
    """Canonical name -> (shape, dtype) of every array of a state.

    Parameters and running statistics, both Adam moments of each trainable parameter (float32;
    float64 in float64 runs), and int64 scalars: `step` and each optimizer's count. If the recipe
    averages the generator, its averaged parameters and statistics: average/generator/...
    """
    table = architecture.of(config)
    dtype = "float64" if config.precision == "float64" else "float32"
    arrays = {name: (shape, dtype) for name, shape in table.parameters().items()}
    for name, shape in table.trainable().items():
        for moment in ("first_moment", "second_moment"):
            arrays[f"optimizer/{name}/{moment}"] = (shape, dtype)
    if recipe_of(config).average:
        for name, shape in table.parameters().items():
            if name.startswith("generator/"):
                arrays[AVERAGE + name] = (shape, dtype)
    return arrays | dict.fromkeys(COUNTS, ((), "int64"))


def check(arrays: Arrays, config: Config) -> None:
    """Raise CheckpointError at the first name, shape, dtype or value that cannot be right."""
    wanted = expected(config)
    for name in wanted:
        if name not in arrays:
            raise CheckpointError(f"array {name!r} is missing")
    for name, array in arrays.items():
        if name not in wanted:
            raise CheckpointError(
                f"array {name!r} is unknown to architecture {config.architecture}"
            )
        shape, dtype = wanted[name]
        if array.shape != shape:
            raise CheckpointError(f"array {name!r} has shape {array.shape} instead of {shape}")
        if array.dtype != dtype:
            raise CheckpointError(f"array {name!r} has type {array.dtype} instead of {dtype}")
        if not np.isfinite(array).all():
            raise CheckpointError(f"array {name!r} holds NaN or infinity")
        if name.endswith(("/second_moment", "/moving_variance")) and array.min() < 0:
            raise CheckpointError(f"array {name!r} holds a negative variance")
        if name in COUNTS and array < 0:
            raise CheckpointError(f"{name!r} is negative: {array}")
    for name in COUNTS:  # an engine may go on from either
        if arrays[name] != arrays["step"]:
            raise CheckpointError(f"{name!r} is {arrays[name]} at step {arrays['step']}")


def save(
    path: Path, arrays: Arrays, config: Config, backend: str, versions: dict[str, str]
) -> None:
    """Write a state so that a reader finds the old file or the new one, never a part of either.

    Raises OSError if the disk refuses; the old file then stands and nothing else is left.
    """
    check(arrays, config)
    contiguous = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    _write(path, contiguous, config, int(arrays["step"]), backend, versions)


def save_weights(path: Path, saved: Checkpoint) -> None:
    """Write what draws samples, and no more: both networks, of G the average if there is one.

    A fifth of a checkpoint's size: no moments, and kernels as float16. load() gives them back as
    a checkpoint's arrays. Raises OSError as save does.
    """
    arrays = {
        name: array.astype(_kept_as(array.shape))
        for name, array in averaged(saved.arrays).items()
        if name.startswith(NETWORKS)
    }
    _write(
        path, arrays, saved.config, saved.step, saved.backend, saved.versions, contents="weights"
    )


def _kept_as(shape: tuple[int, ...]) -> str:
    """The dtype of an array in a file of save_weights()."""
    return "float16" if len(shape) > 1 else "float32"


def _write(
    path: Path,
    arrays: Arrays,
    config: Config,
    step: int,
    backend: str,
    versions: dict[str, str],
    **more: str,
) -> None:
    """Write arrays with the metadata that load() expects, and `more` of it."""
    from safetensors.numpy import save as serialize  # here: a state can be made and used without it

    metadata = {
        "format_version": FORMAT_VERSION,
        "architecture": config.architecture,
        "backend": backend,
        "step": str(step),
        "config": json.dumps(to_json(config), sort_keys=True),
        "versions": json.dumps(versions, sort_keys=True),
        **more,
    }
    write_atomically(path, serialize(arrays, metadata))


def parameter_of(name: str) -> str:
    """The parameter that an array belongs to: the array has its layout, as a moment or average."""
    return name.removeprefix("optimizer/").removeprefix(AVERAGE)


def averaged(arrays: Arrays) -> Arrays:
    """A state whose generator is the averaged one, if it has one: the one that draws samples."""
    return arrays | {
        name.removeprefix(AVERAGE): array
        for name, array in arrays.items()
        if name.startswith(AVERAGE)
    }


def write_atomically(path: Path, content: bytes) -> None:
    """Temporary file in the same folder, flush, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_regular(path: Path, most: int = LARGEST) -> bytes:
    """The content of a regular file of at most so many bytes. OSError for anything else.

    Reading a pipe may never begin, and reading a device may never end.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    if size > most:
        raise OSError(errno.EFBIG, f"a file of {size} bytes, more than {most}")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """The value in a JSON file. OSError if it cannot be read, ValueError if it is no JSON."""
    try:
        return json.loads(read_regular(path, LARGEST_JSON))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all. OSError if it cannot be written."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint file. Raises CheckpointError naming file and fault."""
    from safetensors import SafetensorError

    try:
        return _load(path)
    except (CheckpointError, UserError) as error:
        reason = str(error).rstrip(".")
        raise CheckpointError(f"{path} cannot be used as a checkpoint: {reason}.") from None
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint at {path}.") from None
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as a safetensors checkpoint ({reason}); is it a file that "
            "training wrote, and whole?"
        ) from None


def _load(path: Path) -> Checkpoint:
    from safetensors import safe_open

    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise CheckpointError(f"it is {kind}, not a file")
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("format_version") != FORMAT_VERSION:
            raise CheckpointError(
                f"its format version is {metadata.get('format_version')!r}, this program reads "
                f"{FORMAT_VERSION!r}"
            )
        config = from_json(json.loads(metadata["config"]))
        weights_only = metadata.get("contents") == "weights"
        wanted = expected(config)
        if weights_only:
            wanted = {name: what for name, what in wanted.items() if name.startswith(NETWORKS)}
        # The names are compared before any array is read: an unknown file costs no memory.
        for name in sorted(set(file.keys()) ^ set(wanted)):
            what = "is missing" if name in wanted else "is unknown to the architecture"
            raise CheckpointError(f"array {name!r} {what}")
        arrays = {}
        for name, (shape, _) in wanted.items():
            if tuple(file.get_slice(name).get_shape()) != shape:
                found = tuple(file.get_slice(name).get_shape())
                raise CheckpointError(f"array {name!r} has shape {found} instead of {shape}")
            arrays[name] = file.get_tensor(name)
            if weights_only and arrays[name].dtype != _kept_as(shape):
                raise CheckpointError(
                    f"array {name!r} has type {arrays[name].dtype} instead of {_kept_as(shape)}"
                )
    if weights_only:
        arrays = _complete(arrays, config, int(metadata["step"]))
    check(arrays, config)
    step = int(arrays["step"])
    if metadata.get("step") != str(step) or metadata.get("architecture") != config.architecture:
        raise CheckpointError("its metadata and its arrays disagree about the step or architecture")
    versions = json.loads(metadata.get("versions", "{}"))
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise CheckpointError("its metadata's versions are no object of texts")
    backend = metadata.get("backend", "unknown")
    return Checkpoint(arrays, config, step, backend, versions, weights_only)


def _complete(weights: Arrays, config: Config, step: int) -> Arrays:
    """The arrays of a state from the weights of a file of save_weights; moments are zero."""
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in expected(config).items()}
    for name, array in weights.items():
        for key in (name, AVERAGE + name):
            if key in arrays:
                arrays[key] = array.astype(arrays[key].dtype)
    return arrays | {name: np.array(step, np.int64) for name in COUNTS}


def exists(path: Path) -> bool:
    """Whether a path names something; an impossible name (too long, say) does not."""
    try:
        return path.exists()
    except OSError:
        return False


def find(run: Path, else_: str = "") -> Path:
    """The checkpoint file that a run directory or a file path means. UserError if it is neither.

    else_: what may be given instead, for the sentence.
    """
    if exists(Path(f"{run}.index")) or exists(run / "saved_model.pb"):
        raise _to_convert(run, "tensorflow")
    if not exists(run):
        raise UserError(f"There is no {run}; give a run directory or a checkpoint file{else_}.")
    if run.is_dir():
        if not (run / FILE_NAME).exists():
            raise UserError(f"The run directory {run} has no checkpoint yet ({FILE_NAME}).")
        return run / FILE_NAME
    if run.suffix in WEIGHT_FILES:
        raise _to_convert(run, WEIGHT_FILES[run.suffix])
    return run


def _to_convert(run: Path, backend: str) -> UserError:
    """What has a framework's own file to say to whoever takes it for a checkpoint."""
    target = f"{run.name.partition('.')[0] or run.name}.safetensors"
    return UserError(
        f"{run} holds weights and no training; make a checkpoint of it first, with `python -m "
        f"{backend}_impl.convert {quoted(run, target)}`."
    )


def initial(config: Config) -> Arrays:
    """The state before the first step: initial weights, an average equal to them, and zeros."""
    from common.initializers import initial_parameters

    table = architecture.of(config)
    arrays: Arrays = {
        name: np.zeros(shape, dtype) for name, (shape, dtype) in expected(config).items()
    }
    for name, array in initial_parameters(table, config.seed).items():
        arrays[name] = array.astype(arrays[name].dtype)
        if AVERAGE + name in arrays:
            arrays[AVERAGE + name] = arrays[name].copy()
    return arrays
