"""SIGINT and SIGTERM in every phase of real trainings, and at random moments; each is resumed.

A signal is survived if the process says what it saved, leaves no traceback and the shell's status
for the signal, its checkpoint is the one that it says, and the run, resumed, ends as the run that
nothing hit.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from common import checkpoint
from compare.engines import Engine
from compare.pages.torture import Row, Say
from tests.torture.watched import AIMS, CHECKPOINT, Reference, Training, Watched, differences

SEED = 21
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SIGNALS_A_RUN = 8  # then it is let to its end
STOPPED = re.compile(r"Stopped after step (\d+) of \d+; continue with --resume (.+)")
NOTHING = "Stopped before the first step; nothing was saved."


@dataclass
class Tally:
    """What signals met."""

    tried: int = 0
    survived: int = 0
    slowest: float = 0.0  # seconds from the last signal to the end of the process
    early: int = 0  # came while Python itself started, before any line of ours
    kept: int = 0  # of these, left the run directory as it was
    pending: int = 0  # well answered, in a run that has not ended yet
    aims: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self) -> str:
        """The figures in words."""
        return "; ".join([f"the slowest end took {self.slowest:.1f} s", *self.wrong[:3]])


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
    if last == NOTHING:
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


@dataclass(frozen=True)
class Shot:
    """A signal to come."""

    aim: str
    fraction: float  # of the time that AIMS gives it after the aim's beginning
    number: int
    second: float | None = None  # seconds until it comes again


def interrupt(training: Training, run: Path, shot: Shot, seconds: float, tally: Tally) -> bool:
    """Start or go on, and send the signal so long after the aim. False: it ended before that.

    Adds to the tally all but `survived`, which the run's end decides.
    """
    before = step_of(run)
    names = sorted(path.name for path in run.iterdir()) if run.exists() else None
    watched = Watched(training, run)
    if not watched.wait(shot.aim, seconds):
        watched.end()
        return False
    ours = watched.ready()
    sent = time.perf_counter()
    watched.send(shot.number)
    again = shot.second is not None and watched.wait("start", shot.second)
    if again:
        sent = time.perf_counter()
        watched.send(shot.number)
    status, out, err = watched.end()
    if not ours and not out:  # while Python ends, its handlers are gone too
        tally.early += 1
        left = sorted(path.name for path in run.iterdir()) if run.exists() else None
        tally.kept += (left, step_of(run)) == (names, before)
        return True
    tally.tried += 1
    tally.slowest = max(tally.slowest, time.perf_counter() - sent)
    tally.aims[shot.aim] += 1
    wrong = fault(watched, shot.number, before, status, out, err, again)
    tally.pending += not wrong
    if wrong:
        tally.wrong.append(f"{signal.Signals(shot.number).name} at {shot.aim}: {wrong}")
    return True


def shoot(
    training: Training,
    shots: list[Shot],
    work: Path,
    say: Say,
    tally: Tally,
    reference: Reference,
) -> None:
    """Send all signals, several to each run, and compare each run's end."""
    left = list(shots)
    length = reference.start + training.steps * reference.step
    while left:
        run = work / f"signalled-{len(left)}"
        hits = 0
        while left and hits < SIGNALS_A_RUN:
            shot = left[0]
            seconds = shot.fraction * (length if shot.aim == "start" else AIMS[shot.aim])
            if interrupt(training, run, shot, seconds, tally):
                hits += 1
            elif hits:
                break  # the run has ended; the signal comes in the next one
            del left[0]
        status, out, err = Watched(training, run).end()
        wrong = differences(run, reference.picture) if not status else [(err or out)[-200:]]
        tally.survived += tally.pending if not wrong else 0
        tally.pending = 0
        tally.tried += bool(wrong and not hits)  # a run that fails by itself is lost, too
        tally.wrong += [f"differs: {', '.join(wrong[:3])}"] if wrong else []
        say(f"signals: {training.engine.name} {tally.survived} of {tally.tried} survived")
        shutil.rmtree(run, ignore_errors=True)


def drawn(engine: str, anywhere: int, twice: int) -> list[Shot]:
    """Both signals at every aim, `anywhere` at random moments, and `twice` that come twice."""
    draw = random.Random(f"{SEED} {engine}")
    aims = [aim for aim in AIMS if aim != "start"]
    shots = [Shot(aim, draw.random(), number) for number in SIGNALS for aim in aims]
    shots += [Shot("start", draw.random(), draw.choice(SIGNALS)) for _ in range(anywhere)]
    for _ in range(twice):
        aim, number = draw.choice(aims), draw.choice(SIGNALS)
        shots.append(Shot(aim, draw.random(), number, second=draw.random() * 0.2))
    return shots


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """Every phase with both signals; with PyTorch 30 at random and 10 twice, else 6 and 2."""
    rows, every = [], Tally()
    for engine in chosen:
        training, tally = Training(engine, data_dir), Tally()
        anywhere, twice = (30, 10) if engine.name == "pytorch" else (6, 2)
        reference = Reference.of(training, work / "whole")
        shots = drawn(engine.name, anywhere, twice)
        shoot(training, shots, work, say, tally, reference)
        what = f"SIGINT and SIGTERM in every phase of a training: {engine.name}"
        rows.append(Row("signals", what, tally.tried, tally.survived, tally.note()))
        every.early += tally.early
        every.kept += tally.kept
    if every.early:
        what = "the same before Python has read our first line: nothing changed"
        rows.append(Row("signals", what, every.early, every.kept))
    return rows
