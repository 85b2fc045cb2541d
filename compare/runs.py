"""Training runs: where they lie, what starts or continues one, and how it ended.

Each is trained by a process of its engine. Beside the run directories lie `logs/<run>.log`, what
the training said, and `logs/<run>.json`, why it ended before its last step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import checkpoint, commandline, config, datasets
from common.checkpoint import FILE_NAME as CHECKPOINT
from common.config import Config
from common.limits import UserError, flag
from common.plan import run_name
from compare import engines
from compare.engines import Engine

TAIL = 12  # lines of a log that are shown

# Why there is no finished run.
KINDS = ("missing", "refused", "crashed", "killed", "diverged", "unfinished")


@dataclass(frozen=True)
class Job:
    """A run to have: whose it is, with which settings, in which directory."""

    engine: Engine
    settings: Config
    run: Path


@dataclass(frozen=True)
class Outcome:
    """How a training ended that did not reach its last step."""

    kind: str  # one of KINDS
    status: int | None = None  # the process's exit status; negative: the signal that killed it
    tail: str = ""  # the last lines of what it said

    @staticmethod
    def path(run: Path) -> Path:
        """Where it is kept: beside the runs, since training empties a run directory."""
        return run.parent / "logs" / f"{run.name}.json"

    def write(self, run: Path) -> None:
        """Keep it for a later report."""
        checkpoint.write_json(self.path(run), dataclasses.asdict(self))

    @staticmethod
    def read(run: Path) -> Outcome | None:
        """What was kept, if anything was."""
        record = read_json(Outcome.path(run))
        kind, status, tail = (record.get(name) for name in ("kind", "status", "tail"))
        if kind in KINDS and isinstance(tail, str) and isinstance(status, int | None):
            return Outcome(kind, status, tail)
        return None


# ------------------------------------------------------------------ which runs


def jobs(chosen: Sequence[Engine], seeds: str, runs_dir: str, **settings: Any) -> list[Job]:
    """A run for each seed from 0 on and each engine, seed by seed.

    seeds: how many, see seed_counts. settings: fields of Config. UserError if a run lies there
    that was trained with other ones.
    """
    counts = seed_counts(seeds, len(chosen))
    commandline.check_place("runs_dir", Path(runs_dir), folder=True)
    found = []
    for seed in range(max(counts)):
        each = Config(seed=seed, **settings)
        config.check(each)
        each = datasets.counted(each)
        config.check(each)
        for engine, count in zip(chosen, counts, strict=True):
            run = directory(runs_dir, engine, each)
            if seed < count:
                if (run / "config.json").exists() or (run / CHECKPOINT).exists():
                    check_settings(run, each)
                found.append(Job(engine, each, run))
    return found


def seed_counts(text: str, count: int) -> list[int]:
    """`5` or `5,3,3` -> one number for each of `count` engines, or UserError."""
    numbers = commandline.numbers("seeds", text, 1, 1000)
    if len(numbers) not in (1, count):
        raise UserError(
            f"--seeds takes one number, or one for each of the {count} engines, not {text}."
        )
    return numbers * (count // len(numbers))


def directory(runs_dir: str, engine: Engine, settings: Config) -> Path:
    """Where a run lies: as training names it by default, with what else is not the default."""
    name = run_name(engine.name, settings)
    usual = Config(dataset=settings.dataset, architecture=settings.architecture)
    shape = (settings.image_size, settings.channels)
    if shape != (usual.image_size, usual.channels):
        name += f"-{shape[0]}x{shape[0]}x{shape[1]}"
    if settings.width != usual.width:
        name += f"-width{settings.width}"
    if settings.precision != Config.precision:
        name += f"-{settings.precision}"
    if settings.steps is not None:
        name += f"-{settings.steps}steps"
    return Path(runs_dir) / name


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


# ------------------------------------------------------------------ training


def train(job: Job, meanwhile: AbstractContextManager[None] | None = None) -> Outcome | None:
    """Train a run to its end, or go on with it; how it ended if that was before its last step.

    meanwhile: a context that is entered while the training runs.
    """
    if read_json(job.run / "result.json").get("finished"):
        Outcome.path(job.run).unlink(missing_ok=True)
        return None
    if job.engine.missing:
        return Outcome("missing", None, engines.not_installed(job.engine))
    log = log_file(job.run)
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"training {job.run} ... (log: {log})", flush=True)
    process = engines.start(
        job.engine, f"{job.engine.package}.train", *_arguments(job), stderr=subprocess.STDOUT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        with log.open("w") as file, meanwhile or contextlib.nullcontext():
            for line in process.stdout:
                file.write(line)
                file.flush()
                if line.startswith("Iter:"):
                    print(f"  {job.engine.name}  {line}", end="", flush=True)
            status = process.wait()
    except BaseException:
        _stop(process)
        raise
    finally:
        process.stdout.close()
    outcome = ending(status, tail(log))
    if outcome is None:
        Outcome.path(job.run).unlink(missing_ok=True)
    else:
        outcome.write(job.run)
    return outcome


def _arguments(job: Job) -> list[object]:
    """What `python -m <backend>_impl.train` takes to begin a run, or to go on with it."""
    settings, run = job.settings, job.run
    # These may differ between two starts of one run: they move no number of it.
    free = ["--data-dir", settings.data_dir, "--show-every", settings.show_every]
    free += ["--checkpoint-every", settings.checkpoint_every]
    if (run / CHECKPOINT).exists():
        return ["--resume", run, *free]
    steps = [] if settings.steps is None else ["--steps", settings.steps]
    chosen = ["--seed", settings.seed, "--recipe", settings.recipe, "--dataset", settings.dataset]
    chosen += ["--architecture", settings.architecture]
    if settings.architecture == "dcgan":
        for name in ("image_size", "channels", "width"):
            chosen += [flag(name), getattr(settings, name)]
    chosen += ["--precision", settings.precision, *steps]
    return [*chosen, *free, "--out", run, "--overwrite"]


def _stop(process: subprocess.Popen[str]) -> None:
    """End a training so that it saves its state. A Ctrl-C at a terminal has reached it, too."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10 if sys.stdin.isatty() else 0)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
    process.kill()


