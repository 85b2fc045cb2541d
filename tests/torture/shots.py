"""SIGKILL, SIGINT and SIGTERM at every phase and at drawn moments of real trainings.

A signal is survived if the run that it hit, resumed to its end, is the run that nothing hit: the
same bits in the checkpoint, the same metrics, the same pictures. Of SIGINT and SIGTERM more is
asked: the process says what it saved, leaves no traceback and the shell's status for the signal,
and its checkpoint is the one that it says.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import checkpoint
from common.early import NOTHING_SAVED
from common.mnist import MNIST_FILES
from compare import engines
from compare.engines import ENGINES, Engine
from compare.pages.torture import Row, Say
from tests.torture.trainings import (
    AIMS,
    CHECKPOINT,
    Reference,
    Training,
    Watched,
    differences,
    signal_group,
)

SEED = 20
A_RUN = 10  # signals to a run, then it is let to its end: their damage would still be there
STOPPED = re.compile(r"Stopped after step (\d+) of \d+; continue with --resume (.+)")


@dataclass(frozen=True)
class Shot:
    """A signal to come, so long after the beginning of what AIMS names."""

    aim: str
    fraction: float  # of the time that AIMS gives it; from the start: of what is left of the run
    number: int = signal.SIGKILL
    second: float | None = None  # seconds until it comes again
    steps: int | None = None  # from the start: of so many steps instead


@dataclass
class Tally:
    """What shots met."""

    tried: int = 0
    survived: int = 0
    runs: int = 0
    torn: int = 0  # a temporary file was left: the signal came within a write
    early: int = 0  # there was no checkpoint yet
    slowest: float = 0.0  # seconds from the last signal to the end of the process
    unready: int = 0  # SIGINT or SIGTERM while Python itself started, before any line of ours
    kept: int = 0  # of these, left the run directory as it was
    wrong: list[str] = field(default_factory=list)


def shoot(
    training: Training,
    shots: Sequence[Shot],
    work: Path,
    say: Say,
    reference: Reference,
    a_run: int = A_RUN,
    most: int = 10**6,
) -> Tally:
    """Send signals, `most` in all and up to `a_run` to each run, and compare each run's end."""
    tally, left = Tally(), list(shots)
    while left and tally.tried < most:
        run = work / f"shot-{tally.runs}"
        hits = good = 0
        while left and hits < a_run and tally.tried < most:
            shot, before = left[0], tally.tried
            answer = fire(training, run, shot, reference, tally)
            if answer is None and hits:
                break  # the run has ended; the signal comes in the next one
            del left[0]
            if answer is None:  # too late for a whole run, or what it aims at was over too soon
                break
            hits += 1
            good += not answer and tally.tried > before
            tally.wrong += [f"{shot}: {answer}"] if answer else []
        status, out, err = Watched(training, run).end()
        wrong = differences(run, reference.picture) if not status else [(err or out)[-200:]]
        tally.survived += 0 if wrong else good
        tally.wrong += [f"differs: {', '.join(wrong[:3])}"] if wrong else []
        tally.tried += bool(wrong and not hits)  # a run that fails by itself is lost, too
        tally.runs += 1
        say(f"shots: {training.engine.name} {tally.survived} of {tally.tried} survived")
        shutil.rmtree(run, ignore_errors=True)
    return tally


