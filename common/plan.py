"""What a command line asks for: whether a run may begin, from which state, in which directory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing
from dataclasses import InitVar
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from common import checkpoint, config, datasets, recipes
from common.catalogue import CATALOGUE
from common.commandline import check_place
from common.config import (
    BY_ARCHITECTURE,
    BY_DATASET,
    BY_RECIPE,
    Architecture,
    Config,
    RecipeName,
    recipe_of,
    total_steps,
)
from common.limits import UserError, flag, quoted
from common.place import restarted


def by_recipe(name: str) -> Any:
    """Makes a field a flag that the recipe decides unless given; --help shows what it will be."""
    kind = type(getattr(recipe_of(Config()), name))
    return decided(kind, recipes.defaults(name))


def decided(kind: Any, default: str) -> Any:
    """Makes a field a flag whose default, in words, other flags decide. kind: a Literal or type."""
    names = typing.get_args(kind)
    metavar = "{" + ",".join(names) + "}" if names else kind.__name__.upper()
    hint = f"(default: {default})"
    return tyro.conf.arg(constructor=kind, metavar=metavar, help_behavior_hint=hint)


@dataclasses.dataclass(frozen=True)
class TrainArguments(Config):
    """The flags of a training: those of Config, and where the run lies."""

    NO_FLAGS: ClassVar = frozenset({"pictures_digest"})

    # Again, as tyro needs their annotation; config.py needs to do without tyro.
    epochs: Annotated[int, by_recipe("epochs")] = BY_RECIPE
    batch_size: Annotated[int, by_recipe("batch_size")] = BY_RECIPE
    noise_size: Annotated[int, by_recipe("noise_size")] = BY_RECIPE
    learning_rate: Annotated[float, by_recipe("learning_rate")] = BY_RECIPE
    beta1: Annotated[float, by_recipe("beta1")] = BY_RECIPE
    beta2: Annotated[float, by_recipe("beta2")] = BY_RECIPE
    train_images: Annotated[int, decided(int, "50000 of MNIST and its kin, else all")] = BY_DATASET
    architecture: Annotated[
        Architecture, decided(Architecture, "mnist28 for pictures of 28 pixels, else dcgan")
    ] = BY_DATASET
    image_size: Annotated[int, decided(int, "the pictures' own, of a folder 64")] = BY_ARCHITECTURE
    channels: Annotated[int, decided(int, "the pictures' own, of a folder 3")] = BY_ARCHITECTURE
    width: Annotated[int, decided(int, "64")] = BY_ARCHITECTURE
    recipe: Annotated[RecipeName, decided(RecipeName, "published for mnist28, paper for dcgan")] = (
        BY_ARCHITECTURE
    )
    pictures_digest: tyro.conf.Suppress[tyro.conf.Fixed[str | None]] = None
    numbers_of: InitVar[tyro.conf.Suppress[str | None]] = None

    out: Annotated[
        str | None, tyro.conf.arg(help_behavior_hint="(default: runs/<backend>-<dataset>-seed<N>)")
    ] = None
    """Run directory. By recipe tuned its default name is <backend>-tuned-..."""

    resume: str | None = None
    """Continue this run directory or checkpoint file, whichever backend wrote it; `auto`: the run
    in --out if it is there, else begin it."""

    overwrite: bool = False
    """Delete an existing run directory first."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that may begin: checked, with nothing created yet."""

    config: Config
    directory: Path
    arrays: checkpoint.Arrays  # the state to start from
    source: Path | None = None  # the run directory whose records are continued
    overwrite: bool = False
    read: Path | None = None  # the checkpoint file that the state was read from
    stamp: tuple[int, int] | None = None  # stamp_of() it, before it was read
    asked: str | None = None  # what --resume names

    @property
    def step(self) -> int:
        """Updates that the state has done."""
        return int(self.arrays["step"])


