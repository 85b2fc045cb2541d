"""The command `python -m <impl>.convert`: a framework's own weight files <-> checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from common import checkpoint, config
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
    """Which network of a checkpoint to export."""

    discriminator: str | None = None
    """The discriminator's weight file, to import along with the generator."""

    overwrite: bool = False
    """Replace the target if it exists."""


def main(backend: str, exports: dict[str, Export], imports: dict[str, Import]) -> None:
    """`python -m <backend>_impl.convert`. exports and imports: by the ending of the file's name."""
    known = f"exports {' '.join(exports)}; imports {' '.join(imports)}"
    try:
        arguments, _ = config.parse(
            ConvertArguments,
            sys.argv[1:],
            prog=f"python -m {backend}_impl.convert",
            description=(
                f"Convert between checkpoints and {backend}'s own files ({known}). "
                f"Export: RUN FILE. Import: FILE CHECKPOINT{CHECKPOINT_ENDING}."
            ),
        )
        source, target = Path(arguments.source), Path(arguments.target)
        if (target.exists() or _is_there(target)) and not arguments.overwrite:
            raise UserError(f"{target} exists already; choose another name, or give --overwrite.")
        if not target.parent.is_dir():
            raise UserError(f"{target} cannot be written: there is no folder {target.parent}.")
        if target.suffix == CHECKPOINT_ENDING:
            print(_import(backend, imports, source, arguments.discriminator, target))
            return
        if target.suffix not in exports:
            raise UserError(
                f"{target} has no known ending; {backend} {known}, and {CHECKPOINT_ENDING} is a "
                "checkpoint."
            )
        saved = checkpoint.load(checkpoint.find(source))
        exports[target.suffix](saved, arguments.network, target)
        print(f"{arguments.network} of {source} at step {saved.step} -> {target}")
    except UserError as error:
        config.fail(error)
    except OSError as error:
        config.fail(UserError(f"{arguments.target} cannot be written ({error.strerror or error})."))


def _import(
    backend: str,
    imports: dict[str, Import],
    generator: Path,
    discriminator: str | None,
    target: Path,
) -> str:
    """Write a checkpoint of step 0 from weight files; moments are zero."""
    read = _read(backend, imports, "generator", generator)
    noise_size = int(read["generator/dense1/kernel"].shape[0])
    chosen = replace(Config(), noise_size=noise_size)
    arrays = checkpoint.initial(chosen)
    if discriminator is not None:
        read |= _read(backend, imports, "discriminator", Path(discriminator))
    for name, array in read.items():
        arrays[name] = array.astype(arrays[name].dtype)
    checkpoint.save(target, arrays, chosen, backend, {})
    other = "" if discriminator is not None else "; the discriminator has its initial weights"
    return f"{generator} -> {target}, at step 0 with zero Adam moments{other}"


def _read(backend: str, imports: dict[str, Import], network: str, path: Path) -> Arrays:
    if path.suffix not in imports:
        raise UserError(f"{path} is no weight file that {backend} imports ({' '.join(imports)}).")
    if not _is_there(path):
        raise UserError(f"There is no file {path}.")
    return imports[path.suffix](network, path)


def _is_there(path: Path) -> bool:
    """Is it the file, the folder, or the prefix (path.index and path.data-*) its ending means?"""
    if path.suffix in FOLDER_ENDINGS:
        return path.is_dir()
    return path.is_file() or path.with_name(f"{path.name}.index").is_file()
