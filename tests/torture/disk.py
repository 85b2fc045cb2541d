"""A disk that is full, read-only or gone, before a training and in it: what is lost?

The disk is a small file system in memory. It is mounted in a mount namespace of its own, which
ends with the process that runs the cases: nothing stays mounted, whatever happens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common import checkpoint
from compare.engines import ENGINES, ROOT, Engine
from compare.pages.torture import Row, Say

STEPS, EVERY = 30, 10
LONGEST = 300  # seconds; a training that never ends is lost, too
FLAGS = ["--batch-size", "16", f"--checkpoint-every={EVERY}", f"--show-every={EVERY}"]
FULL, READ_ONLY = "No space left on device", "Read-only file system"
MIDDLE = "Iter: 10,"  # said in the chunk after the first checkpoint
REFUSED = r"warning: the checkpoint of step \d+ could not be written"
ROOM = 4  # checkpoints: enough for everything

Event = tuple[str, Callable[[], object]]  # a pattern of a line of output, and what is done then


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class Kit:
    """A small disk to train on, and what must be so afterwards: [] or what is wrong, in words."""

    work: Path
    train: list[str]  # a training command, up to its flags
    data_dir: str

    def __post_init__(self) -> None:
        self.disk = self.work / "disk"  # where the small file system is mounted
        self.run = self.disk / "run"
        self.ballast = self.disk / "ballast"  # takes the room away

    def undisturbed(self, step: int) -> Path:
        """The run of so many steps that nothing disturbed, trained when it is first asked for."""
        run = self.work / f"undisturbed-{step}"
        if not run.exists():
            ended = self.new(flags=["--out", str(run)], steps=step)
            assert ended.status == 0, ended.err
        return run

    # -------------------------------------------------------------- trainings

    def do(self, command: Sequence[str], *events: Event) -> Ended:
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
        where = ["--data-dir", self.data_dir, "--steps", str(steps), "--out", str(self.run)]
        return self.do([*self.train, *FLAGS, *where, *flags], *events)

    def resume(self) -> Ended:
        """Go on with the run on the disk, to the end."""
        return self.do([*self.train, "--resume", str(self.run), "--steps", str(STEPS)])

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
        wanted = load_file(self.undisturbed(step) / checkpoint.FILE_NAME)
        differing = [n for n in wanted if found[n].tobytes() != wanted[n].tobytes()]
        return self.whole() + [f"{name} differs at step {step}" for name in differing]

    def finished(self, ended: Ended) -> list[str]:
        """The training ended well, with the records and the state of an undisturbed one."""
        if ended.status or ended.err:
            return [f"status {ended.status}, {ended.err[-300:]!r}"]
        wanted = (self.undisturbed(STEPS) / "metrics.jsonl").read_bytes()
        same = (self.run / "metrics.jsonl").read_bytes() == wanted
        wrong = [] if same else ["metrics.jsonl differs"]
        if not json.loads((self.run / "result.json").read_text())["finished"]:
            wrong.append("result.json says that it is not finished")
        return wrong + self.holds(STEPS)

    def empty(self) -> list[str]:
        """Nothing was made on the disk."""
        return [f"{path} was made" for path in self.disk.iterdir() if path != self.ballast]

    def whole(self) -> list[str]:
        """No half of a file is left."""
        return [f"{path} is left" for path in self.disk.rglob("*.tmp")]

    # -------------------------------------------------------------- the disk

    def room(self, checkpoints: float) -> str:
        """The mount option for so much room."""
        size = (self.undisturbed(STEPS) / checkpoint.FILE_NAME).stat().st_size
        return f"size={int(checkpoints * size)}"

    @contextlib.contextmanager
    def mounted(self, checkpoints: float) -> Iterator[None]:
        """A disk with room for so many checkpoints."""
        self.disk.mkdir(exist_ok=True)
        system("mount", "-t", "tmpfs", "-o", self.room(checkpoints), "none", self.disk)
        try:
            yield
        finally:
            system("umount", "--recursive", self.disk)

    def enlarge(self) -> None:
        """Make room for everything."""
        system("mount", "-o", f"remount,{self.room(ROOM)}", self.disk)

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


def system(*command: object) -> None:
    """Run a command of the system, which must succeed."""
    subprocess.run([str(word) for word in command], check=True)


# ------------------------------------------------------------------ cases: what was lost, in words


def one_checkpoint_fits(kit: Kit) -> list[str]:
    """The second needs the room of the first one, too: refused to the end; then there is room."""
    with kit.mounted(1.6):
        wrong = kit.sentence(kit.new(), FULL) + kit.holds(EVERY)
        kit.enlarge()
        return wrong + kit.finished(kit.resume())


def no_checkpoint_fits(kit: Kit) -> list[str]:
    """The training goes on to its end and says that nothing was saved."""
    with kit.mounted(0.6):
        wrong = kit.sentence(kit.new(), "no checkpoint was written yet") + kit.whole()
        kit.enlarge()
        return wrong + kit.finished(kit.new(flags=["--overwrite"]))


def room_comes_back(kit: Kit) -> list[str]:
    """A refused checkpoint is tried again after the next chunk, when there is room."""
    with kit.mounted(1.6):
        return kit.finished(kit.new((REFUSED, kit.enlarge)))


def nothing_fits_for_a_while(kit: Kit) -> list[str]:
    """Metrics, curves, pictures and checkpoints are refused; then there is room."""
    with kit.mounted(ROOM):
        return kit.finished(kit.new((MIDDLE, kit.fill), (REFUSED, kit.ballast.unlink)))


def no_picture_fits(kit: Kit) -> list[str]:
    """The folder of the pictures is full: a warning, and the run finishes."""
    with kit.mounted(ROOM):
        kit.new(steps=EVERY)
        samples = kit.run / "samples"
        system("mount", "-t", "tmpfs", "-o", "size=4k", "none", samples)
        (samples / "ballast").write_bytes(bytes(4096))
        ended = kit.resume()
        said = f"warning: the samples of step {2 * EVERY} could not be written" in ended.out
        return kit.finished(ended) + ([] if said else ["no warning about the pictures"])


def full_at_the_start(kit: Kit) -> list[str]:
    """One sentence; nothing is made, so that the same command works later.

    Without room at all, and with room for the first file or two of a run.
    """
    wrong = []
    with kit.mounted(ROOM):
        for pages in range(3):
            (kit.disk / "room").write_bytes(bytes(4096 * pages))
            kit.fill()
            (kit.disk / "room").unlink()
            wrong += kit.sentence(kit.new(), FULL) + kit.empty()
            kit.ballast.unlink()
        return wrong + kit.finished(kit.new())


def full_at_a_resume(kit: Kit) -> list[str]:
    """One sentence; what was there is left as it was."""
    with kit.mounted(ROOM):
        kit.new(steps=EVERY)
        before = (kit.run / "metrics.jsonl").read_bytes()
        kit.fill()
        wrong = kit.sentence(kit.resume(), FULL) + kit.holds(EVERY)
        if (kit.run / "metrics.jsonl").read_bytes() != before:
            wrong.append("metrics.jsonl was changed")
        kit.ballast.unlink()
        return wrong + kit.finished(kit.resume())


def read_only_at_the_start(kit: Kit) -> list[str]:
    """One sentence, nothing made."""
    with kit.mounted(ROOM):
        kit.read_only()
        wrong = kit.sentence(kit.new(), "cannot be written") + kit.empty()
        kit.writable()
        return wrong + kit.finished(kit.new())


def read_only_at_a_resume(kit: Kit) -> list[str]:
    """One sentence; the checkpoint stands."""
    with kit.mounted(ROOM):
        kit.new(steps=EVERY)
        kit.read_only()
        wrong = kit.sentence(kit.resume(), READ_ONLY) + kit.holds(EVERY)
        kit.writable()
        return wrong + kit.finished(kit.resume())


def read_only_from_the_middle_on(kit: Kit) -> list[str]:
    """The last good checkpoint stands; a resume goes on from it when the disk is mended."""
    with kit.mounted(ROOM):
        ended = kit.new((MIDDLE, kit.read_only))
        wrong = kit.sentence(ended, READ_ONLY) + kit.holds(EVERY, 2 * EVERY)
        kit.writable()
        return wrong + kit.finished(kit.resume())


def read_only_for_a_while(kit: Kit) -> list[str]:
    """Metrics and the checkpoint are written late, and all of them."""
    with kit.mounted(ROOM):
        return kit.finished(kit.new((MIDDLE, kit.read_only), (REFUSED, kit.writable)))


def run_deleted(kit: Kit) -> list[str]:
    """A user who deletes the directory of a living run gets no new one in its place.

    No checkpoint is due about then: one that was being written is made whole, folder and all.
    """
    with kit.mounted(ROOM):
        event = (MIDDLE, lambda: shutil.rmtree(kit.run))
        ended = kit.new(event, flags=[f"--checkpoint-every={STEPS}"])
        return kit.sentence(ended, "was deleted") + kit.empty()


def data_deleted(kit: Kit) -> list[str]:
    """The images are in memory by then."""
    data = kit.work / "data"
    shutil.copytree(kit.data_dir, data)
    with kit.mounted(ROOM):
        event = (MIDDLE, lambda: shutil.rmtree(data))
        return kit.finished(kit.new(event, flags=["--data-dir", str(data)]))


def no_data_can_be_written(kit: Kit) -> list[str]:
    """A data folder that is empty and read-only: one sentence."""
    with kit.mounted(ROOM):
        kit.read_only()
        out = ["--out", str(kit.work / "unused"), "--data-dir", str(kit.disk / "data")]
        wrong = kit.sentence(kit.new(flags=out), READ_ONLY) + kit.empty()
        return wrong + ([f"{out[1]} was made"] if (kit.work / "unused").exists() else [])


CASES: dict[str, list[Callable[[Kit], list[str]]]] = {
    "full": [
        one_checkpoint_fits, no_checkpoint_fits, room_comes_back, nothing_fits_for_a_while,
        no_picture_fits, full_at_the_start, full_at_a_resume,
    ],
    "read-only": [
        read_only_at_the_start, read_only_at_a_resume, read_only_from_the_middle_on,
        read_only_for_a_while, no_data_can_be_written,
    ],
    "deleted": [run_deleted, data_deleted],
}  # fmt: skip
WORDS = {
    "full": ("trainings on a full disk", "from the start, a resume, the middle on, for a while"),
    "read-only": ("trainings on a disk that is or becomes read-only", "the same, and of the data"),
    "deleted": ("trainings whose run or data folder was deleted", "in the middle"),
}


def _main(work: Path, train: list[str], data_dir: str, names: list[str]) -> None:
    """Run cases in this namespace; a line of JSON after each."""
    kit = Kit(work, train, data_dir)
    for case in itertools.chain(*CASES.values()):
        if case.__name__ in names:
            print(json.dumps([case.__name__, case(kit)]), flush=True)


# ------------------------------------------------------------------ in the caller's process


def namespace(work: Path) -> list[str]:
    """What a command is preceded by to mount file systems of its own; empty if it cannot be.

    Root needs a mount namespace only; others a user namespace with it, where the system has them.
    """
    for flags in ("-m", "-rm"):
        command = ["unshare", flags, "mount", "-t", "tmpfs", "none", str(work)]
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return ["unshare", flags]
        except OSError:
            break
    return []


def lost(
    work: Path, train: list[str], data_dir: str, names: Sequence[str], say: Say
) -> dict[str, list[str]]:
    """What each of the named cases lost, in words. train: a training command, up to its flags."""
    arguments = [str(work), json.dumps(train), data_dir, json.dumps(list(names))]
    found: dict[str, list[str]] = {}
    with subprocess.Popen(
        [*namespace(work), sys.executable, "-m", "tests.torture.disk", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, wrong = json.loads(line)
            found[name] = wrong
            words = name.replace("_", " ")
            say(f"disk: {words}: {'; '.join(wrong) or 'nothing lost'}")
    assert process.returncode == 0, "the process that runs the cases failed"
    return found


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """All cases with a real training, by PyTorch if it is chosen: files are common/'s business."""
    if not namespace(work):
        say("disk: skipped, no file system can be mounted here (unshare, mount)")
        return []
    engine = ENGINES["pytorch"] if ENGINES["pytorch"] in chosen else chosen[0]
    train = [sys.executable, "-m", f"{engine.package}.train"]
    if engine.keras_backend is not None:
        train = ["env", f"KERAS_BACKEND={engine.keras_backend}", *train]
    names = [case.__name__ for case in itertools.chain(*CASES.values())]
    found = lost(work, train, str(Path(data_dir).resolve()), names, say)
    rows = []
    for kind, (what, note) in WORDS.items():
        cases = [found[case.__name__] for case in CASES[kind]]
        rows.append(Row("disk", what, len(cases), cases.count([]), f"{engine.name}; {note}"))
    return rows


if __name__ == "__main__":
    _main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
