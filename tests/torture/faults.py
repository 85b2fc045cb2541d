"""Every system call of a checkpoint's save, made to fail: what does the loader find afterwards?

Python writes a file through the C library. A small library, faults.c, is preloaded into a process
of its own, counts these calls and spoils the k-th of them: it fails, takes only a part, or is where
the process dies. There one loop forks a child for each k, which saves, and its parent loads what is
there: the old state or the new one, and beside it nothing that should not be.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import architecture, checkpoint
from common.config import Config, UserError
from compare.engines import ROOT, Engine
from compare.pages.torture import Row, Say
from tests.tiny import tiny_architecture

NOTHING, FAIL, CUT, KILL, KILL_AMID = range(5)  # as in faults.c
SAVED, REFUSED, WRONG = 0, 3, 4  # exit statuses of a child: saved, OSError, another exception
LONGEST = 120  # seconds; a save that never ends is lost, too
TEMPORARY = f".{checkpoint.FILE_NAME}.tmp"
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
CUT_SHORT, KILLED, RECOVERING, ORDER = "cut short", "killed", "recovering", "order"


class Fault(NamedTuple):
    """What happens at the at-th call, counted from 1; sticky: and at every later one, too."""

    kind: int = NOTHING
    at: int = 0
    error: int = 0
    sticky: bool = False


NO_FAULT = Fault()


class Call(NamedTuple):
    """A line of the log: a system call, what it returned (or -errno), its paths."""

    name: str
    result: int
    path: str
    to: str = ""


@dataclass
class Count:
    """Cases tried of each kind, and a sentence for each that lost something."""

    tried: Counter[str] = field(default_factory=Counter)
    lost: dict[str, list[str]] = field(default_factory=dict)
    calls: int = 0  # of an undisturbed save

    def add(self, kind: str, wrong: str) -> None:
        """Count a case; wrong: what it lost, in a sentence, or nothing."""
        self.tried[kind] += 1
        if wrong:
            self.lost.setdefault(kind, []).append(wrong)


# ------------------------------------------------------------------ in the preloaded process


class Saves:
    """A folder with a checkpoint in it, to which a child saves while the library disturbs it."""

    def __init__(self, folder: Path, pieces: int) -> None:
        """pieces: about how many writes a file takes, so that faults fall between and in them."""
        self.path = folder / checkpoint.FILE_NAME
        self.config = Config()
        self.states = [_state(self.config, number) for number in range(4)]
        self.library = ctypes.CDLL(os.environ["FAULTS_LIBRARY"])
        folder.mkdir(parents=True)
        # Here, and not in a child: it also imports what a save imports.
        self.save(0)
        self.piece = -(-self.path.stat().st_size // pieces)
        self.log: list[Call] = []  # of the last attempt
        self.status = SAVED  # and how its process ended; a signal is negative
        self.fired = False  # and whether its fault did happen

    def save(self, number: int) -> None:
        """Save one of the states."""
        checkpoint.save(self.path, self.states[number], self.config, "pytorch", {})

    def clean(self) -> None:
        """Remove what a killed save left."""
        self.path.with_name(TEMPORARY).unlink(missing_ok=True)

    def attempt(self, number: int, fault: Fault) -> str:
        """Save state `number` in a child that meets the fault: what that lost, or nothing."""
        old = self.found()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._attempt(number, fault, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            fired, _, log = pipe.read().decode().partition("\n")
        self.status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.fired = fired == "1" or self.status == -signal.SIGKILL
        lines = (line.split("\t") for line in log.splitlines())
        self.log = [Call(name, int(result), *paths) for name, result, *paths in lines]
        return self._lost(old, number, fault)

    def _attempt(self, number: int, fault: Fault, pipe: int) -> None:
        """The child's part."""
        status = WRONG
        signal.alarm(LONGEST)
        folder, text = str(self.path.parent).encode(), ctypes.c_char_p()
        try:
            self.library.faults_arm(folder, *fault, ctypes.c_size_t(self.piece))
            try:
                self.save(number)
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
            if all(_bits(arrays[name]) == _bits(array) for name, array in state.items()):
                return number
        return "a state that nobody saved"

    def _lost(self, old: int | str | None, new: int, fault: Fault) -> str:
        found = self.found()
        left = sorted({path.name for path in self.path.parent.iterdir()} - {self.path.name})
        killed = self.status == -signal.SIGKILL and fault.kind in (KILL, KILL_AMID)
        unlinks = [call for call in self.log if call.name == "unlink"]
        # A temporary file may stay if the process was killed, or could not unlink it.
        may_stay = killed or (unlinks and unlinks[-1].result < 0)
        right = (
            found in (old, new)
            and not isinstance(old, str)
            and left in ([], [TEMPORARY] if may_stay else [])
            and (killed or self.status == REFUSED or (self.status == SAVED and found == new))
        )
        case = f"{fault}: exit status {self.status}, found {found}, beside it {left}"
        return "" if right else case


