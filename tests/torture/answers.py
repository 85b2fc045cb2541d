"""The answer to a mistake: one sentence, exit status 2, nothing created, no framework imported."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from common import mnist
from compare.engines import ROOT
from compare.pages.torture import Row, Say

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax")
SECONDS = 120  # for an answer; a hang is lost
EVERY = 10  # seconds between two lines of progress

Mistake = tuple[str, list[str]]  # a command or module, and its arguments


class Reached(BaseException):
    """A command went past its checks and began its work: what it was given is no mistake to it."""


def begin(*_: Any, **__: Any) -> Any:
    """Stand for a command's work."""
    raise Reached


def listing(folder: Path) -> dict[Path, Any]:
    """Every file below a folder: its kind, size and time."""
    statuses = {path: path.lstat() for path in folder.rglob("*")}
    # A folder's own time moves when a file comes and goes; what stays is seen by itself.
    return {
        path: (status.st_mode, status.st_size, 0 if path.is_dir() else status.st_mtime_ns)
        for path, status in statuses.items()
    }


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


def in_process(main: Callable[[], Any], argv: list[str], folder: Path) -> str | None:
    """Make a mistake in this process, called from `folder`: what is wrong with the answer, or None.

    A command that goes on to fetch data or to start a process has not seen the mistake.
    """
    before, imported = listing(folder), set(FRAMEWORKS) & set(sys.modules)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    status: object = 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        mock.patch.object(sys, "argv", ["command", *argv]),
        mock.patch.object(mnist, "_fetch", begin),
        mock.patch.object(subprocess, "Popen", begin),
    ):
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
        except Reached:
            status = "none, it went to work"
        except BaseException as error:
            status = f"none, {type(error).__name__}: {error}"
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if set(FRAMEWORKS) & set(sys.modules) != imported:
        return "a framework was imported"
    return fault(status, out.getvalue(), err.getvalue(), listing(folder) != before)


def process(
    module: str, argv: list[str], folder: Path, path: Sequence[Path] = (), **variables: str
) -> str | None:
    """Make a mistake with `python -m module`, called from `folder`: what is wrong, or None."""
    before = listing(folder)
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *argv],
            cwd=folder,
            env=os.environ | variables | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    return fault(done.returncode, done.stdout, done.stderr, listing(folder) != before)


def tried(
    row: Row, mistakes: Sequence[Mistake], answer: Callable[[str, list[str]], str | None], say: Say
) -> Row:
    """The row, which has no counts yet, with those of mistakes made one after the other."""
    lost, said = 0, time.monotonic()
    for index, (command, argv) in enumerate(mistakes):
        found = answer(command, argv)
        if found is not None:
            lost += 1
            say(f"{row.part}: LOST {command} {shlex.join(argv)[:200]}: {found}")
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            say(f"{row.part}: {row.what}: {index + 1:,} of {len(mistakes):,}")
    say(f"{row.part}: {row.what}: {len(mistakes):,} tried, {lost} lost")
    return Row(row.part, row.what, len(mistakes), len(mistakes) - lost, row.note)


def as_a_user(row: Row, mistakes: Sequence[Mistake], folder: Path, say: Say) -> Row:
    """The row of mistakes made by `python -m`, where importing a framework ends the process."""
    with tempfile.TemporaryDirectory() as blocker:
        for name in FRAMEWORKS:
            text = "raise SystemExit('a framework was imported')\n"
            (Path(blocker) / f"{name}.py").write_text(text)

        def answer(module: str, argv: list[str]) -> str | None:
            return process(module, argv, folder, [Path(blocker)])

        return tried(row, mistakes, answer, say)