def ending(status: int, tail: str) -> Outcome | None:
    """What a training's exit status and last words mean; None if it finished."""
    last = tail.splitlines()[-1] if tail else ""
    if status == 0:
        return None
    if status < 0 or status > 128:  # a signal; above 128 it was heard, and the state saved
        return Outcome("killed", status if status < 0 else 128 - status, tail)
    if status == 1 and last.startswith("error: "):  # common.run.Diverged
        return Outcome("diverged", status, tail)
    return Outcome("refused" if status == 2 else "crashed", status, tail)


# ------------------------------------------------------------------ what its files say


def log_file(run: Path) -> Path:
    """What the training of a run said, if a command of compare/ started it."""
    return run.parent / "logs" / f"{run.name}.log"


def tail(path: Path) -> str:
    """The last lines of a log; nothing if there is none."""
    try:
        lines = checkpoint.read_regular(path).decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "\n".join(line[:500] for line in lines[-TAIL:])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none."""
    try:
        value = checkpoint.read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def copied(file: Path) -> Iterator[Path]:
    """A copy of a run's checkpoint, for the time of a `with` block: a run that trains saves newer
    ones meanwhile. UserError if it cannot be copied."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = Path(shutil.copyfile(file, Path(folder) / CHECKPOINT))
        except OSError as error:
            raise UserError(f"{file} cannot be copied ({error.strerror}).") from None
        yield copy


def read_header(file: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """A checkpoint's metadata and its arrays' shapes by name; both empty where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        if not file.is_file():  # opening a pipe would wait for ever
            return {}, {}
        with safe_open(file, framework="numpy") as opened:
            names = opened.keys()
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
            return opened.metadata() or {}, shapes
    except (SafetensorError, OSError):
        return {}, {}
