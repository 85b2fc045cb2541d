"""The command `python -m <impl>.convert`: a framework's own weight files <-> checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import tyro

from common import architecture, checkpoint, commandline
from common.architecture import Architecture
from common.checkpoint import Arrays
from common.config import UNKNOWN_PICTURES, Config, UserError
from common.limits import LARGEST_NOISE, LARGEST_WIDTH

Network = Literal["generator", "discriminator"]
# Write one network of a checkpoint as a file of the framework.
Export = Callable[[checkpoint.Checkpoint, str, Path], None]
# Read one network's file: its canonical parameters, `generator/dense1/kernel` and so on.
Import = Callable[[str, Path], Arrays]

CHECKPOINT_ENDING = ".safetensors"
FOLDER_ENDINGS = (".savedmodel",)
V = TypeVar("V", bound=Any)  # an array or tensor, with its shape


@dataclass(frozen=True)
class ConvertArguments:
    """What to convert; the endings of the two names say in which direction."""

    source: tyro.conf.Positional[str]
    """A run directory or checkpoint to export, or a generator's weight file to import."""

    target: tyro.conf.Positional[str]
    """The file or folder to write; a .safetensors file is a checkpoint to resume from."""

    network: Network = "generator"
    """Which network of a checkpoint to export; of recipe tuned, the averaged generator."""

    discriminator: str | None = None
    """The discriminator's weight file, to import along with the generator."""

    overwrite: bool = False
    """Replace the target if it exists."""


def main(backend: str, exports: dict[str, Export], imports: dict[str, Import]) -> None:
    """`python -m <backend>_impl.convert`. exports and imports: by the ending of the file's name."""
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
            if target.suffix == CHECKPOINT_ENDING:
                if "network" in given:
                    raise UserError(
                        "--network is for an export; an import takes the generator first."
                    )
                print(_import(backend, imports, source, arguments.discriminator, target))
                return
            if target.suffix not in exports:
                raise UserError(
                    f"{target} has no known ending; {backend} {known}, and {CHECKPOINT_ENDING} is "
                    "a checkpoint."
                )
            if arguments.discriminator is not None:
                raise UserError("--discriminator is for an import; export it with --network.")
            saved = checkpoint.load(checkpoint.find(source))
            # The generator whose images samples are.
            saved = replace(saved, arrays=checkpoint.averaged(saved.arrays))
            exports[target.suffix](saved, arguments.network, target)
            print(f"{arguments.network} of {source} at step {saved.step} -> {target}")


def _import(
    backend: str,
    imports: dict[str, Import],
    generator: Path,
    discriminator: str | None,
    target: Path,
) -> str:
    """Write a checkpoint of step 0 from weight files; moments are zero."""
    read = _read(backend, imports, "generator", generator)
    table = _table(read, "generator")
    if discriminator is not None:
        other = _read(backend, imports, "discriminator", Path(discriminator))
        theirs = _table(other, "discriminator")
        if (theirs.image_shape, theirs.width) != (table.image_shape, table.width):
            raise UserError(
                f"{generator} and {discriminator} are no pair: the generator makes images of "
                f"{_sizes(table)}, the discriminator takes {_sizes(theirs)}."
            )
        read |= other
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
        sources = " or ".join(str(path) for path in (generator, discriminator) if path is not None)
        raise UserError(f"{sources} cannot be imported: {error}.") from None
    rest = "" if discriminator is not None else "; the discriminator has its initial weights"
    return f"{generator} -> {target}, at step 0 with zero Adam moments{rest}"


def _table(arrays: Arrays, network: str) -> Architecture:
    """The architecture of a network's canonical arrays."""
    return table_of(network, [a.shape for name, a in arrays.items() if name.endswith("/kernel")])


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
            for name, shape in shapes("generator", table).items()
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


def _read(backend: str, imports: dict[str, Import], network: str, path: Path) -> Arrays:
    ending = _ending(path, imports)
    if ending is None:
        raise UserError(f"{path} is no weight file that {backend} imports ({' '.join(imports)}).")
    if not _is_there(path):
        raise UserError(f"There is no file {path}.")
    return imports[ending](network, path)


