"""Wrong flags: every flag of every command with wrong values, and combinations that cannot be.

A command survives a mistake if its answer is one sentence on stderr and exit status 2, with nothing
printed, nothing changed in the folder it was called from, and no framework imported before.
tests/torture/wrong.py has the mistakes. Most are made in this process, which is as good: up to
the answer a command runs the same code. A part is made as a user makes it, in a process.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from common import architecture, conversion, sampling, training
from compare.engines import ENGINES, ROOT, Engine
from compare.pages.torture import Row, Say
from compare.speed import growth
from tests.tiny import tiny_architecture
from tests.torture import answers, wrong
from tests.torture.answers import Mistake, begin
from tests.torture.cases import furnish

PACKAGES = ("pytorch_impl", "tensorflow_impl", "keras_impl")


@dataclass(frozen=True)
class Command:
    """A command: its main, its flags, and which kind of place its --out names."""

    main: Callable[[], Any]
    arguments: type
    out: str
    modules: Sequence[str]  # `python -m` of these
    needed: Sequence[str]  # what it must be given besides its flags


def commands() -> dict[str, Command]:
    """Every command by a short name."""
    files = {".pth": begin}
    mains: dict[str, Callable[[], Any]] = {
        "train": lambda: training.main("pytorch", begin),
        "sample": lambda: sampling.main("pytorch", begin),
        "convert": lambda: conversion.main("pytorch", dict(files), dict(files)),
        "growth": lambda: growth.main(sys.argv[1:]),  # a part of bench, with arguments
    }
    modules = {name: [f"{package}.{name}" for package in PACKAGES] for name in mains}
    modules |= {"growth": [], "datasets": ["common.datasets"], "torture": ["tests.torture"]}
    found = {}
    for name, path, class_, out, *needed in (
        ("train", "common.plan", "TrainArguments", "run"),
        ("sample", "common.sampling", "SampleArguments", "picture"),
        ("convert", "common.conversion", "ConvertArguments", "folder", "lone.safetensors", "x.pth"),
        ("datasets", "common.datasets", "DatasetArguments", "folder"),
        ("parity", "compare.parity.ladder", "ParityArguments", "folder"),
        ("bench", "compare.speed.bench", "BenchArguments", "file"),
        ("growth", "compare.speed.growth", "GrowthArguments", "file"),
        ("bands", "compare.quality.bands", "BandArguments", "file"),
        ("sidebyside", "compare.report.sidebyside", "CompareArguments", "folder"),
        ("evaluate", "compare.quality.evaluate", "EvaluateArguments", "folder", "lone.safetensors"),
        ("report", "compare.report.build", "ReportArguments", "folder", "run"),
        ("pretrained", "compare.quality.pretrained", "PretrainedArguments", "file", "done"),
        ("torture", "tests.torture.__main__", "TortureArguments", "file"),
    ):
        module = importlib.import_module(path)
        main = mains.get(name) or module.main
        started = modules.get(name, [f"compare.{name}"])
        found[name] = Command(main, getattr(module, class_), out, started, needed)
    return found


def mistakes(known: dict[str, Command]) -> list[Mistake]:
    """(command, arguments): one wrong value each."""
    return _distinct(
        (name, [*command.needed, *argv])
        for name, command in known.items()
        for argv in wrong.values(command.arguments, command.out)
    )


def combinations() -> list[Mistake]:
    """(command, arguments) that contradict each other, the files, or the command."""
    return _distinct(
        (name, argv) for name in wrong.COMBINATIONS for argv in wrong.combinations(name)
    )


def _distinct(found: Iterable[Mistake]) -> list[Mistake]:
    return list({(name, *argv): (name, argv) for name, argv in found}.values())


def many(what: str, lines: list[Mistake], known: dict[str, Command], folder: Path, say: Say) -> Row:
    """Make mistakes in this process, with the tiny networks of the scratch folder's checkpoints."""

    def answer(name: str, argv: list[str]) -> str | None:
        return answers.in_process(known[name].main, argv, folder)

    note = f"{len({name for name, _ in lines})} commands"
    with mock.patch.dict(architecture.ARCHITECTURES, {"mnist28": tiny_architecture}):
        return answers.tried(Row("values", what, 0, 0, note), lines, answer, say)


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


def absent_devices(chosen: list[Engine], folder: Path, say: Say) -> list[Row]:
    """Train and sample on a device that is not there; no row if an NVIDIA card is.

    Here the framework has to be asked, so it is imported; nothing may be created all the same.
    """
    if Path("/dev/nvidia0").exists():
        say("values: --device cuda is not tried where there is a card")
        return []
    train = ["--data-dir", str(ROOT / "data"), "--out", "new", "--steps", "2"]
    sample = ["--count", "1", "--out", "new.png"]
    lines = [
        (f"{engine.name}.{command}", [*argv, "--device", device])
        for engine in chosen
        for device in ("cuda", "mps")
        if (sys.platform, device) != ("darwin", "mps")
        for command, argv in (("train", train), ("sample", sample))
    ]

    def answer(name: str, argv: list[str]) -> str | None:
        engine, command = ENGINES[name.split(".")[0]], name.split(".")[1]
        variables = {"KERAS_BACKEND": engine.keras_backend} if engine.keras_backend else {}
        return answers.process(f"{engine.package}.{command}", argv, folder, **variables)

    note = f"train and sample of {', '.join(engine.name for engine in chosen)}"
    row = Row("values", "devices that are not there, asked for", 0, 0, note)
    return [answers.tried(row, lines, answer, say)]


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """Every mistake in this process, some of each command by processes, and absent devices."""
    known, folder = commands(), furnish(work / "scratch")
    wrong_values, impossible = mistakes(known), combinations()
    lines = spread(wrong_values, known, 8) + spread(impossible, known, 4)
    note = f"{len({module for module, _ in lines})} modules"
    what = "the same by `python -m`, no framework to be imported"
    return [
        many("wrong values of flags", wrong_values, known, folder, say),
        many("flags and files that cannot go together", impossible, known, folder, say),
        answers.as_a_user(Row("values", what, 0, 0, note), lines, folder, say),
        *absent_devices(chosen, folder, say),
    ]
