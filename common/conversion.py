"""The command `python -m <impl>.convert`: a framework's own weight files <-> checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import tyro

from common import checkpoint, commandline, limits, matching, onnxfile
from common.architecture import BATCH_NORM_EPSILON, Architecture
from common.checkpoint import Arrays
from common.config import UNKNOWN_PICTURES, Config, UserError

Network = Literal["generator", "discriminator"]
# Write one network of a checkpoint as a file of the framework.
Export = Callable[[checkpoint.Checkpoint, str, Path], None]


class Imported(NamedTuple):
    """What a weight file holds."""

    arrays: Arrays  # by canonical name: `generator/dense1/kernel` and so on
    epsilons: list[float] | None = None  # its batch norms', in their order, where the file tells
    both: bool = False  # does it hold the other network, too?


# Read one network's file. The last: where in it the network lies, as --key says.
Import = Callable[[str, Path, str | None], Imported]

CHECKPOINT_ENDING = ".safetensors"
FOLDER_ENDINGS = (".savedmodel",)
MANAGED = "checkpoints/"  # instead of an ending: a folder of TensorFlow's CheckpointManager


def _are_epsilons(value: str | None) -> bool:
    """Are they numbers above 0 and below 10, with commas between them?"""
    try:
        return value is None or all(0 < float(word) < 10 for word in value.split(","))
    except ValueError:
        return False


@dataclass(frozen=True)
class ConvertArguments:
    """What to convert; the endings of the two names say in which direction."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = {
        "batch_norm_epsilon": (
            "a number above 0 and below 10, or one for each batch norm with commas between them",
            _are_epsilons,
        )
    }

    source: tyro.conf.Positional[str]
    """A run directory or checkpoint to export, or a generator's weight file to import."""

    target: tyro.conf.Positional[str]
    """The file or folder to write. Of a weight file, a .safetensors file is a checkpoint to resume
    from."""

    network: Network = "generator"
    """Which network of a checkpoint to export; of recipe tuned, the averaged generator."""

    discriminator: str | None = None
    """The discriminator's weight file, to import along with the generator."""

    key: str | None = None
    """Where in a file of several the generator lies, as G_ema; with --discriminator, or where the
    file holds both, of both networks: G_ema,D."""

    batch_norm_epsilon: str | None = None
    """Of an import: the epsilon that its batch norms were trained with, or theirs in their order,
    1e-5,0.8,0.8. Weight files do not hold it: PyTorch's default is 1e-5, which is assumed, Keras's
    1e-3."""

    overwrite: bool = False
    """Replace the target if it exists."""


def main(backend: str, exports: dict[str, Export], imports: dict[str, Import]) -> None:
    """`python -m <backend>_impl.convert`. exports and imports: by the ending of the file's name."""
    exports = exports | {".onnx": onnxfile.export}
    known = f"exports {' '.join(exports)}; imports {' '.join(imports)}"
    with commandline.command():
        arguments, given = commandline.parse(
            ConvertArguments,
            sys.argv[1:],
            prog=f"python -m {backend}_impl.convert",
            description=(
                f"Convert between checkpoints and {backend}'s own files ({known}). "
                f"Export: RUN FILE. Import: FILE CHECKPOINT{CHECKPOINT_ENDING}."
            ),
        )
        with commandline.writing(arguments.target):
            source, target = Path(arguments.source), Path(arguments.target)
            if (target.exists() or _is_there(target)) and not arguments.overwrite:
                raise UserError(
                    f"{target} exists already; choose another name, or give --overwrite."
                )
            if not target.parent.is_dir():
                raise UserError(f"{target} cannot be written: there is no folder {target.parent}.")
            if target.suffix == CHECKPOINT_ENDING and not (
                target.suffix in exports and _is_training(source)
            ):
                if "network" in given:
                    raise UserError(
                        "--network is for an export; an import takes the generator first."
                    )
                files = {"generator": source}
                if arguments.discriminator is not None:
                    files["discriminator"] = Path(arguments.discriminator)
                found = _read_all(backend, imports, files, arguments.key)
                _adapt_epsilons(files, found, arguments.batch_norm_epsilon)
                print(_import(backend, files, found, target))
                return
            if target.suffix not in exports:
                raise UserError(
                    f"{target} has no known ending; {backend} {known}, and {CHECKPOINT_ENDING} is "
                    "a checkpoint."
                )
            if arguments.discriminator is not None:
                raise UserError("--discriminator is for an import; export it with --network.")
            for flag in ("batch_norm_epsilon", "key"):
                if getattr(arguments, flag) is not None:
                    raise UserError(f"{limits.flag(flag)} is for an import; leave it out.")
            saved = checkpoint.load(checkpoint.find(source))
            # The generator whose images samples are.
            saved = replace(saved, arrays=checkpoint.averaged(saved.arrays))
            exports[target.suffix](saved, arguments.network, target)
            print(f"{arguments.network} of {source} at step {saved.step} -> {target}")