def make_plan(arguments: TrainArguments, given: set[str], backend: str) -> Plan:
    """What to train and where, or UserError. Reads the checkpoint; writes nothing."""
    if arguments.resume == "auto" and arguments.overwrite:
        raise UserError(
            "--overwrite would delete the run that --resume continues; give one of them."
        )
    if arguments.resume == "auto" or restarted():
        return _plan_again(arguments, given, backend)
    if arguments.resume is not None:
        return _plan_resume(arguments, given)
    return _plan_new(arguments, backend)


def _plan_new(arguments: TrainArguments, backend: str) -> Plan:
    chosen = Config(**config.to_json(arguments))
    config.check(chosen)
    directory = _directory(arguments, chosen, backend)
    check_directory(directory, arguments.overwrite)
    _check_apart(directory, chosen)
    chosen = datasets.counted(chosen)
    config.check(chosen)
    return Plan(chosen, directory, checkpoint.initial(chosen), overwrite=arguments.overwrite)


def _directory(arguments: TrainArguments, chosen: Config, backend: str) -> Path:
    return Path(arguments.out or f"runs/{run_name(backend, chosen)}")


def _plan_again(arguments: TrainArguments, given: set[str], backend: str) -> Plan:
    """The plan of a command that may have run before: it goes on from its own last checkpoint."""
    if arguments.resume not in (None, "auto") and arguments.out is None:
        return _plan_resume(arguments, given)  # in place
    directory = _directory(arguments, Config(**config.to_json(arguments)), backend)
    if (directory / checkpoint.FILE_NAME).exists():
        arguments = dataclasses.replace(arguments, resume=str(directory), overwrite=False, out=None)
        return _plan_resume(arguments, given, again=True)
    # Ended before its first checkpoint, it is begun anew.
    begun = (directory / "config.json").exists()
    arguments = dataclasses.replace(arguments, overwrite=arguments.overwrite or begun)
    if arguments.resume not in (None, "auto"):
        return _plan_resume(arguments, given)
    return _plan_new(arguments, backend)


def run_name(engine: str, settings: Config) -> str:
    """A run directory's default name: pytorch-mnist-seed0; pytorch-tuned-mnist-seed0. Of a folder
    of pictures its own name; of an architecture that is not the data set's, its name too."""
    unless_told = Config(dataset=settings.dataset)
    parts = [engine]
    if settings.architecture != unless_told.architecture:
        parts.append(settings.architecture)
    if settings.recipe != recipes.first(settings.architecture):
        parts.append(settings.recipe)
    name = settings.dataset
    if name not in CATALOGUE:
        name = re.sub(r"[^\w.-]+", "-", _real(Path(name)).name) or "pictures"
    return "-".join([*parts, name, f"seed{settings.seed}"])