def fire(
    training: Training, run: Path, shot: Shot, reference: Reference, tally: Tally
) -> str | None:
    """Start or go on, and send the signal. None: the process ended before; else what is wrong with
    how it ended, or an empty text. Adds to the tally all but `survived`, which the run's end says.
    """
    before = step_of(run)
    names = sorted(path.name for path in run.iterdir()) if run.exists() else None
    steps = training.steps - max(before, 0) if shot.steps is None else shot.steps
    span = reference.start + steps * reference.step if shot.aim == "start" else AIMS[shot.aim]
    watched = Watched(training, run)
    if not watched.wait(shot.aim, shot.fraction * span):
        watched.end()
        return None
    ready, sent = watched.ready(), time.perf_counter()
    watched.send(shot.number)
    again = shot.second is not None and watched.wait("start", shot.second)
    if again:
        sent = time.perf_counter()
        watched.send(shot.number)
    status, out, err = watched.end()
    if shot.number == signal.SIGKILL:
        tally.torn += watched.torn()
        tally.early += not (run / CHECKPOINT).exists()
    elif not ready and not out:  # while Python ends, its handlers are gone too
        tally.unready += 1
        now = sorted(path.name for path in run.iterdir()) if run.exists() else None
        tally.kept += (now, step_of(run)) == (names, before)
        return ""
    tally.tried += 1
    tally.slowest = max(tally.slowest, time.perf_counter() - sent)
    if shot.number == signal.SIGKILL:
        return ""
    return fault(watched, shot.number, before, status, out, err, again)


def fault(
    watched: Watched, number: int, before: int, status: int, out: str, err: str, again: bool
) -> str:
    """What is wrong with how a process ended that a signal hit; an empty text if nothing is.

    before: the step of the checkpoint that was there when it started, 0 for none. again: the signal
    came twice, so that the process leaves at once, without a word.
    """
    if err:
        return f"stderr: {err.strip().splitlines()[-1][:100]}"
    lines = out.strip().splitlines()
    last = lines[-1] if lines else ""
    after = step_of(watched.run)
    if status in (0, -number) and after == watched.training.steps and "Finished" in out:
        return ""  # too late to stop anything
    if status not in (128 + number, -number if again else None):  # the shell shows both alike
        return f"status {status} after signal {number}"
    if again:
        return "" if after >= before else f"is at step {after}, and was at {before}"
    metrics = watched.run / "metrics.jsonl"
    done = metrics.read_bytes().count(b"\n") if watched.new(metrics) else 0
    if last == NOTHING_SAVED:
        right = after == before and done <= before
        return "" if right else f"said that nothing was saved, {done} steps done, {after} saved"
    said = STOPPED.fullmatch(last)
    if said is None:
        return f"last line: {last[:100]!r}"
    if (int(said[1]), Path(said[2])) != (after, watched.run) or done != after:
        return f"said {last!r}, {done} steps done, {after} saved"
    return ""


def step_of(run: Path) -> int:
    """The step of a run's checkpoint; 0 if there is none, -1 if it cannot be used."""
    try:
        return checkpoint.load(run / CHECKPOINT).step if (run / CHECKPOINT).exists() else 0
    except checkpoint.CheckpointError:
        return -1


# ------------------------------------------------------------------ the parts


