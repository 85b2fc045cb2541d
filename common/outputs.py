"""What a run directory holds besides its checkpoint: metrics, pictures, and what sums them up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import checkpoint, images, limits
from common.plan import same_path

METRICS = ("d_loss", "g_loss", "d_real", "d_fake")


def read_metrics(
    directory: Path, end: int | None = None
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """A run's metrics: steps (S,), and each metric's values (S,).

    Steps from `end` on are left out, and whatever follows the first line that is no record, such as
    one that a kill cut short.
    """
    rows = [json.loads(line) for line in metric_lines(directory / "metrics.jsonl", end)]
    steps = np.array([row["step"] for row in rows], np.int64)
    return steps, {name: np.array([row[name] for row in rows], np.float64) for name in METRICS}


def metric_lines(path: Path, end: int | None) -> list[str]:
    """The lines that read_metrics reads."""
    if not path.exists():
        return []
    lines: list[str] = []
    last = -1
    for line in checkpoint.read_regular(path).decode("ascii", errors="replace").split("\n"):
        step = _step_of(line)
        if step is None or step <= last or (end is not None and step >= end):
            break
        lines.append(line)
        last = step
    return lines


def _step_of(line: str) -> int | None:
    """The step of a line of metrics.jsonl; None if it is no record of one."""
    try:
        row = json.loads(line) if line.isascii() else {}
        step, numbers = row["step"], all(limits.is_number(row[name]) for name in METRICS)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return step if numbers and type(step) is int and step < 2**63 else None


def continue_records(source: Path, directory: Path, step: int) -> None:
    """Keep the metrics below a checkpoint's step and the pictures up to it, drop the later ones."""
    lines = metric_lines(source / "metrics.jsonl", step)
    content = "".join(line + "\n" for line in lines)
    checkpoint.write_atomically(directory / "metrics.jsonl", content.encode("ascii"))
    for shown, path in sample_files(source).items():
        kept = shown <= step
        target = directory / "samples" / path.name
        if kept and not same_path(path, target):
            shutil.copyfile(path, target)
        elif not kept and same_path(path, target):
            path.unlink()


def write_overviews(directory: Path) -> None:
    """samples.gif and losses.png, from a run's pictures and metrics."""
    try:
        frames = [images.read_png(path) for path in sample_files(directory).values()]
        if frames:
            images.save_gif(directory / "samples.gif", frames, seconds=0.5 * len(frames))
        steps, losses = read_metrics(directory)
        images.plot_losses(directory / "losses.png", steps, losses)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's errors of broken files
        print(f"warning: samples.gif or losses.png could not be written: {error}", flush=True)


def sample_path(directory: Path, step: int) -> Path:
    """The sample grid of a run after `step` updates."""
    return directory / "samples" / f"step-{step:06d}.png"


def sample_files(directory: Path) -> dict[int, Path]:
    """A run's sample grids by the number of updates before them, in order."""
    paths = {
        path.stem.removeprefix("step-"): path for path in (directory / "samples").glob("*.png")
    }
    return {int(step): paths[step] for step in sorted(filter(str.isdecimal, paths), key=int)}
