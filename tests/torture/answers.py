"""The answer to a mistake: one sentence, exit status 2, nothing created, no framework imported."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compare.engines import ROOT
from compare.pages.torture import Say

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax")
SECONDS = 120  # for an answer; a hang is lost
EVERY = 10  # seconds between two lines of progress

Mistake = tuple[str, list[str]]  # a command or module, and its arguments


def listing(folder: Path) -> dict[str, Any]:
    """Every file below a folder: its kind, size and time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        # A folder's own time moves when a file comes and goes; what stays is seen by itself.
        moved = 0 if path.is_dir() else status.st_mtime_ns
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, moved)
    return found


def fault(status: object, out: str, err: str, changed: bool) -> str | None:
    """What is wrong with an answer to a mistake; None if it is as it must be."""
    if status != 2:
        return f"exit status {status}: {(err.strip().splitlines() or [''])[-1]}"
    if out:
        return f"printed {out!r}"
    if err.count("\n") != 1 or not err.startswith("error: ") or not err[:-1].isprintable():
        return f"not one sentence: {err[:300]!r}"
    if not re.search(r"[.?]\n$", err) or len(err) > 1100:
        return f"no sentence: {err[-300:]!r}"
    return "something was created or changed" if changed else None


def forbid_frameworks(folder: Path) -> Path:
    """A folder for PYTHONPATH in which every framework ends the process that imports it."""
    folder.mkdir()
    for name in FRAMEWORKS:
        (folder / f"{name}.py").write_text("raise SystemExit('a framework was imported')\n")
    return folder


def process(
    module: str, argv: list[str], folder: Path, path: list[Path], **variables: str
) -> str | None:
    """Make a mistake with `python -m module`, called from `folder`: what is wrong, or None."""
    before = listing(folder)
    environment = os.environ | {"OMP_NUM_THREADS": "1", **variables}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [*path, ROOT]))
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *argv],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return fault(done.returncode, out, err, listing(folder) != before)


def losses(
    lines: Sequence[Mistake], answer: Callable[[str, list[str]], str | None], what: str, say: Say
) -> list[str]:
    """Make mistakes one after the other; what is wrong with the answers, with the command."""
    lost, said = [], time.monotonic()
    for index, (command, argv) in enumerate(lines):
        found = answer(command, argv)
        if found is not None:
            lost.append(f"{command} {shlex.join(argv)[:200]}: {found}")
            say(f"{what}: LOST {lost[-1]}")
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            say(f"{what}: {index + 1:,} of {len(lines):,}")
    return lost


def by_processes(
    lines: Sequence[Mistake], folder: Path, blocker: Path, what: str, say: Say
) -> list[str]:
    """losses() of modules, called from `folder`; `blocker` is what forbid_frameworks made."""
    return losses(lines, lambda name, argv: process(name, argv, folder, [blocker]), what, say)