def kills(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """100 kills with PyTorch, 30 more in a row; 20 with each other engine; 8 downloads killed."""
    rows = []
    for engine in chosen:
        draw = random.Random(f"{SEED} kills {engine.name}")
        main = engine.name == "pytorch"
        tallies = []
        for recipe, count in (("published", 90), ("tuned", 10)) if main else (("published", 20),):
            training = Training(engine, data_dir, recipe=recipe)
            # More than are needed: some come too late, or what they aim at is over too soon.
            aims = [draw.choice(["start", draw.choice(list(AIMS))]) for _ in range(2 * count)]
            shots = [Shot(aim, draw.random()) for aim in aims]
            reference = Reference.of(training, work / "whole")
            tallies.append(shoot(training, shots, work, say, reference, most=count))
        rows.append(_killed(f"SIGKILL at random moments of a training: {engine.name}", tallies))
        if main:  # each soon enough for the run to live through all of them
            training = Training(engine, data_dir, steps=120)
            shots = [Shot("start", draw.random(), steps=12) for _ in range(30)]
            reference = Reference.of(training, work / "whole")
            tally = shoot(training, shots, work, say, reference, a_run=30)
            rows.append(_killed(f"SIGKILL of one run again and again: {engine.name}", [tally]))
    return [*rows, *downloads(8, work / "downloads", say)]


def _killed(what: str, tallies: list[Tally]) -> Row:
    runs, early, torn = (sum(getattr(t, n) for t in tallies) for n in ("runs", "early", "torn"))
    note = f"{runs} runs, {early} kills before a first checkpoint, {torn} within a write"
    return _row("kills", what, tallies, note)


def _row(part: str, what: str, tallies: list[Tally], note: str) -> Row:
    tried, survived = sum(t.tried for t in tallies), sum(t.survived for t in tallies)
    wrong = [sentence for tally in tallies for sentence in tally.wrong]
    return Row(part, what, tried, survived, "; ".join([note, *wrong[:3]]))


def signals(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """Both signals in every phase; with PyTorch 30 at random moments and 10 twice, else 6 and 2."""
    rows, unready, kept = [], 0, 0
    for engine in chosen:
        draw = random.Random(f"{SEED} signals {engine.name}")
        anywhere, twice = (30, 10) if engine.name == "pytorch" else (6, 2)
        both, aims = (signal.SIGINT, signal.SIGTERM), [aim for aim in AIMS if aim != "start"]
        shots = [Shot(aim, draw.random(), number) for number in both for aim in aims]
        shots += [Shot("start", draw.random(), draw.choice(both)) for _ in range(anywhere)]
        shots += [
            Shot(draw.choice(aims), draw.random(), draw.choice(both), draw.random() * 0.2)
            for _ in range(twice)
        ]
        training = Training(engine, data_dir)
        tally = shoot(training, shots, work, say, Reference.of(training, work / "whole"))
        what = f"SIGINT and SIGTERM in every phase of a training: {engine.name}"
        rows.append(_row("signals", what, [tally], f"the slowest end took {tally.slowest:.1f} s"))
        unready, kept = unready + tally.unready, kept + tally.kept
    what = "the same before Python has read our first line: nothing changed"
    return rows + ([Row("signals", what, unready, kept)] if unready else [])


# ------------------------------------------------------------------ the first download


def downloads(count: int, work: Path, say: Say) -> list[Row]:
    """Kill the fetching of MNIST into a folder of its own; no row if no source answers here.

    Survived: the folder holds no torn file under a final name, and the next fetch ends with four
    verified files and nothing else.
    """
    draw = random.Random(f"{SEED} downloads")
    work.mkdir()
    began = time.perf_counter()
    if _fetch(work / "whole", work).wait():
        say("kills: no source of MNIST answers, so no download is killed")
        return []
    length = time.perf_counter() - began
    tried = survived = writes = 0
    while tried < count:
        folder = work / f"data-{tried}"
        raw = folder / "MNIST" / "raw"
        process = _fetch(folder, work)
        deadline = time.monotonic() + draw.random() * length
        aimed = tried % 2 == 1  # every other one at the writing of the files
        while process.poll() is None and (aimed or time.monotonic() < deadline):
            if aimed and any(raw.glob(".*.tmp")):
                break
            time.sleep(0.0003)
        if signal_group(process, signal.SIGKILL):
            tried += 1
            writes += any(raw.glob(".*.tmp"))
            torn = [path for path in raw.glob("*-ubyte") if not _right(path)]
            good = _fetch(folder, work).wait() == 0 and not torn
            there = {path.name for path in raw.iterdir()}
            survived += good and there == set(MNIST_FILES) and all(map(_right, raw.iterdir()))
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)
        say(f"kills: first download {survived} of {tried} survived")
    note = f"{writes} of them within a write"
    return [Row("kills", "SIGKILL during the first download of MNIST", tried, survived, note)]


def _fetch(folder: Path, temporary: Path) -> subprocess.Popen[str]:
    """`python -m common.datasets folder`; what a killed pip leaves lies in `temporary`."""
    engine = ENGINES["pytorch"]  # it imports no framework
    return engines.start(engine, "common.datasets", folder, group=True, TMPDIR=str(temporary))


def _right(path: Path) -> bool:
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return md5 == MNIST_FILES[path.name][0]
