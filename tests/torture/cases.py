"""Broken files thought up by hand, and how they are tried; tests/torture/broken.py has the list."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from common import architecture, checkpoint, config, images
from common.config import Config
from compare.pages.torture import Row, Say
from tests.tiny import tiny_architecture

SMALL: dict[str, Any] = {"noise_size": 3, "batch_size": 2, "train_images": 8, "steps": 4}
SETTINGS = Config(**SMALL)
STEP = 2
EVERY = 10  # seconds between two lines of progress


@dataclass(frozen=True)
class Case:
    """One broken file: `check` makes it in an empty folder and says what was wrong, or None.

    It is pickled on its way to the process that tries it.
    """

    kind: str
    name: str
    check: Callable[[Path], str | None]


def metrics_text(steps: int) -> str:
    """A metrics file up to a step."""
    row = {"d_loss": 1.5, "g_loss": 0.5, "d_real": 0.75, "d_fake": 0.25}
    return "".join(json.dumps({"step": step, **row}) + "\n" for step in range(steps))


def good_run(path: Path, settings: Config = SETTINGS, step: int = STEP) -> Path:
    """A run directory of the tiny networks, whole up to a step."""
    (path / "samples").mkdir(parents=True)
    arrays = checkpoint.initial(settings) | {n: np.array(step) for n in checkpoint.COUNTS}
    file = path / checkpoint.FILE_NAME
    checkpoint.save(file, arrays, settings, "pytorch", {"numpy": "2"})
    (path / "metrics.jsonl").write_text(metrics_text(step))
    images.save_png(path / "samples" / "step-000000.png", np.zeros((8, 8, 1), np.uint8))
    result = {"step": step, "seconds": 1.5, "images_per_second": 20.0, "finished": False}
    watch = {"verdict": "sound", "warned": None}
    for name, value in (
        ("config.json", config.to_json(settings)),
        ("environment.json", {"backend": "pytorch", "command": ["train"], "threads": 1}),
        ("result.json", {**result, "watch": watch}),
    ):
        (path / name).write_text(json.dumps(value))
    return path


def furnish(folder: Path) -> Path:
    """A scratch folder with good runs and with what is none, by the names of wrong.py."""
    folder.mkdir()
    with mock.patch.dict(architecture.ARCHITECTURES, {"mnist28": tiny_architecture}):
        file = good_run(folder / "run") / checkpoint.FILE_NAME
        good_run(folder / "wide", replace(SETTINGS, precision="float64"))
        good_run(folder / "tuned", Config(**SMALL, recipe="tuned"))
        (good_run(folder / "done", step=4) / "environment.json").unlink()
        broken = good_run(folder / "broken")
        shutil.copy(file, folder / "lone.safetensors")
        checkpoint.save_weights(folder / "weights.safetensors", checkpoint.load(file))
    (broken / checkpoint.FILE_NAME).write_bytes(b"\0" * 100)
    for name in ("empty", "empty.pth", "empty.npy", "thesis"):
        (folder / name).mkdir()
    for name, text in {
        "broken/config.json": "{",
        "thesis/thesis.tex": "",
        "file": "a file",
        "deep.json": "[" * 100_000,
        "findings.json": '{"findings": [{"rung": 1}]}',
        "rows.json": '{"rows": 3}',
    }.items():
        (folder / name).write_text(text)
    (folder / "link-to-run").symlink_to("run")
    (folder / "link-to-data").symlink_to("data")
    for name in ("dangling", "loop", "device", "fifo", "zeros"):
        put(folder / name, name)
    return folder


def put(path: Path, kind: bytes | str) -> None:
    """Make a broken file: a content, a text of TEXTS, or one of KINDS, which cannot be read."""
    if isinstance(kind, bytes):
        path.write_bytes(kind)
    elif kind in LINKS:
        path.symlink_to(LINKS[kind] or path.name)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("folder", "full folder"):
        (path / "x" if kind == "full folder" else path).mkdir(parents=True)
    else:
        path.write_bytes(TEXTS[kind])
        if kind == "zeros":
            os.truncate(path, 2**40)  # a hole: it takes no space


# Links, by what they point to; None: to themselves.
LINKS = {
    "dangling": "absent",
    "loop": None,
    "device": "/dev/zero",
    "null": "/dev/null",
    "terminal": "/dev/tty",
    "link to itself as a folder": ".",
}
KINDS = ["folder", "full folder", "fifo", "zeros", *LINKS]
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "null": b"null",
    "a list": b"[]",
    "a number": b"3",
    "a text": b'"x"',
    "half an object": b'{"step": 2, "sec',
    "no JSON": b"step = 2",
    "nested deeply": b"[" * 100_000,
    "objects nested deeply": b'{"step":' * 100_000,
    "zeros": bytes(4096),
    "no UTF-8": b'{"step": "\xff\xfe\xfd"}',
    "UTF-16": '{"step": 2}'.encode("utf-16"),
    "half a character": b'{"step": "\\ud800", "backend": "\\ud800", "verdict": "\\udfff"}',
    "NaN": b'{"step": NaN, "seconds": NaN, "images_per_second": NaN, "d_loss": NaN}',
    "infinity": b'{"step": 1e999, "seconds": Infinity, "images_per_second": -Infinity}',
    "a huge number": b'{"step": ' + b"9" * 400 + b', "seconds": 1' + b"0" * 400 + b"}",
    "a number of too many digits": b'{"step": ' + b"9" * 5000 + b"}",
    "negative": b'{"step": -1, "seconds": -1, "images_per_second": -1, "noise_size": -1}',
    "other types": b'{"step": "2", "seconds": [], "images_per_second": {}, "finished": "no"}',
    "a page": b"<!doctype html><title>404</title>",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "an empty object": b"{}",
    "unknown fields": b'{"later": 1, "watch": 3, "versions": [], "states": 3, "floor": []}',
}


# ------------------------------------------------------------------ trying them


def prepare() -> None:
    """Begin a process that tries cases: with the tiny networks, and silent."""
    architecture.ARCHITECTURES["mnist28"] = tiny_architecture
    warnings.simplefilter("ignore")


def attempt(case: Case, folder: Path, seconds: int) -> str | None:
    """What was wrong with a case, or None. A hang ends the process, as a crash does."""
    signal.alarm(seconds)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return case.check(Path(place))
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def run(cases: Iterable[Case], work: Path, say: Say, seconds: int = 60) -> list[Row]:
    """Try every case in another process: a row for each kind."""
    tried: dict[str, list[str | None]] = {}
    pool, said = None, time.monotonic()
    for case in cases:
        spawn = multiprocessing.get_context("spawn")
        pool = pool or ProcessPoolExecutor(1, spawn, initializer=prepare)
        try:
            fault = pool.submit(attempt, case, work, seconds).result()
        except BrokenProcessPool:
            fault, pool = f"it crashed, or hung for {seconds} s", None
        tried.setdefault(case.kind, []).append(fault)
        if fault is not None:
            say(f"files: LOST {case.kind}, {case.name}: {fault}")
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            say(f"files: {sum(map(len, tried.values()))} cases by hand")
    if pool is not None:
        pool.shutdown()
    rows = []
    for kind, faults in tried.items():
        rows.append(Row("files", f"{kind}, by hand", len(faults), faults.count(None)))
        say(f"files: {rows[-1].what}: {rows[-1].tried} tried, {rows[-1].lost} lost")
    return rows
