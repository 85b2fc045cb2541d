"""The command `python -m <impl>.convert`: a framework's own weight files <-> checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from common import checkpoint, commandline
from common.checkpoint import Arrays
from common.config import Config, UserError

Network = Literal["generator", "discriminator"]
# Write one network of a checkpoint as a file of the framework.
Export = Callable[[checkpoint.Checkpoint, str, Path], None]
# Read one network's file: its canonical parameters, `generator/dense1/kernel` and so on.
Import = Callable[[str, Path], Arrays]

CHECKPOINT_ENDING = ".safetensors"
FOLDER_ENDINGS = (".savedmodel",)


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
    if discriminator is not None:
        read |= _read(backend, imports, "discriminator", Path(discriminator))
    chosen = replace(
        Config(),
        noise_size=int(read["generator/dense1/kernel"].shape[0]),
        # float64 weights stay what they are; narrower ones fit into float32.
        precision="float64" if any(a.dtype == np.float64 for a in read.values()) else "float32",
    )
    arrays = checkpoint.initial(chosen)
    for name, array in read.items():
        arrays[name] = array.astype(arrays[name].dtype)
    try:
        checkpoint.save(target, arrays, chosen, backend, {})
    except checkpoint.CheckpointError as error:
        sources = " or ".join(str(path) for path in (generator, discriminator) if path is not None)
        raise UserError(f"{sources} cannot be imported: {error}.") from None
    other = "" if discriminator is not None else "; the discriminator has its initial weights"
    return f"{generator} -> {target}, at step 0 with zero Adam moments{other}"


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


def noise_size(network: str, found: Sequence[int]) -> int:
    """The noise size of a generator whose first kernel has this many rows; else the default.

    found: that axis of the kernel's shape, empty if the kernel has none.
    """
    if network == "generator" and found and 1 <= found[0] <= 65_536:
        return int(found[0])
    return Config().noise_size  # the shapes are compared with it, and the first mismatch is named
