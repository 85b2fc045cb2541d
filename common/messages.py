"""What a training command says when it ends, and what it says to try."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from common import checkpoint, config
from common.clock import Clock
from common.config import Config
from common.limits import UserError, quoted


def finished(backend: str, directory: Path, total: int, clock: Clock) -> str:
    """All steps are done: how fast it was, and where everything lies."""
    rate = clock.images_per_second
    speed = "" if rate is None else f": {clock.seconds:.1f} s of training, {rate:.0f} images/s"
    python = _relative(Path(sys.executable))
    more = (f"{backend}_impl.sample", directory, "--count", 64, "--seed", 1, "--out", "samples.png")
    curves = directory / "tensorboard"
    shown: object = f"{curves}, for TensorBoard"
    if importlib.util.find_spec("tensorboard") is not None:
        shown = quoted(python, "-m", "tensorboard.main", "--logdir", curves)
        # TensorBoard loads TensorFlow where it is installed, which loads Keras, which would load
        # PyTorch behind it: the process dies of that.
        if os.environ.get("KERAS_BACKEND") == "torch" and os.name != "nt":
            shown = f"KERAS_BACKEND=tensorflow {shown}"
    return (
        f"Finished {total} steps{speed}.\n"
        f"  pictures     {directory / 'samples'} and {directory / 'samples.gif'}\n"
        f"  losses       {directory / 'losses.png'} (numbers: metrics.jsonl)\n"
        f"  curves       {shown}\n"
        f"  checkpoint   {directory / checkpoint.FILE_NAME}\n"
        f"  more images  {quoted(python, '-m', *more)}"
    )


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def finished_before(run: str | None, step: int, settings: Config) -> str:
    """A resume finds all steps done: how to train more of them."""
    if config.resume_may_change(settings) >= config.LENGTH:
        more = "To go on, raise --steps or --epochs."
    else:
        more = f"Recipe {settings.recipe} ends there; for a longer run, start one with --steps."
    return f"{run} is finished: all {step} steps are done. {more}"


def last_checkpoint(directory: Path) -> str:
    """Half a sentence: what a training that cannot go on leaves."""
    path = directory / checkpoint.FILE_NAME
    if not path.exists():
        return "no checkpoint was written yet"
    return f"the last good checkpoint is {path}"


def go_on(directory: Path | str, saved: bool) -> str:
    """Half a sentence: a worker was lost, and how to go on. saved: there is a checkpoint."""
    if saved:
        return f"start the workers again with {quoted('--resume', directory)}"
    return "nothing was saved; start the workers again with --overwrite"


def not_finite(step: int, directory: Path, settings: Config) -> str:
    """The losses of a step are NaN or infinite."""
    return (
        f"The losses of step {step} are not finite, so the training cannot go on; "
        f"{last_checkpoint(directory)}. Try a lower --learning-rate than "
        f"{settings.learning_rate}, or --precision float32."
    )


def too_large(batch: int, saved: bool) -> UserError:
    """An iteration does not fit into memory. saved: there is a checkpoint of the run."""
    message = f"An iteration with a batch of {batch} images does not fit into the memory here; "
    if saved:
        # The batch size is part of the experiment, which a resume cannot change.
        return UserError(
            f"{message}resume where there is more memory, or with another --device, or train "
            f"anew with --batch-size {max(1, batch // 2)} in another --out."
        )
    smaller = f"--batch-size {batch // 2}" if batch > 1 else "another --device"
    return UserError(f"{message}start again with {smaller} and --overwrite.")
