"""How good a run was on the way: its checkpoints are kept as they appear, and scored afterwards.

A run directory keeps the newest checkpoint only. `keep` links each one to

    states/step-000250.safetensors    with the seconds of training in step-000250.json

while the run goes on; `score` turns these files into `progress.json`, and removes them:

    extractor   its sha256
    samples     count and seed
    states      step, seconds, frechet_distance
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import checkpoint, commandline, limits
from common.checkpoint import write_atomically, write_json
from compare import runs
from compare.engines import Engine
from compare.quality import evaluate
from compare.quality.evaluate import SAMPLE_SEED
from compare.quality.scorer import COUNT, EXTRACTOR_SHA256, Scorer

FILE_NAME = "progress.json"
STATES = "states"
EVERY = 0.5  # seconds between two looks at a run; a checkpoint stands for half a minute


def keep(run: Path, last: int | None) -> bool:
    """Keep the run's newest checkpoint, once its seconds are known; False if there is none to keep.

    last: the step at which the run's own files stay, so that nothing need be kept; None to keep
    and score all alike.
    """
    result = runs.read_json(run / "result.json")
    step, seconds = result.get("step"), result.get("seconds")
    if not isinstance(step, int) or not isinstance(seconds, (int, float)):
        return False
    target = run / STATES / f"step-{step:06d}.safetensors"
    if target.exists() or step == last or step in _scored(run):
        return False
    target.parent.mkdir(exist_ok=True)
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        os.link(run / checkpoint.FILE_NAME, part)  # takes no time and no space
    except FileNotFoundError:
        return False
    except OSError:  # a file system without links
        shutil.copyfile(run / checkpoint.FILE_NAME, part)
    if _step(part) != step:  # the next checkpoint is there, its result not yet
        part.unlink()
        return False
    write_atomically(target.with_suffix(".json"), json.dumps({"seconds": seconds}).encode())
    part.rename(target)
    return True


def _step(file: Path) -> int | None:
    text = runs.read_header(file)[0].get("step", "")
    return int(text) if text.isdecimal() else None


@contextlib.contextmanager
def keeping(run: Path, last: int | None) -> Iterator[None]:
    """Keep every checkpoint that the run writes meanwhile."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            with contextlib.suppress(OSError):  # a full disk costs a point, not the run
                keep(run, last)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def score(run: Path, engine: Engine, scorer: Scorer) -> None:
    """Score what was kept of a run and not scored yet, into progress.json; remove the states."""
    files = sorted((run / STATES).glob("step-*.safetensors"))
    rows = _scored(run)
    for file in files:
        step, seconds = _step(file), runs.read_json(file.with_suffix(".json")).get("seconds")
        if step is None or seconds is None:
            continue
        print(f"scoring {run} at step {step} ...", flush=True)
        subject = evaluate.subject(str(file), engine.name)
        evaluate.check_kind(subject, scorer.kind)
        images = evaluate.images_of(subject, COUNT, SAMPLE_SEED)
        rows[step] = {
            "step": step,
            "seconds": seconds,
            "frechet_distance": scorer.frechet_distance(images),
        }
        record = {
            "extractor": EXTRACTOR_SHA256,
            "samples": {"count": COUNT, "seed": SAMPLE_SEED},
            "states": [rows[step] for step in sorted(rows)],
        }
        with commandline.writing(run / FILE_NAME):
            write_json(run / FILE_NAME, record)
        file.unlink()
        file.with_suffix(".json").unlink()
    if (run / STATES).is_dir():
        shutil.rmtree(run / STATES, ignore_errors=True)


def read(run: Path) -> list[dict[str, Any]]:
    """The scores of a run's earlier states, if they are by this extractor."""
    record = runs.read_json(run / FILE_NAME)
    states = record.get("states")
    if record.get("extractor") != EXTRACTOR_SHA256 or not isinstance(states, list):
        return []
    return [
        row
        for row in states
        if isinstance(row, dict)
        and type(row.get("step")) is int
        and all(limits.is_number(row.get(name)) for name in ("seconds", "frechet_distance"))
    ]


def _scored(run: Path) -> dict[int, dict[str, Any]]:
    """Step -> what is known of it."""
    return {row["step"]: row for row in read(run)}