def _is_training(path: Path) -> bool:
    """Is it a run or a checkpoint, and not a weight file?"""
    try:
        checkpoint.load(checkpoint.find(path))
    except UserError:
        return False
    return True


def _read_all(
    backend: str, imports: dict[str, Import], files: dict[str, Path], key: str | None
) -> dict[str, Imported]:
    """What the files hold, by network. A file of both networks joins `files` for the other, too.

    key: as the flag.
    """
    keys = dict(zip(("generator", "discriminator"), (key or "").split(","), strict=False))
    found = {
        network: _read(backend, imports, network, path, keys.get(network) or None)
        for network, path in files.items()
    }
    if found["generator"].both and "discriminator" not in files:
        path = files["discriminator"] = files["generator"]
        found["discriminator"] = _read(
            backend, imports, "discriminator", path, keys.get("discriminator") or None
        )
    if (key or "").count(",") > 1 or ("," in (key or "") and "discriminator" not in files):
        raise UserError(
            f"--key takes a name for each network that is imported, {', '.join(files)}, with "
            f"commas between them, not {key}."
        )
    return found


def _import(backend: str, files: dict[str, Path], found: dict[str, Imported], target: Path) -> str:
    """Write a checkpoint of step 0 from what weight files hold; moments are zero."""
    tables = {network: _table(each.arrays, network) for network, each in found.items()}
    table = tables["generator"]
    theirs = tables.get("discriminator", table)
    if (theirs.image_shape, theirs.width) != (table.image_shape, table.width):
        raise UserError(
            f"{files['generator']} and {files['discriminator']} are no pair: the generator makes "
            f"images of {_sizes(table)}, the discriminator takes {_sizes(theirs)}."
        )
    read = {name: array for each in found.values() for name, array in each.arrays.items()}
    chosen = Config(
        # float64 weights stay what they are; narrower ones fit into float32.
        precision="float64" if any(a.dtype == np.float64 for a in read.values()) else "float32",
        **_experiment(table, read),
    )
    arrays = checkpoint.initial(chosen)
    for name, array in read.items():
        arrays[name] = array.astype(arrays[name].dtype)
    try:
        checkpoint.save(target, arrays, chosen, backend, {})
    except checkpoint.CheckpointError as error:
        sources = " or ".join(dict.fromkeys(map(str, files.values())))
        raise UserError(f"{sources} cannot be imported: {error}.") from None
    rest = "" if "discriminator" in files else "; the discriminator has its initial weights"
    if files.get("discriminator") == files["generator"]:
        rest = "; both networks"
    return f"{files['generator']} -> {target}, at step 0 with zero Adam moments{rest}"


