"""A save to which something happens at a system call: for faults.py, in its preloaded process.

A small library (faults.c) counts the calls by which Python writes a file and spoils the k-th of
them: it fails, takes only a part, or is where the process dies. A child is forked that saves; its
parent then loads what is there.
"""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture, checkpoint
from common.architecture import Architecture, Layer
from common.config import Config, UserError

NOTHING, FAIL, CUT, KILL, KILL_AMID = range(5)  # as in faults.c
SAVED, REFUSED, WRONG = 0, 3, 4  # exit statuses of a child: saved, OSError, another exception
TEMPORARY = f".{checkpoint.FILE_NAME}.tmp"
LONGEST = 120  # seconds; a save that never ends is lost, too


@dataclass(frozen=True)
class Fault:
    """What happens at the at-th call, counted from 1; sticky: and at every later one, too."""

    kind: int = NOTHING
    at: int = 0
    error: int = 0
    sticky: bool = False


@dataclass(frozen=True)
class Call:
    """A line of the log: a system call, what it returned (or -errno), its paths."""

    name: str
    result: int
    path: str
    to: str = ""


@dataclass(frozen=True)
class Attempt:
    """A save that was tried: how its process ended (a signal is negative), and its calls."""

    status: int
    fired: bool
    calls: list[Call]


class Bench:
    """A folder with a checkpoint in it, to which a child saves while the library disturbs it."""

    def __init__(self, folder: Path, pieces: int) -> None:
        """pieces: about how many writes a file takes, so that faults fall between and in them."""
        self.path = folder / checkpoint.FILE_NAME
        self.config = Config()
        self.states = [_state(self.config, number) for number in range(4)]
        self.library = ctypes.CDLL(os.environ["FAULTS_LIBRARY"])
        folder.mkdir(parents=True)
        # Here, and not in a child: it also imports what a save imports.
        checkpoint.save(self.path, self.states[0], self.config, "pytorch", {})
        self.piece = -(-self.path.stat().st_size // pieces)

    def attempt(self, number: int, fault: Fault) -> Attempt:
        """Save state `number` in a child that meets the fault."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._save(number, fault, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            fired, _, log = pipe.read().decode().partition("\n")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        words = (line.split("\t") for line in log.splitlines())
        calls = [Call(name, int(result), *paths) for name, result, *paths in words]
        return Attempt(status, fired == "1" or status == -signal.SIGKILL, calls)

    def _save(self, number: int, fault: Fault, pipe: int) -> None:
        """The child's part."""
        status = WRONG
        signal.alarm(LONGEST)
        folder, text = str(self.path.parent).encode(), ctypes.c_char_p()
        plan = (fault.kind, fault.at, fault.error, fault.sticky, ctypes.c_size_t(self.piece))
        try:
            self.library.faults_arm(folder, *plan)
            try:
                checkpoint.save(self.path, self.states[number], self.config, "pytorch", {})
                status = SAVED
            except OSError:
                status = REFUSED
            fired = self.library.faults_disarm(ctypes.byref(text))
            with os.fdopen(pipe, "wb") as file:
                file.write(b"%d\n%s" % (fired, text.value))
        finally:
            os._exit(status)

    def found(self) -> int | str | None:
        """The number of the state that the loader finds, bit for bit; None without a file.

        Else, in words, what it finds.
        """
        if not self.path.exists():
            return None
        try:
            arrays = checkpoint.load(self.path).arrays
        except UserError as error:
            return str(error)
        for number, state in enumerate(self.states):
            if state.keys() == arrays.keys() and all(_same(arrays[n], a) for n, a in state.items()):
                return number
        return "a state that nobody saved"

    def judge(self, attempt: Attempt, old: int | str | None, new: int, fault: Fault) -> str:
        """What a case lost, in a sentence, or nothing."""
        found = self.found()
        left = sorted({p.name for p in self.path.parent.iterdir()} - {checkpoint.FILE_NAME})
        case = f"{fault}: exit status {attempt.status}, found {found}, beside it {left}"
        if isinstance(old, str) or found not in (old, new):
            return case
        if attempt.status == -signal.SIGKILL and fault.kind in (KILL, KILL_AMID):
            return "" if left in ([], [TEMPORARY]) else case
        unlinks = [call for call in attempt.calls if call.name == "unlink"]
        if left and not (left == [TEMPORARY] and unlinks and unlinks[-1].result < 0):
            return case
        if attempt.status == SAVED:
            return "" if found == new else case
        return "" if attempt.status == REFUSED else case

    def clean(self) -> None:
        """Remove what a killed save left."""
        self.path.with_name(TEMPORARY).unlink(missing_ok=True)


def _state(settings: Config, number: int) -> checkpoint.Arrays:
    """A state of random numbers, different in every array from that of another number."""
    draw = np.random.Generator(np.random.Philox(number))
    return {
        name: np.array(number)
        if name in checkpoint.COUNTS
        else draw.random(shape, np.float32).astype(dtype)
        for name, (shape, dtype) in checkpoint.expected(settings).items()
    }


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays have the same shape, type and bits."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    return np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8))


def wrong_order(calls: list[Call], path: str) -> str:
    """What a power cut could lose of a save that was reported as done, or nothing.

    All of the temporary file must be on the disk before the rename, the rename before the end.
    """
    renames = [i for i, c in enumerate(calls) if (c.name, c.to, c.result) == ("rename", path, 0)]
    if len(renames) != 1:
        return f"{len(renames)} renames onto the file instead of 1"
    temporary = calls[renames[0]].path
    if Path(temporary).parent != Path(path).parent:
        return "the temporary file lies in another folder"
    if any((call.name, call.path) == ("write", path) for call in calls):
        return "the file itself is written to"
    writes = [i for i, c in enumerate(calls) if (c.name, c.path) == ("write", temporary)]
    if not writes:
        return "nothing is written to the temporary file"
    if not _synced(calls[writes[-1] + 1 : renames[0]], temporary):
        return "no fsync of the temporary file between its last write and the rename"
    if not _synced(calls[renames[0] + 1 :], str(Path(path).parent)):
        return "no fsync of the folder after the rename"
    return ""


def _synced(calls: list[Call], path: str) -> bool:
    return any((c.name, c.path, c.result) == ("fsync", path, 0) for c in calls)


def use_tiny_networks() -> None:
    """A dense layer and a batch norm under the name mnist28: a state of some hundred bytes."""
    dense: dict[str, tuple[int, ...]] = {"kernel": (4, 2), "bias": (2,)}
    norm: dict[str, tuple[int, ...]] = dict.fromkeys(
        ("scale", "offset", "moving_mean", "moving_variance"), (3,)
    )

    def tiny(noise_size: int = 96) -> Architecture:
        return Architecture(
            name="mnist28",
            image_shape=(28, 28, 1),
            noise_size=noise_size,
            discriminator=(Layer("dense1", "dense", (2,), dense, 4),),
            generator=(Layer("norm1", "batch_norm", (3,), norm),),
        )

    architecture.ARCHITECTURES["mnist28"] = tiny
