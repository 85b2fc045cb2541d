"""A command's flags, made from a dataclass, and how a command ends when it has been misused."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import io
import os
import sys
import types
import typing
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from common.limits import UserError, check_values, flag, is_whole, limits, short

T = TypeVar("T")


def parse(cls: type[T], argv: Sequence[str], prog: str, description: str) -> tuple[T, set[str]]:
    """A command line as an instance of a dataclass, and the names of the fields it gave.

    tyro makes the parser and the help text. UserError at the first mistake, in one sentence.
    """
    import tyro  # not needed where no command line is read

    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    names -= getattr(cls, "NO_FLAGS", frozenset())
    try:
        with contextlib.redirect_stderr(io.StringIO()):
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
        raise UserError(_mistake(cls, argv)) from None
    if unknown:
        raise UserError(_unknown(unknown[0], names))
    check_values(value)
    return value, given(argv) & names


def given(argv: Sequence[str]) -> set[str]:
    """The field names of the flags in a command line: `--no-compile` gives `compile`."""
    flags = {_field(word) for word in argv if word.startswith("--")}
    return {name.removeprefix("no_") for name in flags}


def _field(word: str) -> str:
    return word.split("=")[0][2:].replace("-", "_")


def _unknown(word: str, names: set[str]) -> str:
    if not word.startswith("-"):
        return f"{short(word)} is not expected here; see --help."
    word = word.split("=")[0]
    near = difflib.get_close_matches(word, [flag(name) for name in names], n=1)
    hint = f"did you mean {near[0]}?" if near else "see --help."
    return f"There is no flag {short(word)[1:-1]}; {hint}"


def _mistake(cls: type, argv: Sequence[str]) -> str:
    """One sentence about the first flag whose value tyro cannot have taken.

    Found from the dataclass alone: tyro says what is wrong in a box for people, and its hook for
    programs is private.
    """
    hints, ranges = typing.get_type_hints(cls), limits(cls)
    for position, word in enumerate(argv):
        hint = hints.get(_field(word)) if word.startswith("--") else None
        values = [word.split("=", 1)[1]] if "=" in word else argv[position + 1 : position + 2]
        if hint in (None, bool) or (values and _is_of(hint, values[0], "=" in word)):
            continue
        name = _field(word)
        takes = ranges[name][0] if name in ranges else "a value; see --help"
        if typing.get_origin(hint) is Literal:
            takes = "one of " + ", ".join(typing.get_args(hint))
        seen = f"not {short(values[0])}" if values else "and none was given"
        return f"{flag(name)} takes {takes}, {seen}."
    return "The name of a run or file is missing; see --help."


def _is_of(hint: Any, word: str, attached: bool) -> bool:
    """Could a word be a value of this type? attached: to its flag, by `=`."""
    if isinstance(hint, types.UnionType):
        return any(_is_of(option, word, attached) for option in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return word in typing.get_args(hint)
    if hint in (int, float):
        with contextlib.suppress(ValueError):
            hint(word)
            return True
        return False
    return hint is str and (attached or not word.startswith("--"))


def names(name: str, text: str, allowed: Collection[str]) -> list[str]:
    """`float32,bfloat16` -> its words, or UserError for the first that is not allowed."""
    words = text.split(",")
    for word in words:
        if word not in allowed:
            raise UserError(
                f"{flag(name)} takes names from {', '.join(allowed)}, separated by commas, "
                f"not {short(word)}."
            )
    return words


def numbers(name: str, text: str, least: int, most: int) -> list[int]:
    """`32,64` -> [32, 64], or UserError for the first that is no whole number in the range."""
    words = text.split(",")
    for word in words:
        if not is_whole(word, least, most):
            raise UserError(
                f"{flag(name)} takes whole numbers from {least} to {most}, separated by commas, "
                f"not {short(word)}."
            )
    return [int(word) for word in words]


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


def fail(error: UserError) -> NoReturn:
    """Say what was wrong and leave with status 2, the shell's convention for bad input."""
    print(f"error: {_one_line(str(error))}", file=sys.stderr)
    raise SystemExit(2)


def _one_line(sentence: str, most: int = 1000) -> str:
    """Printable and of a readable length, whatever the name of a file that is in it."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"
