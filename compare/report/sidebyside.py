"""Train, score and show engines side by side: `python -m compare.sidebyside`, or `make compare`.

Runs that are missing or unfinished are trained, one process at a time, so that each has the whole
machine; every run is scored, and so are the states that it passed through (progress.py);
then the report is written (build.py). Started again it goes on where it was stopped.

An engine that is not installed, crashes, is killed or diverges stops none of the others: the
report shows how it ended and the end of its log, `<runs-dir>/logs/<run>.log`, and the exit status
is 1.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import commandline, config
from common.checkpoint import FILE_NAME as CHECKPOINT
from common.config import Config, UserError
from common.datasets import ensure_mnist
from common.environment import processor
from compare import engines, training
from compare.engines import Engine
from compare.quality import bands
from compare.quality.evaluate import Judge
from compare.report import build as report
from compare.report import progress, records
from compare.report.records import Outcome, Record

STATES = 7  # of a run that are scored before its last one
SHORTEST = 50  # steps between two of them: scoring one takes as long as some dozens of steps
GRIDS = 8  # sample grids of a short run, which training's own default would leave without


@dataclass(frozen=True)
class CompareArguments:
    """What to train and to show."""

    engines: str = engines.DEFAULT
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    seeds: str = "1"
    """How many seeds, from 0 on: one number for all engines, or one for each (5,3,3)."""

    steps: int | None = None
    """Iterations of each run (default: the published 1,953)."""

    recipe: Literal["published", "tuned"] = "published"
    """The training recipe."""

    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Arithmetic."""

    score: Literal["yes", "no"] = "yes"
    """Whether to measure how good the digits are; about a minute a run, and more for its states."""

    data_dir: str = "data"
    """Folder of the data set."""

    runs_dir: str = "runs"
    """Folder of the run directories; finished ones are not run again."""

    out: str = "report"
    """Folder of the page: index.html and weights/."""

    parity: str | None = None
    """parity.json to show (default: parity/parity.json, else the one in docs/figures)."""

    bench: str | None = None
    """bench.json to show (default: bench/bench.json, else the one in docs/figures)."""


@dataclass(frozen=True)
class Job:
    """One run to have."""

    engine: Engine
    settings: Config
    run: Path


def plan(arguments: CompareArguments) -> list[Job]:
    """The runs to have, seed by seed; UserError if one lies there with other settings."""
    chosen = engines.choose(arguments.engines, installed=False)
    counts = bands.seed_counts(arguments.seeds, len(chosen))
    commandline.check_place("runs_dir", Path(arguments.runs_dir), folder=True)
    commandline.check_place("out", Path(arguments.out), folder=True)
    for name, given in (("parity", arguments.parity), ("bench", arguments.bench)):
        report.stored(name, given)  # an hour later is too late
    jobs = []
    for seed in range(max(counts)):
        settings = Config(
            seed=seed,
            steps=arguments.steps,
            recipe=arguments.recipe,
            precision=arguments.precision,
            data_dir=arguments.data_dir,
        )
        config.check(settings)
        for engine, count in zip(chosen, counts, strict=True):
            if seed < count:
                run = training.directory(arguments.runs_dir, engine, settings)
                if (run / "config.json").exists():
                    training.check_settings(run, settings)
                jobs.append(Job(engine, _paced(settings), run))
    return jobs


def _paced(settings: Config) -> Config:
    """With grids and states at steps that suit the run's length; they move none of its numbers."""
    total = config.total_steps(settings)
    show = settings.show_every if total >= 1000 else max(1, total // GRIDS)
    every = max(SHORTEST, -(-total // (STATES + 1)))
    every = -(-every // SHORTEST) * SHORTEST
    return config.from_json(
        config.to_json(settings) | {"show_every": show, "checkpoint_every": every}
    )


# ------------------------------------------------------------------ training


def train(job: Job) -> Outcome | None:
    """Train a run to its end, or go on with it; how it ended if that was before its last step."""
    if training.finished(job.run):
        Outcome.path(job.run).unlink(missing_ok=True)
        return None
    if job.engine.missing:
        return Outcome("missing", None, engines.not_installed(job.engine))
    log, last = records.log_file(job.run), config.total_steps(job.settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"training {job.run} ... (log: {log})", flush=True)
    process = engines.start(
        job.engine,
        f"{job.engine.package}.train",
        *training.arguments(job.settings, job.run),
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        with log.open("w") as file, progress.keeping(job.run, last):
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
    outcome = ending(status, records.tail(log))
    if outcome is None:
        Outcome.path(job.run).unlink(missing_ok=True)
    else:
        outcome.write(job.run)
    return outcome


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


# ------------------------------------------------------------------ scoring


class Scorer:
    """Scores runs; made when the first one is there, and asked no more after it failed."""

    def __init__(self, data_dir: str, wanted: bool) -> None:
        self._data_dir, self._wanted = data_dir, wanted
        self._judge: Judge | None = None
        self.problem: str | None = None

    def __call__(self, job: Job) -> None:
        """Score a run and the states that were kept of it, unless that has been done."""
        if not self._wanted or self.problem is not None or not (job.run / CHECKPOINT).exists():
            return
        if job.engine.missing:
            return
        try:
            self._judge = self._judge or Judge(self._data_dir)
            progress.score(job.run, job.engine, self._judge)
            bands.score(job.run, job.engine, self._judge)
        except UserError as error:
            self.problem = str(error)
            print(f"warning: {error}", file=sys.stderr, flush=True)


# ------------------------------------------------------------------ the command


def main() -> None:
    # As Ctrl-C: the training that runs is told, saves its state and ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments, _ = commandline.parse(
            CompareArguments,
            sys.argv[1:],
            prog="python -m compare.sidebyside",
            description="Train engines on one experiment, score them, and show them side by side.",
        )
        jobs = plan(arguments)
        ensure_mnist(arguments.data_dir, wanted=())
        print(f"{len(jobs)} runs on {processor()}, one at a time", flush=True)
        score = Scorer(arguments.data_dir, arguments.score == "yes")
        shown: list[Record] = []
        for job in jobs:
            outcome = train(job)
            score(job)
            if (job.run / "config.json").exists():
                shown.append(records.read(job.run))
            else:
                missing = outcome or Outcome("unfinished")
                shown.append(records.missing(job.run, job.engine.name, missing))
        page = report.write(
            shown, Path(arguments.out), arguments.data_dir, arguments.parity, arguments.bench
        )
    except UserError as error:
        commandline.fail(error)
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None
    failed = [record for record in shown if record.outcome is not None]
    for record in failed:
        assert record.outcome is not None
        print(f"{record.name}: {record.outcome.kind}; log: {records.log_file(record.path)}")
    print(f"{len(shown)} runs side by side, {len(failed)} of them not finished -> {page}")
    if failed or score.problem is not None:
        raise SystemExit(1)
