"""Every system call of a checkpoint write, made to fail: what does the loader find afterwards?

Python's calls of the C library are intercepted by a small library, faults.c, in a process of its
own; preloaded.py has the part that runs there for each case.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import checkpoint
from compare.engines import ROOT, Engine
from compare.pages.torture import Row, Say
from tests.torture.preloaded import (
    CUT,
    FAIL,
    KILL,
    KILL_AMID,
    SAVED,
    Bench,
    Call,
    Fault,
    use_tiny_networks,
    wrong_order,
)

ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
CUT_SHORT, KILLED, RECOVERING, ORDER = "cut short", "killed", "recovering", "order"


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


def count_faults(bench: Bench, count: Count, first: bool) -> None:
    """Each fault of a save over a checkpoint, or of the first one."""
    path = str(bench.path)
    if first:
        bench.path.unlink()
    calls = bench.attempt(1, Fault()).calls
    count.calls = len(calls)
    count.add(ORDER, wrong_order(calls, path))
    for kind, fault in faults(calls):
        bench.clean()
        if first:
            bench.path.unlink(missing_ok=True)
        elif isinstance(bench.found(), str):  # each case begins with a whole file
            bench.attempt(0, Fault())
        old = bench.found()
        new = 1 if old == 0 else 0
        attempt = bench.attempt(new, fault)
        wrong = bench.judge(attempt, old, new, fault)
        count.add(kind, wrong or ("" if attempt.fired else f"{fault} did not happen"))
        if attempt.status == SAVED:
            count.add(ORDER, wrong_order(attempt.calls, path))
    beyond = bench.attempt(1, Fault(FAIL, len(calls) + 1, errno.EIO))
    assert not beyond.fired, "the save has more calls than were counted"


def count_recoveries(bench: Bench, count: Count, every: int) -> None:
    """Every kill, then every fault of the next save, then a save that nothing disturbs.

    every: 1 tries all pairs of a kill and a fault, 7 every seventh.
    """
    calls = bench.attempt(0, Fault()).calls
    count.calls = len(calls)
    kills = [fault for kind, fault in faults(calls) if kind == KILLED]
    pairs = itertools.product(kills, [fault for _, fault in faults(calls)])
    for kill, fault in itertools.islice(pairs, 0, None, every):
        bench.clean()
        if bench.found() != 0:
            bench.attempt(0, Fault())
        wrong = ""
        for number, trouble in ((1, kill), (2, fault), (3, Fault())):
            old = bench.found()
            attempt = bench.attempt(number, trouble)
            wrong = wrong or bench.judge(attempt, old, number, trouble)
        if not wrong and attempt.status != SAVED:
            wrong = f"after {kill} and {fault} a good save failed"
        count.add(RECOVERING, wrong)


def _main(folder: Path, task: str, pieces: int, every: int, product: str) -> None:
    """Do one task and print its Count as JSON."""
    del os.environ["LD_PRELOAD"]
    if task != "real":
        use_tiny_networks()
    if product:
        checkpoint.write_atomically = runpy.run_path(product)["write_atomically"]
    bench, count = Bench(folder.resolve() / task, pieces), Count()
    if task == RECOVERING:
        count_recoveries(bench, count, every)
    else:
        count_faults(bench, count, first=task == "first")
    print(json.dumps({"tried": count.tried, "lost": count.lost, "calls": count.calls}))


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
        [sys.executable, "-m", "tests.torture.faults", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ
        | {"LD_PRELOAD": library, "FAULTS_LIBRARY": library, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return Count(Counter(answer["tried"]), answer["lost"], answer["calls"])


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """All faults of the real state's save and of a tiny one's; the tiny one is killed twice, too.

    No engine takes part: what is written is arrays, whoever made them.
    """
    if why := unavailable():
        say(f"faults: skipped, {why}")
        return []
    total, calls = Count(), {}
    for task, pieces in (("real", 16), ("tiny", 16), ("first", 16), (RECOVERING, 4)):
        count = counted(work, task, pieces)
        shutil.rmtree(work / "files")
        calls[task] = count.calls
        total.tried.update(count.tried)
        say(f"faults: {task}: {sum(count.tried.values())} cases at {count.calls} calls of a save")
        for kind, sentences in count.lost.items():
            total.lost.setdefault(kind, []).extend(sentences)
            say(f"faults: {task}, {kind}: {len(sentences)} lost, the first: {sentences[0]}")
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
    return [
        Row("faults", what, tried, tried - len(total.lost.get(kind, [])), note)
        for kind, (what, note) in words.items()
        for tried in [total.tried[kind]]
    ]


if __name__ == "__main__":
    folder, task, pieces, every, product = sys.argv[1:]
    _main(Path(folder), task, int(pieces), int(every), product)
