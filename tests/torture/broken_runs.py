"""Run directories with one broken file for tests/torture/cases.py: resumed, read, reported."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from common import checkpoint, commandline, datasets
from common.config import UserError
from common.outputs import read_metrics
from common.plan import Plan, TrainArguments, make_plan
from common.run import Run
from compare.quality import evaluate
from compare.report import build as report
from compare.report import certificate, document, records
from tests.torture.cases import KINDS, SETTINGS, STEP, TEXTS, Case, good_run, put

NAMES = (
    "config.json", "result.json", "environment.json", "metrics.jsonl", "quality.json",
    "progress.json", "samples/step-000000.png", "samples", "tensorboard", ".lock", "losses.png",
    "samples.gif", "../logs/run.json", "../logs/run.log",
)  # fmt: skip
NEVER_TEXT = ("samples", "tensorboard", ".lock")


def no_sentence(error: UserError, path: Path) -> str | None:
    """What is wrong with a refusal: it must be one line that names the file or folder."""
    good = "\n" not in str(error) and path.name in str(error)
    return None if good else f"not a sentence about the file: {error}"


def refused(path: Path) -> str | None:
    """A file that load(), a resume and evaluate must refuse."""
    for reader in (checkpoint.load, resume, lambda file: evaluate.subject(str(file), "auto")):
        try:
            reader(path)
        except UserError as error:
            if fault := no_sentence(error, path):
                return fault
        else:
            return f"{getattr(reader, '__name__', 'reader')} took it"
    return None


def resume(path: Path) -> Plan:
    """What `--resume path` would train."""
    line = ["--resume", str(path)]
    arguments, given = commandline.parse(TrainArguments, line, prog="train", description="")
    return make_plan(arguments, given, "pytorch")


def show(record: records.Record) -> None:
    """Put a run on the report's page. Raises ValueError if that is no JSON in UTF-8."""
    page = {"run": records.to_page(record), "quality": report.quality([record])}
    json.loads(document.embedded(page).encode())


def read(run: Path) -> str | None:
    """The report's reading of a run with a broken file: a page or a sentence."""
    try:
        record = records.read(run)
        certificate.parameter_counts([record])
        show(record)
    except UserError as error:
        return no_sentence(error, run)
    return None


def go_on(run: Path) -> str | None:
    """Resume a run to its end with a training that moves nothing: what was wrong, or None."""
    file = run / checkpoint.FILE_NAME
    saved = checkpoint.load(file).arrays
    signals: Any = SimpleNamespace(received=None, deferred=False)
    try:
        planned = resume(run)
        for name, array in saved.items():
            if planned.arrays[name].tobytes() != array.tobytes():
                return f"{name} is not the file's"
        training = Run(planned, "pytorch", signals)
        data = datasets.ArrayDataset(np.zeros((8, 28, 28, 1), np.uint8))
        with contextlib.redirect_stdout(io.StringIO()), training.open("a processor", 1, ()):
            for chunk in training.chunks(data, 2, False):
                training.record(chunk, np.full((len(chunk.images), 4), 0.5))
                training.save(saved | {n: np.array(chunk.end) for n in checkpoint.COUNTS})
    except UserError as error:
        # Refused at the start, or by the disk at the end; the checkpoint is whole all the same.
        step = checkpoint.load(file).step
        whole = step in (STEP, SETTINGS.steps)
        return no_sentence(error, run) or (None if whole else f"a checkpoint of step {step}")
    found = checkpoint.load(file)
    if found.step != 4 or found.config != SETTINGS:
        return f"it ended at step {found.step}"
    steps = read_metrics(run)[0].tolist()
    if steps[-2:] != [2, 3] or steps != sorted(set(steps)):
        return f"its metrics have the steps {steps}"
    result = json.loads((run / "result.json").read_text())
    json.dumps(result, allow_nan=False)
    return None if result["finished"] is True and result["step"] == 4 else f"its result: {result}"


def one_broken(name: str, kind: str, folder: Path) -> str | None:
    """A run directory one of whose files is a text of TEXTS, or what is no file."""
    run = good_run(folder / "run")
    (folder / "logs").mkdir()
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    put(path, kind)
    return read(run) or go_on(run) or read(run)


def all_cases() -> Iterator[Case]:
    """Every file of a run directory but the checkpoint, broken in every way."""
    for name in NAMES:
        for kind in (*([] if name in NEVER_TEXT else TEXTS), *KINDS):
            case = partial(one_broken, name, kind)
            yield Case("broken files of a run directory", f"{kind} for {name}", case)
