"""The kill lottery: SIGKILL at drawn moments of real trainings, each then resumed to its end.

A kill is survived if the run that it hit ends as the run that nothing hit: the same bits in the
checkpoint, the same metrics, the same pictures.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from common import checkpoint
from common.datasets import MNIST_FILES
from compare import engines
from compare.engines import ENGINES, Engine
from compare.pages.torture import Row, Say
from tests.torture.watched import (
    AIMS,
    CHECKPOINT,
    Reference,
    Training,
    Watched,
    differences,
    signal_group,
)

SEED = 20
KILLS_A_RUN = 10  # then it is let to its end: a kill's damage would still be there


@dataclass
class Tally:
    """What a lottery's kills met."""

    tried: int = 0
    survived: int = 0
    runs: int = 0
    writes: int = 0  # a temporary file was left: the kill came within a write
    early: int = 0  # there was no checkpoint yet
    wrong: list[str] = field(default_factory=list)

    def note(self) -> str:
        """The figures in words."""
        runs = f"{self.runs} run{'s' * (self.runs != 1)}"
        kills = f"{self.early} kills before a first checkpoint, {self.writes} within a write"
        return "; ".join([f"{runs}, {kills}", *self.wrong[:3]])


def lottery(
    training: Training,
    kills: int,
    work: Path,
    say: Say,
    tally: Tally,
    reference: Reference,
    in_a_row: bool = False,
) -> None:
    """Kill runs `kills` times, five times each or one in a row, and compare each run's end."""
    draw = random.Random(f"{SEED} {training.engine.name} {training.recipe} {in_a_row}")
    end = tally.tried + kills
    while tally.tried < end:
        run = work / f"run-{tally.runs}"
        most = kills if in_a_row else KILLS_A_RUN
        hit = 0
        while hit < min(most, end - tally.tried):
            aim, seconds = _drawn(draw, training, run, reference, in_a_row)
            watched = Watched(training, run)
            struck = watched.wait(aim, seconds) and watched.send(signal.SIGKILL)
            watched.end()
            if not struck:  # finished, or refused to go on: seen below
                break
            hit += 1
            tally.writes += watched.torn()
            tally.early += not (run / CHECKPOINT).exists()
        status, out, err = Watched(training, run).end()
        wrong = differences(run, reference.picture) if not status else [(err or out)[-200:]]
        tally.tried += max(hit, bool(wrong))  # a run that fails by itself is lost, too
        tally.survived += hit if not wrong else 0
        tally.runs += 1
        tally.wrong += [f"differs: {', '.join(wrong[:3])}"] if wrong else []
        say(f"kills: {training.engine.name} {tally.survived} of {tally.tried} survived")
        shutil.rmtree(run, ignore_errors=True)


def _drawn(
    draw: random.Random, training: Training, run: Path, reference: Reference, in_a_row: bool
) -> tuple[str, float]:
    """The next kill: half of them at any time of what is left of the run, half aimed."""
    if in_a_row:  # soon enough for the run to live through all of them
        return "start", draw.random() * (reference.start + 12 * reference.step)
    aim = draw.choice(list(AIMS))
    fraction, anywhere = draw.random(), draw.random() < 0.5
    if not anywhere:
        return aim, fraction * AIMS[aim]
    with contextlib.suppress(OSError, checkpoint.CheckpointError):
        done = checkpoint.load(run / CHECKPOINT).step
        return "start", fraction * (reference.start + (training.steps - done) * reference.step)
    return "start", fraction * (reference.start + training.steps * reference.step)


# ------------------------------------------------------------------ the first download


def downloads(kills: int, work: Path, say: Say) -> Row | None:
    """Kill the fetching of MNIST into a folder of its own; None if no source answers here.

    Survived: the folder holds no torn file under a final name, and the next fetch ends with four
    verified files and nothing else.
    """
    draw = random.Random(f"{SEED} downloads")
    work.mkdir()
    began = time.perf_counter()
    if _fetch(work / "whole", work).wait():
        say("kills: no source of MNIST answers, so no download is killed")
        return None
    length = time.perf_counter() - began
    tried = survived = writes = 0
    while tried < kills:
        folder = work / f"data-{tried}"
        raw = folder / "MNIST" / "raw"
        process = _fetch(folder, work)
        deadline = time.monotonic() + draw.random() * length
        aimed = tried % 2 == 1  # every other one at the writing of the files
        while process.poll() is None and (aimed or time.monotonic() < deadline):
            if aimed and any(raw.glob(".*.tmp")):
                break
            time.sleep(0.0003)
        if process.poll() is None:
            signal_group(process, signal.SIGKILL)
            tried += 1
            writes += any(raw.glob(".*.tmp"))
            torn = [path for path in raw.glob("*-ubyte") if not _right(path)]
            again = _fetch(folder, work)
            good = again.wait() == 0 and sorted(p.name for p in raw.iterdir()) == sorted(
                MNIST_FILES
            )
            survived += good and not torn and all(map(_right, raw.iterdir()))
        process.communicate()
        shutil.rmtree(folder)
        say(f"kills: first download {survived} of {tried} survived")
    note = f"{writes} of them within a write"
    return Row("kills", "SIGKILL during the first download of MNIST", tried, survived, note)


def _fetch(folder: Path, temporary: Path) -> subprocess.Popen[str]:
    """`python -m common.datasets folder`; what a killed pip leaves lies in `temporary`."""
    engine = ENGINES["pytorch"]  # it imports no framework
    return engines.start(engine, "common.datasets", folder, group=True, TMPDIR=str(temporary))


def _right(path: Path) -> bool:
    return (
        hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        == MNIST_FILES[path.name][0]
    )


# ------------------------------------------------------------------ the part


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """100 kills with PyTorch, 30 more in a row; 20 with each other engine; 8 downloads killed."""
    rows = []
    for engine in chosen:
        main = engine.name == "pytorch"
        tally = Tally()
        for recipe, kills in (("published", 90), ("tuned", 10)) if main else (("published", 20),):
            training = Training(engine, data_dir, recipe=recipe)
            reference = Reference.of(training, work / "whole")
            lottery(training, kills, work, say, tally, reference)
        what = f"SIGKILL at random moments of a training: {engine.name}"
        rows.append(Row("kills", what, tally.tried, tally.survived, tally.note()))
        if main:
            training, tally = Training(engine, data_dir, steps=120), Tally()
            reference = Reference.of(training, work / "whole")
            lottery(training, 30, work, say, tally, reference, in_a_row=True)
            what = f"SIGKILL of one run again and again: {engine.name}"
            rows.append(Row("kills", what, tally.tried, tally.survived, tally.note()))
    fetched = downloads(8, work / "downloads", say)
    return rows + ([fetched] if fetched else [])
