"""Seconds to quality: `python -m compare.seconds`, which `make quality-time` runs.

How long must one train for a Fréchet distance of at most 10, 2, 1, 0.7? Every run is scored at
tenths of its length; what counts are the seconds of training, as result.json has them (without
start-up, samples and checkpoints), at the first of these moments that is as good. Mean and spread
are over seeds; where some seeds do not get there, how many did is said and no mean is taken.

The figures go into docs/figures/quality-time.json. Times compare only within one call, on a machine
that does nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from common import commandline, config, limits, recipes
from common.checkpoint import write_json
from common.config import Config
from common.environment import git_commit, processor
from common.limits import UserError
from compare import engines, runs
from compare.quality import evaluate, progress
from compare.quality.evaluate import SAMPLE_SEED
from compare.quality.scorer import COUNT, EXTRACTOR_SHA256, Scorer
from compare.runs import Job

GOALS = (10.0, 2.0, 1.0, 0.7)  # the first is the published recipe's after its five epochs
STATES = 10  # moments of a run that are scored
RECIPES = tuple(recipes.RECIPES["mnist28"])


@dataclass(frozen=True)
class SecondsArguments:
    """Which runs to train and score."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = {"seeds": limits.whole_number(1, 1000)}

    engines: str = "pytorch"
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    lengths: str = "fast,tuned"
    """Recipes separated by commas, each with its own length or with so many iterations: fast,
    fast:400."""

    seeds: int = 5
    """How many seeds, from 0 on."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic."""

    data_dir: str = "data"
    """Folder of the data set."""

    runs_dir: str = "runs/seconds"
    """Folder of the run directories; finished and scored ones are not run again."""

    out: str = "docs/figures/quality-time.json"
    """The figures."""


# ------------------------------------------------------------------ runs


def lengths(text: str) -> list[tuple[str, int | None]]:
    """`fast,fast:400` -> (recipe, iterations or None) each, or UserError."""
    found: list[tuple[str, int | None]] = []
    for part in text.split(","):
        recipe, colon, steps = part.partition(":")
        if recipe not in RECIPES or (colon and not (steps.isdecimal() and int(steps) >= STATES)):
            raise UserError(
                f"--lengths takes recipes ({', '.join(RECIPES)}) separated by commas, each alone "
                f"or with {STATES} iterations or more (fast:400), not {limits.short(part)}."
            )
        found.append((recipe, int(steps) if colon else None))
    if len(set(found)) < len(found):
        raise UserError(f"--lengths names one twice: {text}.")
    return found


