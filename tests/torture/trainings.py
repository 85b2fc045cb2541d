"""Small real trainings as processes: where they are, and whether their ends are equal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from common import checkpoint
from compare import engines
from compare.engines import Engine

CHECKPOINT = checkpoint.FILE_NAME

# What a kill or signal is aimed at -> how long after its beginning, in seconds, it may come.
AIMS = {
    "start": 0.3,  # Python and the command line, before anything is created
    "ready": 0.2,  # signals are handled from here on
    "import": 2.0,  # the framework is being loaded
    "open": 0.1,  # the run directory has just been made
    "compile": 0.3,  # the first steps
    "step": 0.5,  # the metrics of a step are there
    "sample": 0.004,  # a sample's temporary file is there
    "save": 0.15,  # a checkpoint's temporary file is there
    "saved": 0.01,  # it has just been renamed
    "end": 0.4,  # the overviews
}


@dataclass(frozen=True)
class Training:
    """A small real training of one engine, with one thread: bits are compared."""

    engine: Engine
    data_dir: str
    steps: int = 24
    every: int = 3  # steps between two samples and between two checkpoints
    recipe: str = "published"

    def start(self, run: Path) -> subprocess.Popen[str]:
        """Begin or go on, as the program tells a user whose run directory looks so."""
        if (run / CHECKPOINT).exists():
            flags: list[object] = ["--resume", run]
        else:
            overwrite = ["--overwrite"] if (run / "config.json").exists() else []
            flags = ["--out", run, "--steps", self.steps, "--batch-size", 16, "--recipe"]
            flags += [self.recipe, "--show-every", self.every, "--checkpoint-every", self.every]
            flags += ["--device", "cpu", *overwrite]
        flags += ["--data-dir", self.data_dir]
        module = f"{self.engine.package}.train"
        return engines.start(self.engine, module, *flags, threads=1, group=True)


def signal_group(process: subprocess.Popen[str], number: int) -> bool:
    """Send a signal to a process and what it started, if it has not ended."""
    if process.poll() is not None:
        return False
    os.killpg(process.pid, number)
    return True


class Watched:
    """A process that trains, and what its run directory tells of where it is."""

    def __init__(self, training: Training, run: Path) -> None:
        self.training, self.run = training, run
        self.began = time.time_ns()
        self.process = training.start(run)

    def until(self, aim: str) -> bool:
        """Wait for the beginning of what AIMS names. False: it ended before."""
        deadline = time.monotonic() + 300
        while not self._reached(aim):
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.0003)
        return True

    def wait(self, aim: str, seconds: float) -> bool:
        """Wait until so long after `aim` began. False: it ended before."""
        if not self.until(aim):
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    def send(self, number: int) -> bool:
        """Send a signal, as a terminal's Ctrl-C, to all that it started. False: it has ended."""
        return signal_group(self.process, number)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit status, and what it said on stdout and on stderr."""
        try:
            out, err = self.process.communicate(timeout=600)
        finally:
            self.send(signal.SIGKILL)
        return self.process.returncode, out, err

    def ready(self) -> bool:
        """Whether it handles signals: SIGTERM is caught, which Python by itself does not do."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.M)
            return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
        return False

    def torn(self) -> bool:
        """Whether it has left the temporary file of a write."""
        return any(self.new(path) for path in self.run.rglob("*.tmp"))

    def _reached(self, aim: str) -> bool:
        run = self.run
        if aim == "import":
            # The framework's libraries are mapped one after the other.
            with contextlib.suppress(OSError):
                maps = Path(f"/proc/{self.process.pid}/maps").read_text()
                return f"site-packages/{self.training.engine.requires[-1]}" in maps
            return False
        if aim == "step":
            # Going on cuts the metrics first; what is younger than environment.json is a step's.
            environment, metrics = run / "environment.json", run / "metrics.jsonl"
            with contextlib.suppress(OSError):
                opened, status = environment.stat().st_mtime_ns, metrics.stat()
                return self.new(environment) and status.st_size > 0 < status.st_mtime_ns - opened
            return False
        if aim == "end":
            return any(self.new(run / n) for n in (".samples.gif.tmp", "samples.gif"))
        if aim in ("sample", "compile"):
            folder, suffix = ("samples", ".tmp") if aim == "sample" else ("tensorboard", "")
            with contextlib.suppress(OSError):
                return any(self.new(path) for path in (run / folder).glob(f"*{suffix}"))
            return False
        if aim in ("start", "ready"):
            return aim == "start" or self.ready()
        files = {"open": "environment.json", "save": f".{CHECKPOINT}.tmp", "saved": CHECKPOINT}
        return self.new(run / files[aim])

    def new(self, path: Path) -> bool:
        """Whether this process wrote it: what an earlier one left is older."""
        try:
            return path.stat().st_mtime_ns >= self.began
        except OSError:
            return False


# ------------------------------------------------------------------ what must be equal


def picture(run: Path) -> dict[str, str]:
    """A finished run's hashes: of each array, of the metrics, of each picture; its step and end."""
    saved = checkpoint.load(run / CHECKPOINT)
    found = {name: _sha256(array.tobytes()) for name, array in saved.arrays.items()}
    files = ["metrics.jsonl", "samples.gif", "losses.png"]
    files += [f"samples/{path.name}" for path in (run / "samples").iterdir()]
    for name in files:
        path = run / name
        found[name] = _sha256(path.read_bytes()) if path.exists() else "missing"
    result = json.loads((run / "result.json").read_text())
    found["result.json"] = f"step {result['step']}, finished: {result['finished']}"
    return found | {f"left over: {path.name}": "" for path in run.rglob("*.tmp")}


def differences(run: Path, wanted: dict[str, str]) -> list[str]:
    """The names of what is not as in the uninterrupted run."""
    try:
        found = picture(run)
    except (OSError, ValueError, KeyError, checkpoint.CheckpointError) as error:
        return [f"unreadable: {error}"]
    return sorted(n for n in found.keys() | wanted if found.get(n) != wanted.get(n))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Reference:
    """The run that nothing hit."""

    picture: dict[str, str]
    start: float  # seconds to its first steps
    step: float  # seconds per step, samples and checkpoints included

    @classmethod
    def of(cls, training: Training, run: Path) -> Reference:
        """Train it, and keep of it what is to be compared."""
        began = time.perf_counter()
        watched = Watched(training, run)
        watched.until("step")
        start = time.perf_counter() - began
        status, out, err = watched.end()
        if status:
            raise RuntimeError(f"The uninterrupted run of {training} failed: {out}\n{err}")
        step = (time.perf_counter() - began - start) / training.steps
        found = picture(run)
        shutil.rmtree(run)
        return cls(found, start, step)
