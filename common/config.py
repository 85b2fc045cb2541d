"""The settings of one experiment, and the command line made from them."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import io
import json
import math
import os
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from common import recipes

# Fields that a resumed run may change: they move no number of the training itself.
RESUME_MAY_CHANGE = frozenset(
    {"steps", "epochs", "show_every", "checkpoint_every", "device", "compile", "data_dir"}
)
LENGTH = frozenset({"steps", "epochs"})

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "float64"]


_SHORT = reprlib.Repr()  # a sentence shows of a value what can be read
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 2


class UserError(Exception):
    """A mistake that the user can mend: one sentence for them, no traceback, exit status 2."""


@dataclass(frozen=True)
class Config:
    """One experiment. The same values and the same seed give the same training in every backend."""

    seed: int = 0
    """Everything random is a function of it: initial weights, batch order, noise. [0, 2**63)"""

    epochs: int = 5
    """Passes over the training images (the tutorial's num_epochs=5)."""

    steps: int | None = None
    """Total number of iterations; overrides epochs."""

    batch_size: int = 128
    """Images per iteration, and noise vectors, shared by both updates (CS231n's exercise)."""

    noise_size: int = 96
    """Length of the noise vector z, uniform in [-1, 1) (the tutorial's noise_size=96)."""

    learning_rate: float = 3e-4
    """Adam's step size, per update (the tutorial's source: CS231n's exercise). By default the
    recipe's; tuned: D's 1e-3 at the start, and G's is four times that."""

    beta1: float = 0.5
    """Adam's decay of the first moment (Radford et al. 2016, section 4). By default the recipe's;
    tuned: 0. [0, 1)"""

    beta2: float = 0.999
    """Adam's decay of the second moment (Kingma & Ba 2015). By default the recipe's; tuned: 0.99.
    [0, 1)"""

    show_every: int = 250
    """Iterations between two sample grids and two printed lines (the tutorial's show_every=250)."""

    dataset: Literal["mnist"] = "mnist"
    """Training images."""

    data_dir: str = "data"
    """Folder of the data set; fetched into it when missing (torchvision's layout)."""

    train_images: int = 50_000
    """How many images to train on: the first ones of the training file. [batch size, 60000]"""

    architecture: Literal["mnist28"] = "mnist28"
    """The two networks; common/architecture.py has their tables."""

    recipe: Literal["published", "tuned"] = "published"
    """The training recipe: the updates as the tutorial published them, or tuned for the quality of
    the samples (common/recipes.py)."""

    precision: Precision = "float32"
    """Arithmetic. bfloat16 computes in it, and keeps weights, moments and losses in float32."""

    device: Device = "auto"
    """Where to compute; auto takes the GPU if there is one."""

    compile: bool = False
    """Let the framework's compiler fuse the step. It changes no result beyond rounding."""

    checkpoint_every: int = 500
    """Iterations between two checkpoints; one more is written at the end and on Ctrl-C."""


@dataclass(frozen=True)
class TrainArguments(Config):
    """Config plus what says where a training run lies."""

    out: str | None = None
    """Run directory (default: runs/<backend>-<dataset>-seed<seed>, runs/<backend>-tuned-...)."""

    resume: str | None = None
    """Continue this run directory or checkpoint file, whichever backend wrote it."""

    overwrite: bool = False
    """Delete an existing run directory first."""


# What a flag takes, in words, which are the second half of its error message, and as a test.
Limit = tuple[str, Callable[[Any], bool]]


def whole_number(least: int, most: int) -> Limit:
    """A whole number; or None, where that is a flag's default."""
    words = f"a whole number from {least} to {most}"
    return words, lambda value: value is None or least <= value <= most


# Of flags of every command; a dataclass may have others, or these in other LIMITS of its own.
_LIMITS: dict[str, Limit] = {
    "seed": ("a whole number from 0 to 2**63 - 1", lambda v: 0 <= v < 2**63),
    "epochs": whole_number(1, 10**6),
    "steps": whole_number(1, 10**9),
    "batch_size": (
        "a whole number from 2 (batch norm needs two) to 60000",
        lambda v: 2 <= v <= 60_000,
    ),
    "noise_size": whole_number(1, 65_536),
    "learning_rate": ("a number above 0 and up to 10", lambda v: math.isfinite(v) and 0 < v <= 10),
    "beta1": ("a number from 0 to below 1", lambda v: 0 <= v < 1),
    "beta2": ("a number from 0 to below 1", lambda v: 0 <= v < 1),
    "show_every": whole_number(1, 10**9),
    "checkpoint_every": whole_number(1, 10**9),
    "train_images": whole_number(2, 60_000),
    "count": whole_number(1, 10**6),
    "walk": whole_number(1, 1000),
    "rounds": whole_number(1, 10_000),
    "turn": whole_number(0, 10_000),
}


def _limits(cls: type) -> dict[str, Limit]:
    return _LIMITS | getattr(cls, "LIMITS", {})


def flag(name: str) -> str:
    """`learning_rate` -> `--learning-rate`."""
    return "--" + name.replace("_", "-")


def check_values(config: Any) -> None:
    """Raise UserError at the first value of a dataclass that is out of its range."""
    limits = _limits(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in limits and not limits[field.name][1](value):
            raise UserError(
                f"{flag(field.name)} takes {limits[field.name][0]}, not {_SHORT.repr(value)}."
            )
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not _can_be_a_name(text):
                raise UserError(f"{flag(field.name)} takes a name, not {_SHORT.repr(text)}.")


def _can_be_a_name(text: str) -> bool:
    """May a file have this name, as far as its characters go?"""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def check_place(name: str, path: Path, folder: bool) -> None:
    """Raise UserError unless a file, or a folder of files, can be written there. Creates nothing.

    Asked before an hour's work whose figures go there.
    """
    try:
        if os.path.lexists(path) and folder and not path.is_dir():
            raise UserError(f"{flag(name)} {path} is a file; give a folder.")
        if path.is_dir() and not folder:
            raise UserError(f"{flag(name)} {path} is a folder; give a file name.")
        path.exists()  # for a name that is too long
        above = path if folder else path.parent
        while not os.path.lexists(above):
            above = above.parent
        if not above.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(
            f"{flag(name)} {path} cannot be written ({error.strerror}); choose another."
        ) from None


def names(name: str, text: str, allowed: Collection[str]) -> list[str]:
    """`float32,bfloat16` -> its words, or UserError for the first that is not allowed."""
    words = text.split(",")
    for word in words:
        if word not in allowed:
            raise UserError(
                f"{flag(name)} takes names from {', '.join(allowed)}, separated by commas, "
                f"not {_SHORT.repr(word)}."
            )
    return words


def numbers(name: str, text: str, least: int, most: int) -> list[int]:
    """`32,64` -> [32, 64], or UserError for the first that is no whole number in the range."""
    words = text.split(",")
    for word in words:
        if not is_whole(word, least, most):
            raise UserError(
                f"{flag(name)} takes whole numbers from {least} to {most}, separated by commas, "
                f"not {_SHORT.repr(word)}."
            )
    return [int(word) for word in words]


def is_whole(word: str, least: int, most: int) -> bool:
    """Is it a whole number in the range? Of more digits than the largest has, no number is made."""
    return word.isdecimal() and len(word) <= len(str(most)) and least <= int(word) <= most


def check(config: Config) -> None:
    """check_values, and the combinations that cannot be: UserError."""
    check_values(config)
    if config.batch_size > config.train_images:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {config.train_images} training "
            "images; lower it, or raise --train-images."
        )
    if config.precision == "float64" and config.device == "mps":
        raise UserError(
            "--precision float64 does not exist on --device mps; use --device cpu, or float32."
        )


def of_recipe(config: Config, given: Collection[str] = ()) -> Config:
    """The Config with its recipe's learning rate and betas, but for the fields in `given`."""
    recipe = recipes.RECIPES[config.recipe]
    names = {"learning_rate", "beta1", "beta2"} - set(given)
    return dataclasses.replace(config, **{name: getattr(recipe, name) for name in names})


def total_steps(config: Config) -> int:
    """Iterations of the whole run. Every batch is full: 5 epochs of 50,000 at 128 are 1,953."""
    if config.steps is not None:
        return config.steps
    return config.epochs * config.train_images // config.batch_size


def resume_may_change(config: Config) -> frozenset[str]:
    """RESUME_MAY_CHANGE, without the run's length where the learning rate depends on it."""
    return RESUME_MAY_CHANGE - (LENGTH if recipes.RECIPES[config.recipe].decays else set())


def hyperparameters(config: Config, step: int) -> recipes.Hyper:
    """The recipe's numbers of the 0-based `step` of a run."""
    return recipes.hyperparameters(config.recipe, config.learning_rate, step, total_steps(config))


# ------------------------------------------------------------------ JSON


def to_json(config: Config) -> dict[str, Any]:
    """The Config's own fields as a JSON object; TrainArguments' additions are left out."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}


def from_json(values: Any) -> Config:
    """The Config in a JSON object, or UserError naming the first field that is wrong.

    A missing field takes its default, so that files of older versions still load.
    """
    if not isinstance(values, dict):
        raise UserError(f"A config is a JSON object, not {type(values).__name__}.")
    hints = typing.get_type_hints(Config)
    for name, value in values.items():
        if name not in hints:
            raise UserError(
                f"The config has an unknown field {_SHORT.repr(name)}; is it of a newer version?"
            )
        if not _is_of_type(value, hints[name]):
            raise UserError(f"The config's field {name!r} cannot be {_SHORT.repr(value)}.")
    config = Config(**values)
    try:
        check(config)
    except OverflowError:  # a whole number that no float holds
        raise UserError("The config holds a number that is too large.") from None
    return config


def is_number(value: Any) -> bool:
    """Is a value of JSON a finite number that a float can hold?"""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _is_of_type(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_is_of_type(value, option) for option in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint


# ------------------------------------------------------------------ command line

T = TypeVar("T")


def parse(cls: type[T], argv: Sequence[str], prog: str, description: str) -> tuple[T, set[str]]:
    """A command line as an instance of a dataclass, and the names of the fields it gave.

    tyro makes the parser and the help text; a mistake becomes a UserError of one sentence.
    """
    import tyro

    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    complaint = io.StringIO()
    # tyro writes its complaint in a box; only the flag that it names is taken from there.
    try:
        with contextlib.redirect_stderr(complaint):
            value, unknown = tyro.cli(
                cls,
                prog=prog,
                description=description,
                args=list(argv),
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff,) if "compile" not in names else (),
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise UserError(_explain(complaint.getvalue(), cls, argv)) from None
    if unknown:
        raise UserError(_unknown(unknown[0], names))
    check_values(value)
    return value, given(argv) & names


def given(argv: Sequence[str]) -> set[str]:
    """The field names of the flags in a command line: `--no-compile` gives `compile`."""
    flags = {word.split("=")[0][2:].replace("-", "_") for word in argv if word.startswith("--")}
    return {name.removeprefix("no_") for name in flags}


def _unknown(word: str, names: set[str]) -> str:
    if not word.startswith("-"):
        return f"{_SHORT.repr(word)} is not expected here; see --help."
    word = word.split("=")[0]
    near = difflib.get_close_matches(word, [flag(name) for name in names], n=1)
    hint = f"did you mean {near[0]}?" if near else "see --help."
    return f"There is no flag {_SHORT.repr(word)[1:-1]}; {hint}"


def _explain(complaint: str, cls: type, argv: Sequence[str]) -> str:
    """One sentence in our words for tyro's box about a flag."""
    text = " ".join(re.sub(r"[^\x20-\x7e\n]", " ", complaint).split())
    hints = typing.get_type_hints(cls)
    for word in re.findall(r"--[a-z0-9-]+", text):
        name = word[2:].replace("-", "_")
        if name not in hints:
            continue
        hint = hints[name]
        limits = _limits(cls)
        allowed = limits[name][0] if name in limits else "a value; see --help"
        if typing.get_origin(hint) is Literal:
            allowed = "one of " + ", ".join(typing.get_args(hint))
        return f"{word} takes {allowed}{_seen(word, argv)}."
    if "required" in text.lower():
        return "The name of a run or file is missing; see --help."
    return text or "The command line could not be read; see --help."


def _seen(word: str, argv: Sequence[str]) -> str:
    for position, argument in enumerate(argv):
        if argument.startswith(word + "="):
            return f", not {_SHORT.repr(argument.split('=', 1)[1])}"
        if argument == word:
            following = argv[position + 1 : position + 2]
            return f", not {_SHORT.repr(following[0])}" if following else ", and none was given"
    return ""


def fail(error: UserError) -> NoReturn:
    """Say what was wrong and leave with status 2, the shell's convention for bad input."""
    print(f"error: {_one_line(str(error))}", file=sys.stderr)
    raise SystemExit(2)


def _one_line(sentence: str, most: int = 1000) -> str:
    """Printable and of a readable length, whatever the name of a file that is in it."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


@contextlib.contextmanager
def command() -> Iterator[None]:
    """A command's work: a mistake ends it by fail(), Ctrl-C quietly, by the shell's status 130."""
    try:
        yield
    except UserError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """A block that writes `what`: an OSError in it becomes a UserError of one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{what} cannot be written ({error.strerror or error}).") from None


def experiment_key(config: Config) -> str:
    """The fields that determine the numbers, as canonical JSON: equal text, equal experiment."""
    values = {k: v for k, v in to_json(config).items() if k not in RESUME_MAY_CHANGE}
    if recipes.RECIPES[config.recipe].decays:
        values["steps"] = total_steps(config)
    return json.dumps(values, sort_keys=True)