def _plan_resume(arguments: TrainArguments, given: set[str], again: bool = False) -> Plan:
    """again: the command may repeat what the checkpoint was trained with."""
    file = checkpoint.find(Path(str(arguments.resume)))
    stamp = stamp_of(file)  # before reading: a later save is then seen as one
    saved = checkpoint.load(file)
    if saved.weights_only:
        raise UserError(
            f"{file} holds weights without an optimizer's state, to draw samples with; --resume "
            "takes a run directory or a checkpoint that training wrote."
        )
    may_change = config.resume_may_change(saved.config)
    if saved.config.pictures_digest is not None:
        may_change |= {"dataset"}  # the folder may lie elsewhere now; its pictures are compared
    imported = saved.config.train_images is None  # by convert, which knows no data
    if imported:
        may_change |= {"dataset", "train_images"}
        if "dataset" not in given:
            raise UserError(
                f"{file} was imported from weights, which do not tell their data; name it with "
                "--dataset."
            )
    for name in sorted(given & {f.name for f in dataclasses.fields(Config)} - may_change):
        if again and getattr(arguments, name) == getattr(saved.config, name):
            continue
        allowed = ", ".join(flag(n) for n in sorted(may_change))
        if name in config.LENGTH:
            raise UserError(
                f"{flag(name)} cannot be given with --resume: by recipe "
                f"{saved.config.recipe} the learning rate falls to 0 at step "
                f"{total_steps(saved.config)}; only {allowed} may change."
            )
        raise UserError(
            f"{flag(name)} cannot be given with --resume: the checkpoint was trained with "
            f"{flag(name)} {getattr(saved.config, name)}; only {allowed} may change."
        )
    changes = {name: getattr(arguments, name) for name in given & may_change}
    if "epochs" in given and "steps" not in given:
        changes["steps"] = None
    chosen = Config(**config.to_json(saved.config) | changes)
    config.check(chosen)
    if imported:
        chosen = datasets.counted(chosen)
        config.check(chosen)
    if total_steps(chosen) < saved.step:
        raise UserError(
            f"{file} is at step {saved.step} already, past the {total_steps(chosen)} steps asked "
            "for; raise --steps or --epochs."
        )
    source = file.parent if (file.parent / "config.json").exists() else None
    if arguments.out is not None and not same_path(Path(arguments.out), file.parent):
        directory = Path(arguments.out)
        if _real(file).is_relative_to(_real(directory)):
            raise UserError(
                f"--out {directory} contains the checkpoint to continue; choose another."
            )
        check_directory(directory, arguments.overwrite)
        _check_apart(directory, chosen)
    elif source is None:
        raise UserError(f"{file} lies in no run directory; say with --out where to continue it.")
    elif arguments.overwrite:
        raise UserError(
            "--overwrite would delete the run that --resume continues; give one of them."
        )
    else:
        directory = source
    asked = arguments.resume
    return Plan(chosen, directory, saved.arrays, source, arguments.overwrite, file, stamp, asked)


def stamp_of(path: Path | None) -> tuple[int, int] | None:
    """What tells one save of a file from the next: inode number and time; None if not there."""
    with contextlib.suppress(OSError, ValueError):
        if path is not None:
            status = path.stat()
            return status.st_ino, status.st_mtime_ns
    return None


def same_path(a: Path, b: Path) -> bool:
    """Do two paths lead to the same place?"""
    return _real(a) == _real(b)


def _real(path: Path) -> Path:
    """The path without links; of links that go round, as far as it goes."""
    return Path(os.path.realpath(path))


def check_directory(directory: Path, overwrite: bool) -> None:
    """Raise UserError unless a new run may be written there."""
    if os.path.lexists(directory) and not directory.is_dir():  # a link that leads nowhere, too
        raise UserError(f"--out {directory} is a file; a run needs a directory of its own.")
    try:
        names = {path.name for path in directory.iterdir()}
    except FileNotFoundError:
        check_place("out", directory, folder=True)
        return
    except OSError as error:
        raise UserError(
            f"--out {directory} cannot be a run directory ({error.strerror}); choose another."
        ) from None
    if not names - {".lock", ".config.json.tmp"}:  # a run that was killed as it began
        return
    if "config.json" not in names:
        raise UserError(f"--out {directory} is not empty and no run directory; choose another.")
    if not overwrite:
        raise UserError(
            f"{directory} holds a run already; continue it with {quoted('--resume', directory)}, "
            "delete it with --overwrite, or choose another --out."
        )


def _check_apart(directory: Path, settings: Config) -> None:
    """Raise UserError if a new run would contain the data, which --overwrite deletes, or lie among
    the pictures, to which it would add its own."""
    run = _real(directory)
    if _real(Path(settings.data_dir)).is_relative_to(run):
        raise UserError(
            f"--out {directory} contains the data folder {settings.data_dir}; choose another."
        )
    if settings.dataset not in CATALOGUE:
        pictures = _real(Path(settings.dataset))
        if pictures.is_relative_to(run) or run.is_relative_to(pictures):
            raise UserError(
                f"The run directory {directory} and the pictures in {settings.dataset} must lie "
                "apart; choose another --out."
            )
