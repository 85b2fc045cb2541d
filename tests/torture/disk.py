"""A disk that is full, read-only or gone, before a training and in it: what is lost?

The disk is a small file system in memory. It is mounted in a mount namespace of its own, which
ends with the process that runs the cases: nothing stays mounted, whatever happens.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from compare.engines import ENGINES, ROOT, Engine
from compare.pages.torture import Row, Say
from tests.torture.small_disk import EVERY, STEPS, Kit, system

FULL, READ_ONLY = "No space left on device", "Read-only file system"
MIDDLE = "Iter: 10,"  # said in the chunk after the first checkpoint
REFUSED = r"warning: the checkpoint of step \d+ could not be written"
ROOM = 4  # checkpoints: enough for everything


# ------------------------------------------------------------------ cases: what was lost, in words


def one_checkpoint_fits(kit: Kit) -> list[str]:
    """The second needs the room of the first one, too: refused to the end; then there is room."""
    with kit.mounted(1.6):
        wrong = kit.sentence(kit.new(), FULL) + kit.holds(EVERY)
        kit.resize(ROOM)
        return wrong + kit.finished(kit.resume())


def no_checkpoint_fits(kit: Kit) -> list[str]:
    """The training goes on to its end and says that nothing was saved."""
    with kit.mounted(0.6):
        wrong = kit.sentence(kit.new(), "no checkpoint was written yet") + kit.whole()
        kit.resize(ROOM)
        return wrong + kit.finished(kit.new(flags=["--overwrite"]))


def room_comes_back(kit: Kit) -> list[str]:
    """A refused checkpoint is tried again after the next chunk, when there is room."""
    with kit.mounted(1.6):
        return kit.finished(kit.new((REFUSED, lambda: kit.resize(ROOM))))


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


CASES: dict[Callable[[Kit], list[str]], str] = {
    one_checkpoint_fits: "full",
    no_checkpoint_fits: "full",
    room_comes_back: "full",
    nothing_fits_for_a_while: "full",
    no_picture_fits: "full",
    full_at_the_start: "full",
    full_at_a_resume: "full",
    read_only_at_the_start: "read-only",
    read_only_at_a_resume: "read-only",
    read_only_from_the_middle_on: "read-only",
    read_only_for_a_while: "read-only",
    no_data_can_be_written: "read-only",
    run_deleted: "deleted",
    data_deleted: "deleted",
}
WORDS = {
    "full": ("trainings on a full disk", "from the start, a resume, the middle on, for a while"),
    "read-only": ("trainings on a disk that is or becomes read-only", "the same, and of the data"),
    "deleted": ("trainings whose run or data folder was deleted", "in the middle"),
}


def _main(work: Path, train: list[str], data_dir: str, names: list[str]) -> None:
    """Run cases in this namespace; a line of JSON after each."""
    kit = Kit(work, train, data_dir)
    kit.reference(*range(EVERY, STEPS + 1, EVERY))
    for case in CASES:
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
    names = [case.__name__ for case in CASES]
    found = lost(work, train, str(Path(data_dir).resolve()), names, say)
    rows = []
    for kind, (what, note) in WORDS.items():
        cases = [found[case.__name__] for case, its in CASES.items() if its == kind]
        rows.append(Row("disk", what, len(cases), cases.count([]), f"{engine.name}; {note}"))
    return rows


if __name__ == "__main__":
    _main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
