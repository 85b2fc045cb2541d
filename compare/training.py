"""Training runs as processes: where they lie, what starts or continues them, whether they fit."""

from __future__ import annotations

from pathlib import Path

from common import checkpoint, config
from common.checkpoint import FILE_NAME as CHECKPOINT
from common.config import Config, UserError
from common.plan import run_name
from compare.engines import Engine
from compare.report.records import read_json


def directory(runs_dir: str, engine: Engine, settings: Config) -> Path:
    """Where a run lies: as training names it by default, with what else is not the default."""
    name = run_name(engine.name, settings)
    if settings.precision != Config.precision:
        name += f"-{settings.precision}"
    if settings.steps is not None:
        name += f"-{settings.steps}steps"
    return Path(runs_dir) / name


def finished(run: Path) -> bool:
    """Has the run done its last step?"""
    return bool(read_json(run / "result.json").get("finished"))


def arguments(settings: Config, run: Path) -> list[object]:
    """What `python -m <backend>_impl.train` takes to begin a run, or to go on with it."""
    # These may differ between two starts of one run: they move no number of it.
    free = ["--data-dir", settings.data_dir, "--show-every", settings.show_every]
    free += ["--checkpoint-every", settings.checkpoint_every]
    if (run / CHECKPOINT).exists():
        return ["--resume", run, *free]
    steps = [] if settings.steps is None else ["--steps", settings.steps]
    chosen = ["--seed", settings.seed, "--recipe", settings.recipe]
    chosen += ["--precision", settings.precision, *steps]
    return [*chosen, *free, "--out", run, "--overwrite"]


def check_settings(run: Path, settings: Config) -> None:
    """Raise UserError if a run was trained with other settings than its name says."""
    try:
        found = config.from_json(checkpoint.read_json(run / "config.json"))
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{run}/config.json cannot be used: {error}") from None
    if config.experiment_key(found) != config.experiment_key(settings):
        raise UserError(
            f"{run} was trained with other settings than recipe {settings.recipe} and seed "
            f"{settings.seed}; move it away, or choose another --runs-dir."
        )
    if config.total_steps(found) < config.total_steps(settings):
        raise UserError(
            f"{run} stops at step {config.total_steps(found)} of {config.total_steps(settings)}; "
            "finish it with --resume and --epochs, or move it away."
        )
