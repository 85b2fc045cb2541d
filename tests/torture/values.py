"""Wrong flags: every flag of every command with wrong values, and combinations that cannot be.

A command survives a mistake if its answer is one sentence on stderr and exit status 2, with nothing
printed, nothing changed in the folder it was called from, and no framework imported before.
tests/torture/wrong.py has the mistakes. Most are made in this process, which is as good: up to
the answer a command runs the same code. A part is made as a user makes it, in a process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import itertools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from common import architecture, conversion, datasets, sampling
from common import run as runs
from common.plan import TrainArguments
from compare.engines import ROOT, Engine
from compare.pages.torture import Row, Say
from tests.tiny import tiny_architecture
from tests.torture import wrong
from tests.torture.answers import (
    FRAMEWORKS,
    Mistake,
    by_processes,
    fault,
    forbid_frameworks,
    listing,
    losses,
    process,
)
from tests.torture.cases import furnish

EVERY = 10  # seconds between two lines of progress


class Reached(BaseException):
    """A command went past its checks and began its work: what it was given is no mistake to it."""


@dataclass(frozen=True)
class Command:
    """A command: its main, its flags, and which kind of place its --out names."""

    main: Callable[[], Any]
    arguments: type | None
    out: str = "folder"
    modules: tuple[str, ...] = ()  # `python -m` of these


def _work(*_: Any, **__: Any) -> Any:
    raise Reached


def _main(name: str) -> Callable[[], Any]:
    module = importlib.import_module(name)
    if name == "compare.speed.growth":
        return lambda: module.main(sys.argv[1:])
    return module.main


def commands() -> dict[str, Command]:
    """Every command by a short name."""
    backends = ("pytorch_impl", "tensorflow_impl", "keras_impl")
    files = {".pth": _work}
    found = {
        "train": Command(lambda: runs.main("pytorch", _work), TrainArguments, "run"),
        "sample": Command(
            lambda: sampling.main("pytorch", _work), sampling.SampleArguments, "picture"
        ),
        "convert": Command(
            lambda: conversion.main("pytorch", dict(files), dict(files)),
            conversion.ConvertArguments,
        ),
        "datasets": Command(datasets.main, datasets.DatasetArguments),
    }
    for name in ("train", "sample", "convert"):
        modules = tuple(f"{backend}.{name}" for backend in backends)
        found[name] = dataclasses.replace(found[name], modules=modules)
    found["datasets"] = dataclasses.replace(found["datasets"], modules=("common.datasets",))
    for name, path, arguments, out in (
        ("parity", "compare.parity.ladder", "ParityArguments", "folder"),
        ("bench", "compare.speed.bench", "BenchArguments", "file"),
        ("growth", "compare.speed.growth", "GrowthArguments", "file"),
        ("bands", "compare.quality.bands", "BandArguments", "file"),
        ("sidebyside", "compare.report.sidebyside", "CompareArguments", "folder"),
        ("evaluate", "compare.quality.evaluate", "EvaluateArguments", "folder"),
        ("report", "compare.report.build", "ReportArguments", "folder"),
        ("pretrained", "compare.quality.pretrained", "PretrainedArguments", "file"),
        ("torture", "tests.torture.__main__", "TortureArguments", "file"),
    ):
        class_ = getattr(importlib.import_module(path), arguments)
        command = "tests.torture" if name == "torture" else f"compare.{name}"
        # Of growth only this process asks: its command is bench's.
        modules = () if name == "growth" else (command,)
        found[name] = Command(_main(path), class_, out, modules)
    return found


# ------------------------------------------------------------------ mistakes


def needed(name: str) -> list[str]:
    """What a command must be given besides its flags."""
    return {
        "convert": ["lone.safetensors", "x.pth"],
        "evaluate": ["lone.safetensors"],
        "report": ["run"],
        "pretrained": ["done"],
    }.get(name, [])


def mistakes(known: dict[str, Command]) -> list[Mistake]:
    """(command, arguments): one wrong value each."""
    found = [
        (name, [*needed(name), *argv])
        for name, command in known.items()
        if command.arguments is not None
        for argv in wrong.values(command.arguments, command.out)
    ]
    return [(name, list(argv)) for name, argv in dict.fromkeys((n, tuple(a)) for n, a in found)]


def combinations() -> list[Mistake]:
    """(command, arguments) that contradict each other, the files, or the command."""
    lines = [
        (name, shlex.split(line)) for name, all_ in wrong.COMBINATIONS.items() for line in all_
    ]
    return [(name, list(argv)) for name, argv in dict.fromkeys((n, tuple(a)) for n, a in lines)]


# ------------------------------------------------------------------ the answer


def in_process(name: str, command: Command, argv: list[str], folder: Path) -> str | None:
    """Make a mistake in this process, called from `folder`: what is wrong with the answer, or None.

    A command that goes on to fetch data or to start a process has not seen the mistake.
    """
    before, imported = listing(folder), set(FRAMEWORKS) & set(sys.modules)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    here = Path.cwd()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", [name, *argv]),
            mock.patch.object(datasets, "_fetch", _work),
            mock.patch.object(subprocess, "Popen", _work),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            command.main()
    except SystemExit as exit_:
        status = exit_.code
    except Reached:
        status = "none, it went to work"
    except BaseException as error:
        status = f"none, {type(error).__name__}: {error}"
    finally:
        os.chdir(here)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if set(FRAMEWORKS) & set(sys.modules) != imported:
        return "a framework was imported"
    return fault(status, out.getvalue(), err.getvalue(), listing(folder) != before)


@contextlib.contextmanager
def tiny_networks() -> Iterator[None]:
    """The tiny networks of the scratch folder's checkpoints, in this process."""
    with mock.patch.dict(architecture.ARCHITECTURES, {"mnist28": tiny_architecture}):
        yield