def _state(settings: Config, number: int) -> checkpoint.Arrays:
    """A state of random numbers, different in every array from that of another number."""
    draw = np.random.Generator(np.random.Philox(number))
    return {
        name: np.array(number)
        if name in checkpoint.COUNTS
        else draw.random(shape, np.float32).astype(dtype)
        for name, (shape, dtype) in checkpoint.expected(settings).items()
    }


def _bits(array: np.ndarray) -> tuple[tuple[int, ...], str, bytes]:
    return array.shape, str(array.dtype), array.tobytes()


def faults(calls: list[Call]) -> Iterator[tuple[str, Fault]]:
    """Every fault of the calls of an undisturbed save, with its kind: each once and for good."""
    for at, call in enumerate(calls, 1):
        for kind, error in ERRORS.items():
            yield kind, Fault(FAIL, at, error)
            yield kind, Fault(FAIL, at, error, sticky=True)
        if call.name == "write":
            yield CUT_SHORT, Fault(CUT, at)
            yield CUT_SHORT, Fault(CUT, at, sticky=True)  # the next write finds a full disk
            yield KILLED, Fault(KILL_AMID, at)
        yield KILLED, Fault(KILL, at)


def count_faults(saves: Saves, count: Count, first: bool) -> None:
    """Each fault of a save over a checkpoint, or of the first one."""

    def prepare() -> None:
        saves.clean()
        if first:
            saves.path.unlink(missing_ok=True)
        elif isinstance(saves.found(), str):  # each case begins with a whole file
            saves.save(0)

    prepare()
    saves.attempt(1, NO_FAULT)
    calls = saves.log
    count.calls = len(calls)
    count.add(ORDER, wrong_order(calls, saves.path))
    for kind, fault in faults(calls):
        prepare()
        wrong = saves.attempt(1 if saves.found() == 0 else 0, fault)
        count.add(kind, wrong or ("" if saves.fired else f"{fault} did not happen"))
        if saves.status == SAVED:
            count.add(ORDER, wrong_order(saves.log, saves.path))
    saves.attempt(1, Fault(FAIL, len(calls) + 1, errno.EIO))
    assert not saves.fired, "the save has more calls than were counted"


def count_recoveries(saves: Saves, count: Count, every: int) -> None:
    """Every kill, then every fault of the next save, then a save that nothing disturbs.

    every: 1 tries all pairs of a kill and a fault, 7 every seventh.
    """
    saves.attempt(0, NO_FAULT)
    calls = saves.log
    count.calls = len(calls)
    kills = [fault for kind, fault in faults(calls) if kind == KILLED]
    pairs = itertools.product(kills, [fault for _, fault in faults(calls)])
    for kill, fault in itertools.islice(pairs, 0, None, every):
        saves.clean()
        if saves.found() != 0:
            saves.save(0)
        troubles = ((1, kill), (2, fault), (3, NO_FAULT))
        wrong = [saves.attempt(number, trouble) for number, trouble in troubles]
        if saves.status != SAVED:
            wrong.append(f"after {kill} and {fault} a good save failed")
        count.add(RECOVERING, next(filter(None, wrong), ""))


