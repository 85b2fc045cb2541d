"""Broken files: coverage-guided fuzzing of every parser, and cases that were thought up by hand.

A parser survives an input if it gives a checked value or refuses it as declared, in seconds and
without much memory: tests/torture/targets.py has the parsers and the checks, fuzz.py the process
that libFuzzer drives, cases.py the cases by hand.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common import checkpoint, config
from common.config import Config
from compare.engines import ROOT, Engine
from compare.pages.torture import Row, Say
from tests.torture import answers, cases
from tests.torture.broken import all_cases
from tests.torture.targets import TARGETS
from tests.torture.values import PACKAGES

# A million files take ten times as long on a disk. The folder in it has a name of its own.
MEMORY = "/dev/shm"
EVERY = 10  # seconds between two lines of progress


def fuzz(target: str, inputs: int, work: Path, say: Say, seed: int = 1) -> Row:
    """Fuzz one target. Tried is what libFuzzer executed; it stops at the first that is lost."""
    what = f"{TARGETS[target].what}, fuzzed"
    folder = work / f"fuzz-{target}"
    folder.mkdir()
    log = folder / "log"
    command = [sys.executable, "-W", "ignore", "-m", "tests.torture.fuzz"]
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, target, str(inputs), str(seed), str(folder)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(EVERY)
                    break
                say(f"files: {what}, {counted(log.read_text(errors='replace'))[0]:,} of {inputs:,}")
        finally:
            process.kill()
    row = judged(what, inputs, status, log.read_text(errors="replace"))
    say(f"files: {what}: {row.tried:,} tried, {row.lost} lost; {row.note}")
    return row


def counted(log: str) -> tuple[int, int]:
    """How many inputs a fuzzing process had tried and accepted when it last said so."""
    said = re.findall(r"tried (\d+), accepted (\d+)", log) or [(0, 0)]
    return int(said[-1][0]), int(said[-1][1])


def judged(what: str, inputs: int, status: int, log: str) -> Row:
    """The row of a fuzzing process that has ended: an input that ended it early is lost."""
    tried, accepted = counted(log)
    for executed in re.findall(r"number_of_executed_units: (\d+)", log):
        tried = int(executed)
    if status == 0 and tried >= inputs:
        covered = re.findall(r"\bcov: (\d+)", log)[-1]
        note = f"{accepted:,} accepted and checked, {covered} branches reached"
        return Row("files", what, tried, tried, note)
    reasons = re.findall(r"(?m)^(?:\w+\.)*\w*(?:Error|Exception|Warning): .*|ERROR: .*", log)
    reason = reasons[0] if reasons else (log.strip().splitlines() or ["it said nothing"])[-1]
    # A process that tried nothing has not shown anything either.
    return Row("files", what, max(1, tried), max(0, tried - 1), f"stopped by: {reason[:200]}")


def real_runs(folder: Path) -> list[str]:
    """Run directories whose checkpoints are of the real size and broken: their names."""
    good = folder / "good.safetensors"
    folder.mkdir()
    checkpoint.save(good, checkpoint.initial(Config()), Config(), "pytorch", {})
    content = good.read_bytes()
    good.unlink()
    other = content.replace(b'\\"noise_size\\": 96', b'\\"noise_size\\": 97')
    assert other != content
    broken: dict[str, bytes | str] = {
        "nan": content[:-4] + b"\xff" * 4,
        "cut": content[:-1],
        "noise": other,
        "deep": "nested deeply",
        "fifo": "fifo",
        "zeros": "zeros",
    }
    for name, kind in broken.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config.to_json(Config())))
        cases.put(folder / name / checkpoint.FILE_NAME, kind)
    return list(broken)


def as_a_user(work: Path, say: Say) -> Row:
    """Broken runs given to the commands that read them: a sentence, and nothing changed."""
    folder = work / "real"
    lines = []
    for name in real_runs(folder):
        for package, ending in zip(PACKAGES, ("pth", "npz", "keras"), strict=True):
            lines += [(f"{package}.train", ["--resume", name]), (f"{package}.sample", [name])]
            lines.append((f"{package}.convert", [name, f"new.{ending}"]))
        lines += [("compare.evaluate", [name]), ("compare.pretrained", [name, "--out", "new"])]
    what = "broken runs given to train, sample, convert, evaluate"
    row = Row("files", what, 0, 0, "real sizes, by processes")
    return answers.as_a_user(row, lines, folder, say)


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """Fuzz every target, and try every case by hand."""
    rows = []
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else work) as folder:
        if importlib.util.find_spec("atheris"):
            rows += [fuzz(name, TARGETS[name].inputs, Path(folder), say) for name in TARGETS]
        else:  # it has wheels for Linux on x86-64 alone
            say("files: nothing is fuzzed, since atheris is not installed")
        rows += cases.run(all_cases(), Path(folder), say)
    return [*rows, as_a_user(work, say)]