def many(what: str, lines: list[Mistake], known: dict[str, Command], folder: Path, say: Say) -> Row:
    """Make mistakes in this process, one after the other."""

    def answer(name: str, argv: list[str]) -> str | None:
        return in_process(name, known[name], argv, folder)

    with tiny_networks():
        lost = losses(lines, answer, f"values: {what}", say)
    say(f"values: {what}: {len(lines):,} tried, {len(lost)} lost")
    commands_ = len({name for name, _ in lines})
    return Row("values", what, len(lines), len(lines) - len(lost), f"{commands_} commands")


# ------------------------------------------------------------------ as a user does it


def spread(lines: list[Mistake], known: dict[str, Command], each: int) -> list[Mistake]:
    """Of every module `each` mistakes that a process can be given, far apart in the list.

    Those that need the tiny networks, which only this process has, are left out.
    """
    found = []
    for name, command in known.items():
        own = [argv for other, argv in lines if other == name]
        own = [a for a in own if not any("\0" in w or "\ud800" in w or len(w) > 9000 for w in a)]
        own = [a for a in own if not {"lone.safetensors", "run", "done"} & set(a)] or own
        for index, module in enumerate(command.modules):
            step = max(1, len(own) // each)
            found += [(module, argv) for argv in own[index::step][:each]]
    return found


def absent_devices(chosen: list[Engine], folder: Path, say: Say) -> Row | None:
    """Train and sample on a device that is not there; None if an NVIDIA card is.

    Here the framework has to be asked, so it is imported; nothing may be created all the same.
    """
    if Path("/dev/nvidia0").exists():
        say("values: --device cuda is not tried where there is a card")
        return None
    tried, lost = 0, []
    for engine, device in itertools.product(chosen, ("cuda", "mps")):
        variables = {"KERAS_BACKEND": engine.keras_backend} if engine.keras_backend else {}
        for command, argv in (
            ("train", ["--data-dir", str(ROOT / "data"), "--out", "new", "--steps", "2"]),
            ("sample", ["--count", "1", "--out", "new.png"]),
        ):
            if sys.platform == "darwin" and device == "mps":
                continue
            module = f"{engine.package}.{command}"
            found = process(module, [*argv, "--device", device], folder, [], **variables)
            tried += 1
            if found is not None:
                lost.append(f"{module} --device {device} on {engine.name}: {found}")
                say(f"values: LOST {lost[-1]}")
        say(f"values: --device {device} with {engine.name}: {tried} tried, {len(lost)} lost")
    what = "devices that are not there, asked for"
    names = ", ".join(engine.name for engine in chosen)
    return Row("values", what, tried, tried - len(lost), f"train and sample of {names}")


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """Every mistake in this process, some of each command by processes, and absent devices."""
    known = commands()
    folder = furnish(work / "scratch")
    wrong_values, impossible = mistakes(known), combinations()
    rows = [
        many("wrong values of flags", wrong_values, known, folder, say),
        many("flags and files that cannot go together", impossible, known, folder, say),
    ]
    lines = spread(wrong_values, known, 8) + spread(impossible, known, 4)
    lost = by_processes(
        lines, folder, forbid_frameworks(work / "blocker"), "values: by processes", say
    )
    modules = len({module for module, _ in lines})
    what = "the same by `python -m`, no framework to be imported"
    rows.append(Row("values", what, len(lines), len(lines) - len(lost), f"{modules} modules"))
    device = absent_devices(chosen, folder, say)
    return rows if device is None else [*rows, device]