def paced(job: Job) -> Job:
    """The job with a checkpoint at every tenth of its length."""
    every = -(-config.total_steps(job.settings) // STATES)
    settings = dataclasses.replace(job.settings, checkpoint_every=every, show_every=every)
    return dataclasses.replace(job, settings=settings)


def measured(job: Job, scorer: Scorer) -> dict[str, Any]:
    """A run's states, trained and scored if that is not done: step, seconds, frechet_distance."""
    with progress.keeping(job.run, last=None):
        outcome = runs.train(job)
    if outcome is not None and outcome.kind != "diverged":
        raise UserError(f"Training {job.run} ended with {outcome.status}: {outcome.tail[-300:]}")
    progress.keep(job.run, last=None)  # the last one may have come since
    progress.score(job.run, job.engine, scorer)
    finished = outcome is None
    return {"seed": job.settings.seed, "finished": finished, "states": progress.read(job.run)}


def _row(engine: str, settings: Config, its_runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "recipe": settings.recipe,
        "steps": config.total_steps(settings),
        "batch_size": settings.batch_size,
        "engine": engine,
        "precision": settings.precision,
        "runs": its_runs,
    }


# ------------------------------------------------------------------ figures


def seconds_to(goal: float, run: dict[str, Any]) -> float | None:
    """Seconds of training at the first scored state that is as good as `goal`, if there is one."""
    reached = [s["seconds"] for s in run["states"] if s["frechet_distance"] <= goal]
    return min(reached, default=None)


def mean_to(goal: float, row: dict[str, Any]) -> float:
    """Mean seconds of a row's runs to a goal; infinite if one does not get there."""
    reached = [seconds_to(goal, run) for run in row["runs"]]
    return math.inf if None in reached else statistics.fmean(s for s in reached if s is not None)


def fastest(rows: list[dict[str, Any]], goal: float) -> dict[str, Any] | None:
    """The row whose every seed reaches a goal in the fewest seconds on the average."""
    best = min(rows, key=lambda row: mean_to(goal, row))
    return best if mean_to(goal, best) < math.inf else None


def name(row: dict[str, Any]) -> str:
    """The recipe of a row, with the flag of its length where that is not the recipe's own."""
    own = config.total_steps(Config(recipe=row["recipe"]))
    return row["recipe"] + (f" --steps {row['steps']}" if row["steps"] != own else "")


def _spread(values: list[Any], digits: int) -> str:
    """`41.2 ± 0.3`; of one value the value."""
    after = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{after}"


def _cell(goal: float, row: dict[str, Any], best: bool) -> str:
    reached = [s for run in row["runs"] if (s := seconds_to(goal, run)) is not None]
    if len(reached) < len(row["runs"]):
        return f"{len(reached)} of {len(row['runs'])}" if reached else "-"
    return f"**{_spread(reached, 1)}**" if best else _spread(reached, 1)


def table(record: dict[str, Any]) -> str:
    """The record as Markdown; of each goal the fewest seconds are bold."""
    heads = ["", "iterations", "batch", "seeds", "seconds of training", "Fréchet distance then"]
    heads += [f"seconds to {goal:g}" for goal in GOALS]
    best = {goal: fastest(record["rows"], goal) for goal in GOALS}
    lines = []
    for row in record["rows"]:
        ends = [run["states"][-1] for run in row["runs"] if run["finished"]]
        lines.append(
            [
                f"{row['recipe']}, {row['engine']}"
                + ("" if row["precision"] == "float32" else f" ({row['precision']})"),
                f"{row['steps']:,}",
                str(row["batch_size"]),
                str(len(row["runs"])),
                _spread([end["seconds"] for end in ends], 1) if ends else "-",
                _spread([end["frechet_distance"] for end in ends], 2) if ends else "-",
                *(_cell(goal, row, row is best[goal]) for goal in GOALS),
            ]
        )
    return evaluate.table(heads, lines)


def summary(record: dict[str, Any]) -> str:
    """What the table rests on."""
    return (
        f"Mean ± standard deviation over seeds, {COUNT} samples of each state, a state each tenth "
        f"of a run; `3 of 5` reached it, `-` none did; bold: the fewest seconds. Measured on "
        f"{record['processor']}."
    )


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            SecondsArguments,
            sys.argv[1:],
            prog="python -m compare.seconds",
            description="Seconds of training until the digits are so good.",
        )
        chosen, out = engines.choose(arguments.engines), Path(arguments.out)
        wanted = [
            runs.jobs(
                chosen,
                str(arguments.seeds),
                arguments.runs_dir,
                data_dir=arguments.data_dir,
                recipe=recipe,
                steps=steps,
                precision=arguments.precision,
            )
            for recipe, steps in lengths(arguments.lengths)
        ]
        commandline.check_place("out", out, folder=False)
        scorer = Scorer(arguments.data_dir)
        rows = []
        for engine in chosen:
            for jobs in wanted:
                its = [paced(job) for job in jobs if job.engine == engine]
                found = [measured(job, scorer) for job in its]
                rows.append(_row(engine.name, its[0].settings, found))
        record = {
            "command": ["python", "-m", "compare.seconds", *sys.argv[1:]],
            "commit": git_commit(),
            "processor": processor(),
            "samples": {"count": COUNT, "seed": SAMPLE_SEED},
            "extractor": EXTRACTOR_SHA256,
            "rows": rows,
        }
        with commandline.writing(out):
            write_json(out, record)
    print(f"{table(record)}\n\n{summary(record)} -> {out}")
