"""Train, score and show engines side by side: `python -m compare.sidebyside`, or `make compare`.

Runs that are missing or unfinished are trained, one process at a time, so that each has the whole
machine (compare/runs.py); every run is scored, and so are the states that it passed through
(compare/quality/); then the report is written (build.py). Started again it goes on where it was
stopped.

An engine that is not installed, crashes, is killed or diverges stops none of the others: the
report shows how it ended and the end of its log, `<runs-dir>/logs/<run>.log`, and the exit status
is 1.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import commandline, config, datasets
from common.checkpoint import FILE_NAME as CHECKPOINT
from common.config import Config
from common.environment import processor
from common.limits import UserError
from common.plan import decided
from compare import engines, runs
from compare.quality import evaluate, progress
from compare.quality.pictures import PictureScorer, judge
from compare.quality.scorer import Kind, Scorer
from compare.report import build as report
from compare.report import records
from compare.report.records import Record
from compare.runs import Job, Outcome

STATES = 7  # of a run that are scored before its last one
SHORTEST = 50  # steps between two of them: scoring one takes as long as some dozens of steps
GRIDS = 8  # sample grids of a short run, which training's own default would leave without


# Fields of a Config that the command line may choose.
SETTINGS = (
    "steps", "dataset", "architecture", "image_size", "channels", "width", "recipe", "precision",
    "data_dir",
)  # fmt: skip


@dataclass(frozen=True)
class CompareArguments:
    """What to train and to show."""

    engines: str = engines.DEFAULT
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    seeds: str = "1"
    """How many seeds, from 0 on: one number for all engines, or one for each (5,3,3)."""

    steps: int | None = None
    """Iterations of each run (default: the recipe's epochs; of MNIST the published 1,953)."""

    dataset: str = Config.dataset
    """Training images: a data set's name, or the path of a folder of pictures."""

    architecture: Annotated[
        config.Architecture,
        decided(config.Architecture, "mnist28 for pictures of 28 pixels, else dcgan"),
    ] = config.BY_DATASET
    """The two networks."""

    image_size: Annotated[int, decided(int, "the pictures' own, of a folder 64")] = (
        config.BY_ARCHITECTURE
    )
    """Side of the images in pixels."""

    channels: Annotated[int, decided(int, "the pictures' own, of a folder 3")] = (
        config.BY_ARCHITECTURE
    )
    """Colours of an image: 1 or 3."""

    width: Annotated[int, decided(int, "64")] = config.BY_ARCHITECTURE
    """Filters of dcgan's layers next to the image."""

    recipe: Annotated[
        config.RecipeName, decided(config.RecipeName, "published for mnist28, paper for dcgan")
    ] = config.BY_ARCHITECTURE
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


def plan(arguments: CompareArguments) -> list[Job]:
    """The runs to have, seed by seed; UserError if one lies there with other settings."""
    chosen = engines.choose(arguments.engines, installed=False)
    commandline.check_place("out", Path(arguments.out), folder=True)
    for name, given in (("parity", arguments.parity), ("bench", arguments.bench)):
        report.stored(name, given)  # an hour later is too late
    jobs = runs.jobs(
        chosen,
        arguments.seeds,
        arguments.runs_dir,
        **{name: getattr(arguments, name) for name in SETTINGS},
    )
    return [dataclasses.replace(job, settings=_paced(job.settings)) for job in jobs]


def _paced(settings: Config) -> Config:
    """With grids and states at steps that suit the run's length; they move none of its numbers."""
    total = config.total_steps(settings)
    show = settings.show_every if total >= 1000 else max(1, total // GRIDS)
    every = max(SHORTEST, -(-total // (STATES + 1)))
    every = -(-every // SHORTEST) * SHORTEST
    return dataclasses.replace(settings, show_every=show, checkpoint_every=every)


class Scoring:
    """Scores runs, one after another, until it fails: a report without scores is better than none.

    What it needs is loaded when the first run is there.
    """

    def __init__(self, data_dir: str, wanted: bool) -> None:
        self._data_dir, self._wanted = data_dir, wanted
        self._scorer: Scorer | PictureScorer | None = None
        self.failed = False

    def __call__(self, job: Job) -> None:
        """Score a run and the states that were kept of it, unless that has been done."""
        if not self._wanted or self.failed or job.engine.missing:
            return
        if not (job.run / CHECKPOINT).exists():
            return
        try:
            self._scorer = self._scorer or judge(job.settings, self._data_dir)
            if isinstance(self._scorer, Scorer):
                progress.score(job.run, job.engine, self._scorer)
            evaluate.scores(job.run, job.engine, self._scorer)
        except UserError as error:
            self.failed = True
            print(f"warning: {error}", file=sys.stderr, flush=True)


def train_and_score(jobs: list[Job], score: Callable[[Job], None]) -> list[Record]:
    """Every run trained, or as far as it came, and scored."""
    found = []
    for job in jobs:
        last = config.total_steps(job.settings)
        digits = Kind.of(job.settings) == Scorer.kind
        states = progress.keeping(job.run, last) if digits else None
        outcome = runs.train(job, states) or Outcome("unfinished")
        score(job)
        if (job.run / "config.json").exists():
            found.append(records.read(job.run))
        else:
            found.append(Record(job.run, job.engine.name, outcome=outcome))
    return found


def main() -> None:
    # As Ctrl-C: the training that runs is told, saves its state and ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with commandline.command():
        arguments, _ = commandline.parse(
            CompareArguments,
            sys.argv[1:],
            prog="python -m compare.sidebyside",
            description="Train engines on one experiment, score them, and show them side by side.",
        )
        jobs = plan(arguments)
        try:
            datasets.load(jobs[0].settings)  # once, and before the first process
            print(f"{len(jobs)} runs on {processor()}, one at a time", flush=True)
            score = Scoring(arguments.data_dir, arguments.score == "yes")
            shown = train_and_score(jobs, score)
            page = report.write(
                shown, Path(arguments.out), arguments.data_dir, arguments.parity, arguments.bench
            )
        except KeyboardInterrupt:
            print("\nStopped; the same command goes on from here.", file=sys.stderr)
            raise
    failed = [(record, record.outcome) for record in shown if record.outcome is not None]
    for record, outcome in failed:
        print(f"{record.name}: {outcome.kind}; log: {runs.log_file(record.path)}")
    print(f"{len(shown)} runs side by side, {len(failed)} of them not finished -> {page}")
    if failed or score.failed:
        raise SystemExit(1)
