"""Runs for the report's tests: one that trained, and copies of it that stand for other engines."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import batches, checkpoint, images
from compare.quality import progress
from compare.quality.scorer import EXTRACTOR_SHA256
from compare.report import forward
from compare.runs import Outcome

STEPS = 4
HOSTILE = "keras-<img src=x onerror=alert(1)>"
MARKUP = "error: </script><script>alert(2)</script><b>last words</b>"
VERSIONS = {
    "tensorflow": {"tensorflow": "2"},
    "keras": {"keras": "3", "tensorflow": "2"},
    "keras-torch": {"keras": "3", "torch": "2"},
    "keras-jax": {"keras": "3", "jax": "0"},
}


def make(folder: Path, short_run: Path) -> None:
    """A run of each engine, of which PyTorch's is real, and two that failed."""
    real = folder / "pytorch"
    shutil.copytree(short_run, real)
    saved = checkpoint.load(real / checkpoint.FILE_NAME)
    other = dict(saved.arrays)
    other["generator/dense2/kernel"] = other["generator/dense2/kernel"] * np.float32(1.5)
    for index, (engine, versions) in enumerate(VERSIONS.items()):
        run = folder / engine
        shutil.copytree(real, run, ignore=shutil.ignore_patterns("*.safetensors", "tensorboard"))
        if index == 0:
            checkpoint.save(run / checkpoint.FILE_NAME, other, saved.config, "tensorflow", {})
        else:
            os.link(folder / "tensorflow" / checkpoint.FILE_NAME, run / checkpoint.FILE_NAME)
        edit(run / "environment.json", backend=engine.split("-")[0], versions=versions)
        draw(run, other, STEPS)
        change_metrics(run, lambda step, i=index: 1 + (i + 1) * 1e-7 * 10**step)
    states = [{"step": n, "seconds": 60.0 * n, "frechet_distance": 40.0 / n} for n in (1, 2, 4)]
    scores = {"extractor": EXTRACTOR_SHA256, "states": states}
    (folder / "keras-torch" / progress.FILE_NAME).write_text(json.dumps(scores))
    broken = folder / HOSTILE
    shutil.copytree(folder / "keras", broken)
    (broken / checkpoint.FILE_NAME).unlink()
    edit(broken / "result.json", finished=False, step=2)
    Outcome("diverged", 1, MARKUP).write(broken)
    Outcome("missing", None, "Engine keras-jax needs jax").write(folder / "keras-jax-seed1")


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def draw(run: Path, arrays: checkpoint.Arrays, step: int) -> None:
    """Replace a sample grid by what these weights draw."""
    drawn = forward.generate(forward.sampler(arrays), batches.shown_noise(0, 16, 96))
    path = run / f"samples/step-{step:06d}.png"
    images.save_grid(path, images.to_uint8(drawn))


def change_metrics(run: Path, factor: Callable[[int], float]) -> None:
    """Multiply both losses of each step by a number near 1."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row["d_loss"] *= factor(row["step"])
        row["g_loss"] *= factor(row["step"])
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def paths(runs: Path) -> list[str]:
    names = ("pytorch", *VERSIONS, HOSTILE, "keras-jax-seed1")
    return [str(runs / name) for name in names]


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])