def wrong_order(calls: list[Call], path: Path) -> str:
    """What a power cut could lose of a save that was reported as done, or nothing.

    All of the temporary file must be on the disk before the rename, the rename before the end.
    """
    at = [i for i, c in enumerate(calls) if (c.name, c.to, c.result) == ("rename", str(path), 0)]
    if len(at) != 1:
        return f"{len(at)} renames onto the file instead of 1"
    temporary = calls[at[0]].path
    if Path(temporary).parent != path.parent:
        return "the temporary file lies in another folder"
    if any((call.name, call.path) == ("write", str(path)) for call in calls):
        return "the file itself is written to"
    writes = [i for i, c in enumerate(calls) if (c.name, c.path) == ("write", temporary)]
    if not writes:
        return "nothing is written to the temporary file"
    if Call("fsync", 0, temporary) not in calls[writes[-1] + 1 : at[0]]:
        return "no fsync of the temporary file between its last write and the rename"
    if Call("fsync", 0, str(path.parent)) not in calls[at[0] + 1 :]:
        return "no fsync of the folder after the rename"
    return ""


def _main(folder: Path, task: str, pieces: int, every: int, product: str) -> None:
    """Do one task and print its Count as JSON."""
    del os.environ["LD_PRELOAD"]
    if task != "real":
        architecture.ARCHITECTURES["mnist28"] = tiny_architecture
    if product:
        checkpoint.write_atomically = runpy.run_path(product)["write_atomically"]
    saves, count = Saves(folder.resolve() / task, pieces), Count()
    if task == RECOVERING:
        count_recoveries(saves, count, every)
    else:
        count_faults(saves, count, first=task == "first")
    print(json.dumps(vars(count)))


# ------------------------------------------------------------------ in the caller's process


def unavailable() -> str:
    """Why the faults cannot be tried here, in words, or nothing."""
    if not sys.platform.startswith("linux"):
        return "system calls are intercepted on Linux only"
    return "" if shutil.which("cc") else "there is no C compiler (cc)"


def counted(
    work: Path, task: str, pieces: int, every: int = 1, product: Path | None = None
) -> Count:
    """A task's counts, from a process of its own.

    Tasks: `real` (architecture mnist28) and `tiny` save over a checkpoint, `first` saves a first
    one, and `recovering` saves after a kill, both of tiny networks. product: a file of Python
    whose write_atomically is tried instead, to show that the counts can go wrong.
    """
    library = str(work / "faults.so")
    source = str(Path(__file__).with_suffix(".c"))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    arguments = [work / "files", task, pieces, every, product or ""]
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ
        | {"LD_PRELOAD": library, "FAULTS_LIBRARY": library, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    shutil.rmtree(work / "files")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Count(Counter(answer["tried"]), answer["lost"], answer["calls"])


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """All faults of the real state's save and of a tiny one's; the tiny one is killed twice, too.

    No engine takes part: what is written is arrays, whoever made them.
    """
    if why := unavailable():
        say(f"faults: skipped, {why}")
        return []
    counts = {
        task: counted(work, task, pieces)
        for task, pieces in (("real", 16), ("tiny", 16), ("first", 16), (RECOVERING, 4))
    }
    for task, count in counts.items():
        say(f"faults: {task}: {sum(count.tried.values())} cases at {count.calls} calls of a save")
        for kind, sentences in count.lost.items():
            say(f"faults: {task}, {kind}: {len(sentences)} lost, the first: {sentences[0]}")
    calls = {task: count.calls for task, count in counts.items()}
    each = (
        f"all {calls['real']} calls with the real state, {calls['tiny']} with a tiny one, "
        f"{calls['first']} without an earlier file"
    )
    words = {
        "EIO": ("system calls of a checkpoint write that failed: EIO", f"{each}; once, for good"),
        "ENOSPC": ("system calls that found the disk full: ENOSPC", f"{each}; once, for good"),
        CUT_SHORT: ("writes cut short", "then the rest is taken, or the disk is full"),
        KILLED: ("system calls at which the process was killed", f"{each}; amid writes, too"),
        RECOVERING: (
            "saves killed, then killed or failing again, then good",
            f"a tiny state: each of {calls[RECOVERING]} calls with each fault of the next save",
        ),
        ORDER: (
            "saves traced: write, fsync, rename, fsync of the folder",
            "every save above that was reported as done",
        ),
    }
    rows = []
    for kind, (what, note) in words.items():
        tried = sum(count.tried[kind] for count in counts.values())
        lost = sum(len(count.lost.get(kind, [])) for count in counts.values())
        rows.append(Row("faults", what, tried, tried - lost, note))
    return rows


if __name__ == "__main__":
    folder, task, pieces, every, product = sys.argv[1:]
    _main(Path(folder), task, int(pieces), int(every), product)
