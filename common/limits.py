"""What a flag or a field of a Config may be, with the sentence that says so."""

from __future__ import annotations

import dataclasses
import math
import os
import reprlib
import shlex
import subprocess
from collections.abc import Callable
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend: one sentence for them, no traceback, exit status 2."""


# The range of a value in words, which end its error message, and as a test.
Limit = tuple[str, Callable[[Any], bool]]


def whole_number(least: int, most: int) -> Limit:
    """A whole number; or None, where that is a flag's default."""
    words = f"a whole number from {least} to {most}"
    return words, lambda value: value is None or least <= value <= most


LARGEST_NOISE = 65_536  # of a noise vector; a converter reads its size off a file
LARGEST_WIDTH = 1024  # of dcgan, likewise

# The ranges of every command's flags; a dataclass may add to them or change them in its LIMITS.
_LIMITS: dict[str, Limit] = {
    "seed": ("a whole number from 0 to 2**63 - 1", lambda v: 0 <= v < 2**63),
    "epochs": whole_number(1, 10**6),
    "steps": whole_number(1, 10**9),
    "batch_size": (
        "a whole number from 2 (batch norm needs two) to 60000",
        lambda v: 2 <= v <= 60_000,
    ),
    "noise_size": whole_number(1, LARGEST_NOISE),
    "learning_rate": ("a number above 0 and up to 10", lambda v: math.isfinite(v) and 0 < v <= 10),
    "beta1": ("a number from 0 to below 1", lambda v: 0 <= v < 1),
    "beta2": ("a number from 0 to below 1", lambda v: 0 <= v < 1),
    "show_every": whole_number(1, 10**9),
    "checkpoint_every": whole_number(1, 10**9),
    "train_images": whole_number(2, 10**9),
    "image_size": ("32, 64 or 128, or 28 for mnist28", lambda v: v in (None, 28, 32, 64, 128)),
    "channels": ("1 or 3", lambda v: v in (None, 1, 3)),
    "width": whole_number(1, LARGEST_WIDTH),
    "count": whole_number(1, 10**6),
    "walk": whole_number(1, 1000),
    "rounds": whole_number(1, 10_000),
    "turn": whole_number(0, 10_000),
}


def limits(cls: type) -> dict[str, Limit]:
    """The ranges of a dataclass's fields, by name; more names than it has fields."""
    return _LIMITS | getattr(cls, "LIMITS", {})


def check_values(values: Any) -> None:
    """Raise UserError at the first value of a dataclass that is out of its range."""
    ranges = limits(type(values))
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if field.name in ranges and not ranges[field.name][1](value):
            raise UserError(
                f"{flag(field.name)} takes {ranges[field.name][0]}, not {short(value)}."
            )
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not _can_be_a_name(text):
                raise UserError(f"{flag(field.name)} takes a name, not {short(text)}.")


def _can_be_a_name(text: str) -> bool:
    """May a file have this name, as far as its characters go?"""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def flag(name: str) -> str:
    """`learning_rate` -> `--learning-rate`."""
    return "--" + name.replace("_", "-")


def is_whole(word: str, least: int, most: int) -> bool:
    """Is it a whole number in the range? Of more digits than the largest has, no number is made."""
    return word.isdecimal() and len(word) <= len(str(most)) and least <= int(word) <= most


def is_number(value: Any) -> bool:
    """Is a value of JSON a finite number that a float can hold?"""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def quoted(*words: object) -> str:
    """Words of a command as the shell takes them, where one has spaces in it."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def short(value: Any) -> str:
    """A value's repr, cut to a length that can be read within a sentence."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 2