def _ending(path: Path, imports: dict[str, Import]) -> str | None:
    """By which of the endings a file is read: TensorFlow's own names need not have one."""
    for ending, is_it in ((".ckpt", _is_prefix(path)), (".savedmodel", _is_saved_model(path))):
        if is_it and ending in imports:
            return ending
    return path.suffix if path.suffix in imports else None


def _is_prefix(path: Path) -> bool:
    """Is it the prefix of a TensorFlow checkpoint: path.index and path.data-*?"""
    return path.with_name(f"{path.name}.index").is_file()


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _is_there(path: Path) -> bool:
    """Is it the file, the folder, or the prefix (path.index and path.data-*) its ending means?"""
    if path.suffix in FOLDER_ENDINGS:
        return path.is_dir()
    return path.is_file() or _is_prefix(path) or _is_saved_model(path)


def table_of(network: str, kernels: Iterable[Sequence[int]]) -> Architecture:
    """The architecture of a weight file, which names none, by the shapes of its kernels in
    canonical layout. dcgan's are all of 4x4, and tell its sizes; of the discriminator the noise
    size is the default one. Whatever else is taken to be mnist28, of its default noise size.
    """
    shapes = [tuple(shape) for shape in kernels]
    sides = {4: 32, 5: 64, 6: 128}
    # The side next to the image, then the inner one: a transposed kernel has its output first.
    ends = [shape[2:] for shape in shapes if len(shape) == 4 and shape[:2] == (4, 4)]
    if len(ends) == len(shapes) and len(ends) in sides:
        size = sides[len(ends)]
        for channels, width in ends:
            if channels in (1, 3) and 1 <= width <= LARGEST_WIDTH:
                inner = width * size // 8
                noise = [z for out, z in ends if out == inner and network == "generator"]
                return architecture.dcgan(noise[0] if noise else 100, size, channels, width)
    return architecture.mnist28(Config().noise_size)


Layout = Callable[[str, np.ndarray, Architecture], np.ndarray]
Shape = tuple[int | None, ...]  # None: the noise size, which a file decides


def shapes(
    network: str, table: Architecture, layout: Layout = lambda name, array, table: array
) -> dict[str, Shape]:
    """Canonical name -> shape of a network's parameters, in table order.

    layout: an implementation's from_canonical_layout, if the shapes are to be its own.
    """
    first = second = table
    if table.name == "mnist28":
        first, second = (architecture.get(table.name, size) for size in (1, 2))

    def shape(name: str, of: Architecture) -> tuple[int, ...]:
        return layout(name, np.zeros(of.parameters()[name]), of).shape

    return {
        name: tuple(
            a if a == b else None
            for a, b in zip(shape(name, first), shape(name, second), strict=True)
        )
        for name in first.parameters()
        if name.startswith(network)
    }


def fits(found: Sequence[int], wanted: Shape) -> bool:
    """Is it the shape, whatever the noise size?"""
    return len(found) == len(wanted) and all(
        x == y or (y is None and 1 <= x <= LARGEST_NOISE)
        for x, y in zip(found, wanted, strict=True)
    )


def in_words(shape: Shape) -> str:
    """(1 to 65536, 1024) for (None, 1024)."""
    return str(shape).replace("None", f"1 to {LARGEST_NOISE}")


def collect(
    path: Path,
    network: str,
    values: Mapping[str, V],
    names: Mapping[str, str],
    wanted: dict[str, Shape],
) -> dict[str, V]:
    """A file's values by their canonical names. UserError at the first that is missing, unknown or
    of another shape.

    names: canonical name -> name in the file; wanted: what shapes() gives.
    """
    for name in (*names.values(), *values):
        if name not in values or name not in names.values():
            what = "has an unknown" if name in values else "lacks"
            raise UserError(
                f"{path} {what} tensor {name!r}; it is no {network} of this architecture."
            )
    for canonical, name in names.items():
        shape = tuple(values[name].shape)
        if not fits(shape, wanted[canonical]):
            raise UserError(
                f"{path} is of another architecture: {name} ({canonical}) has shape {shape}, "
                f"not {in_words(wanted[canonical])}."
            )
    return {canonical: values[name] for canonical, name in names.items()}