def _adapt_epsilons(files: dict[str, Path], found: dict[str, Imported], given: str | None) -> None:
    """Move what a batch norm's epsilon is more than ours into its running variance, in place: their
    sum, which is all that evaluation mode sees, stays the same. Says so, and what is assumed.

    given: what the command line says of the files that do not tell.
    """
    untold = {
        network: variances
        for network, each in found.items()
        if each.epsilons is None
        and (variances := [n for n in each.arrays if n.endswith("/moving_variance")])
    }
    values = [] if given is None else [float(value) for value in given.split(",")]
    sources = " and ".join(dict.fromkeys(str(files[network]) for network in untold))
    count = sum(map(len, untold.values()))
    if values and not untold:
        raise UserError(
            "--batch-norm-epsilon is for files that hold none, and here none is needed; leave it "
            "out."
        )
    if len(values) not in (0, 1, count):
        raise UserError(
            f"--batch-norm-epsilon has {len(values)} values for the {count} batch norms of "
            f"{sources}; give one, or one of each."
        )
    if untold and not values:
        print(
            f"{sources}: a weight file does not "
            f"hold its batch norms' epsilon, {BATCH_NORM_EPSILON:g} is assumed (PyTorch's default; "
            "Keras's is 1e-3); if the network was built with another, give it with "
            "--batch-norm-epsilon, or its images are others."
        )
    rest = iter(values * count if len(values) == 1 else values or [BATCH_NORM_EPSILON] * count)
    for network, each in found.items():
        variances = [name for name in each.arrays if name.endswith("/moving_variance")]
        for name, epsilon in zip(variances, each.epsilons or rest, strict=False):
            if epsilon != BATCH_NORM_EPSILON:
                array = each.arrays[name]
                moved = np.asarray(epsilon - BATCH_NORM_EPSILON, array.dtype)
                each.arrays[name] = array + moved
                print(
                    f"{files[network]}: {name.split('/')[1]}'s epsilon is {epsilon:g}, here "
                    f"{BATCH_NORM_EPSILON:g}; the difference was added to its running variance, "
                    "so samples stay the same, and training goes on with the one of here."
                )


def _table(arrays: Arrays, network: str) -> Architecture:
    """The architecture of a network's canonical arrays."""
    kernels = [array.shape for name, array in arrays.items() if name.endswith("/kernel")]
    return matching.table_of(network, kernels)


def _sizes(table: Architecture) -> str:
    height, width, channels = table.image_shape
    filters = "" if table.width is None else f" (width {table.width})"
    return f"{height} x {width} x {channels}{filters}"


def _experiment(table: Architecture, arrays: Arrays) -> dict[str, Any]:
    """The fields of a Config with networks of these sizes. Of dcgan nothing tells the data set: it
    is named when the training goes on."""
    if table.name == "mnist28":
        sizes = [
            arrays[name].shape[axis]
            for name, shape in matching.shapes("generator", table).items()
            for axis, length in enumerate(shape)
            if length is None
        ]
        return {"noise_size": int(sizes[0])}
    size, _, channels = table.image_shape
    return {
        "architecture": "dcgan",
        "dataset": UNKNOWN_PICTURES,
        "image_size": size,
        "channels": channels,
        "width": table.width,
        "noise_size": table.noise_size,
    }


def _read(
    backend: str, imports: dict[str, Import], network: str, path: Path, key: str | None
) -> Imported:
    ending = _ending(path, imports)
    other = checkpoint.WEIGHT_FILES.get(path.suffix, "")
    if _is_prefix(path) or _is_saved_model(path) or _is_managed(path):
        other = "tensorflow"
    if other not in ("", backend) and (ending is None or other == "tensorflow"):
        raise UserError(
            f"{path} is a file of {other}'s; import it with `python -m {other}_impl.convert`."
        )
    if ending is None:
        raise UserError(f"{path} is no weight file that {backend} imports ({' '.join(imports)}).")
    if not _is_there(path):
        raise UserError(f"There is no file {path}.")
    return imports[ending](network, path, key)


def _ending(path: Path, imports: dict[str, Import]) -> str | None:
    """By which of the endings a file is read: TensorFlow's own names need not have one."""
    for ending, is_it in (
        (".ckpt", _is_prefix(path)),
        (".savedmodel", _is_saved_model(path)),
        (MANAGED, _is_managed(path)),
    ):
        if is_it and ending in imports:
            return ending
    return path.suffix if path.suffix in imports else None


def _is_prefix(path: Path) -> bool:
    """Is it the prefix of a TensorFlow checkpoint: path.index and path.data-*?"""
    return path.with_name(f"{path.name}.index").is_file()


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _is_managed(path: Path) -> bool:
    """Is it a folder of TensorFlow checkpoints, with the file that names the newest?"""
    return (path / "checkpoint").is_file()


def _is_there(path: Path) -> bool:
    """Is it the file, the folder, or the prefix (path.index and path.data-*) its ending means?"""
    if path.suffix in FOLDER_ENDINGS:
        return path.is_dir()
    return path.is_file() or _is_prefix(path) or _is_saved_model(path) or _is_managed(path)
