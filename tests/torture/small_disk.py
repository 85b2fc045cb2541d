"""A small disk to train on, and what must be so afterwards: for disk.py, in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import checkpoint
from compare.engines import ROOT

STEPS, EVERY = 30, 10
LONGEST = 300  # seconds; a training that never ends is lost, too

# A pattern of a line of output, and what is done when it is said.
Event = tuple[str, Callable[[], object]]


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class Kit:
    """What the cases use."""

    work: Path
    train: list[str]  # a training command, up to its flags
    data_dir: str
    flags = ("--batch-size", "16", f"--checkpoint-every={EVERY}", f"--show-every={EVERY}")

    @property
    def disk(self) -> Path:
        """Where the small file system is mounted."""
        return self.work / "disk"

    @property
    def run(self) -> Path:
        """The run directory on it."""
        return self.disk / "run"

    @property
    def ballast(self) -> Path:
        """What takes the room away."""
        return self.disk / "ballast"

    @property
    def size(self) -> int:
        """Bytes of a checkpoint."""
        return self.state(STEPS).stat().st_size

    def state(self, step: int) -> Path:
        """The checkpoint after so many steps of a training that nothing disturbed."""
        return self.work / f"undisturbed-{step}" / checkpoint.FILE_NAME

    def do(self, command: list[str], *events: Event) -> Ended:
        """Run a command; at each event in its turn, hold it and act."""
        waiting = list(events)
        with tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=err, text=True
            )
            watch = threading.Timer(LONGEST, process.kill)
            watch.start()
            lines = []
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if waiting and re.search(waiting[0][0], line):
                    process.send_signal(signal.SIGSTOP)
                    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                    waiting.pop(0)[1]()
                    process.send_signal(signal.SIGCONT)
            status = process.wait()
            watch.cancel()
            err.seek(0)
            missed = f"never said: {waiting[0][0]}" if waiting else ""
            return Ended(status, "".join(lines), err.read() + missed)

    def new(self, *events: Event, flags: Sequence[str] = (), steps: int = STEPS) -> Ended:
        """Train on the disk."""
        where = ["--steps", str(steps), "--out", str(self.run)]
        return self.do(
            [*self.train, "--data-dir", self.data_dir, *self.flags, *where, *flags], *events
        )

    def resume(self, *events: Event) -> Ended:
        """Go on with the run on the disk, to the end."""
        return self.do([*self.train, "--resume", str(self.run), "--steps", str(STEPS)], *events)

    # -------------------------------------------------------------- what must be so

    def sentence(self, ended: Ended, says: str) -> list[str]:
        """The command ended with status 2 and one sentence that has `says`."""
        said = ended.err.strip()
        if ended.status == 2 and said.startswith("error: ") and "\n" not in said and says in said:
            return []
        return [f"status {ended.status}, {said[-300:]!r} instead of 2 and {says!r}"]

    def holds(self, *steps: int) -> list[str]:
        """The run has the undisturbed checkpoint of one of these steps, and no half of a file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(self.run / checkpoint.FILE_NAME)
        except (OSError, SafetensorError) as error:
            return [*self.whole(), f"no checkpoint can be read: {error}"]
        step = int(found["step"])
        if step not in steps:
            return [*self.whole(), f"the checkpoint is of step {step}, not of {steps}"]
        wanted = load_file(self.state(step))
        differing = [n for n in wanted if found[n].tobytes() != wanted[n].tobytes()]
        return self.whole() + [f"{name} differs at step {step}" for name in differing]

    def finished(self, ended: Ended) -> list[str]:
        """The training ended well, with the records and the state of an undisturbed one."""
        if ended.status or ended.err:
            return [f"status {ended.status}, {ended.err[-300:]!r}"]
        metrics, result = (self.run / name for name in ("metrics.jsonl", "result.json"))
        same = metrics.read_bytes() == self.state(STEPS).with_name("metrics.jsonl").read_bytes()
        wrong = [] if same else ["metrics.jsonl differs"]
        if not json.loads(result.read_text())["finished"]:
            wrong.append("result.json says that it is not finished")
        return wrong + self.holds(STEPS)

    def empty(self) -> list[str]:
        """Nothing was made on the disk."""
        return [f"{path} was made" for path in self.disk.iterdir() if path != self.ballast]

    def whole(self) -> list[str]:
        """No half of a file is left."""
        return [f"{path} is left" for path in self.disk.rglob("*.tmp")]

    # -------------------------------------------------------------- the disk

    @contextlib.contextmanager
    def mounted(self, size: float) -> Iterator[None]:
        """A disk with room for so many checkpoints."""
        self.disk.mkdir(exist_ok=True)
        system("mount", "-t", "tmpfs", "-o", f"size={int(size * self.size)}", "none", self.disk)
        try:
            yield
        finally:
            system("umount", "--recursive", self.disk)

    def resize(self, size: float) -> None:
        """Make the disk larger."""
        system("mount", "-o", f"remount,size={int(size * self.size)}", self.disk)

    def read_only(self) -> None:
        """Mount the disk once more, over itself: files that are open do not hinder this."""
        system("mount", "--bind", self.disk, self.disk)
        system("mount", "-o", "remount,bind,ro", self.disk)

    def writable(self) -> None:
        """Take read_only() back."""
        system("umount", self.disk)

    def fill(self) -> None:
        """Leave no room at all."""
        with contextlib.suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while file.write(bytes(2**16)):
                pass

    def reference(self, *steps: int) -> None:
        """Train undisturbed, for what the others are compared with."""
        for step in steps:
            out = ["--steps", str(step), "--out", str(self.state(step).parent)]
            ended = self.do([*self.train, "--data-dir", self.data_dir, *self.flags, *out])
            assert ended.status == 0, ended.err


def system(*command: object) -> None:
    """Run a command of the system, which must succeed."""
    subprocess.run([str(word) for word in command], check=True)
