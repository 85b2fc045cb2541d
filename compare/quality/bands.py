"""Quality over seeds: `python -m compare.bands`, which `make quality` runs.

Trains what is missing, scores every run, and writes mean, spread, share of failed runs and an
equivalence test between engines to docs/figures/quality.json. No run is dropped: one that ended
early counts as failed and is scored by its last checkpoint, if it has one.

Fixed before any run was scored:

- a run failed if it did not reach its last step, if some digit makes up less than 1% of its
  samples, or if fewer than half of them are confident digits;
- two engines are equivalent if their geometric mean Fréchet distances differ by less than a factor
  of 1.5, at the 5% level (two one-sided tests).
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common import commandline
from common.checkpoint import FILE_NAME as CHECKPOINT
from common.checkpoint import write_json
from common.config import Config
from common.environment import git_commit, processor
from common.limits import UserError
from common.outputs import read_metrics
from compare import engines, runs
from compare.quality import evaluate
from compare.quality.evaluate import SAMPLE_SEED, mean_and_spread
from compare.quality.scorer import COUNT, EXTRACTOR_SHA256, MEASURES, Scorer
from compare.runs import Job

MARGIN = 1.5  # a factor between two engines' geometric mean Fréchet distances
LEVEL = 0.05  # of the equivalence test
RAREST = 0.01  # share of samples below which a digit counts as lost
CONFIDENT = 0.5  # share of confident digits below which a run shows no digits
LOSSES = {"d_loss": "D loss", "g_loss": "G loss"}
LATE = 250  # iterations whose mean losses are given


@dataclass(frozen=True)
class BandArguments:
    """Which runs to train and score."""

    engines: str = engines.DEFAULT
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    seeds: str = "5"
    """How many seeds, from 0 on: one number for all engines, or one for each (5,3,3)."""

    recipe: Literal["published", "tuned", "fast"] = "published"
    """The training recipe."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic."""

    data_dir: str = "data"
    """Folder of the data set."""

    runs_dir: str = "runs"
    """Folder of the run directories; finished ones are not run again."""

    out: str = "docs/figures/quality.json"
    """The figures; rows of other recipes and precisions in this file stay."""

    keep: bool = False
    """Take runs that --out has the scores of, and that are not here, as it has them."""


# ------------------------------------------------------------------ runs


def trained_and_scored(job: Job, scorer: Scorer) -> dict[str, Any]:
    """One run, trained if it is not finished, with its scores."""
    outcome = runs.train(job)
    if outcome is not None and outcome.kind != "diverged":
        raise UserError(f"Training {job.run} ended with {outcome.status}: {outcome.tail[-300:]}")
    has_state = (job.run / CHECKPOINT).exists()
    measures = evaluate.scores(job.run, job.engine, scorer)["measures"] if has_state else None
    return {
        "seed": job.settings.seed,
        "finished": outcome is None,
        "failed": failed(outcome is None, measures),
        "measures": measures,
        "losses": late_losses(job.run),
    }


def failed(complete: bool, measures: dict[str, float] | None) -> bool:
    """Did a run fail, by the criterion at the top of this file?"""
    if not complete or measures is None:
        return True
    return measures["rarest_class"] < RAREST or measures["confident"] < CONFIDENT


def late_losses(run: Path) -> dict[str, float]:
    """Each loss's mean over the last LATE iterations of a run; empty if it made none."""
    steps, metrics = read_metrics(run)
    if not len(steps):
        return {}
    return {name: float(metrics[name][-LATE:].mean()) for name in LOSSES}


# ------------------------------------------------------------------ statistics


def equivalence(a: list[float], b: list[float], margin: float = MARGIN) -> dict[str, float] | None:
    """Two one-sided Welch tests on logarithms (Schuirmann 1987): p of "they differ by the margin".

    With d the difference of mean logs and s its standard error (Welch 1947), p is the larger of
    P(T > (log margin + d) / s) and P(T > (log margin - d) / s). a, b: positive values, one a run.
    None for fewer than two runs a side.
    """
    if min(len(a), len(b)) < 2:
        return None
    x, y = np.log(a), np.log(b)
    vx, vy = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    difference, error = float(x.mean() - y.mean()), math.sqrt(vx + vy)
    if error == 0:
        return {"ratio": math.exp(difference), "p": float(abs(difference) >= math.log(margin))}
    degrees = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    nearest = (math.log(margin) - abs(difference)) / error
    return {"ratio": math.exp(difference), "p": student_tail(nearest, float(degrees))}


def student_tail(t: float, degrees: float) -> float:
    """P(T > t) of Student's distribution: its density integrated, with x = sqrt(n) tan(u)."""
    if t < 0:
        return 1 - student_tail(-t, degrees)
    log_norm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(math.pi)
    u = np.linspace(math.atan(t / math.sqrt(degrees)), math.pi / 2, 20_001)
    return float(np.trapezoid(np.cos(u).clip(0) ** (degrees - 1), u) * math.exp(log_norm))


def summarize(its_runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One recipe and engine: every run's scores, their mean and spread, the share that failed."""
    scored = [run["measures"] for run in its_runs if run["measures"] is not None]
    mean, spread = mean_and_spread(scored) if scored else (None, None)
    losses = [run["losses"] for run in its_runs if run["losses"]]
    return {
        "mean": mean,
        "spread": spread,
        "losses": mean_and_spread(losses) if losses else None,
        "failed": sum(run["failed"] for run in its_runs) / len(its_runs),
        "runs": its_runs,
    }


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The equivalence test of every two engines, or precisions of one, with the same recipe."""
    found = []
    for a, b in itertools.combinations(rows, 2):
        if a["recipe"] != b["recipe"]:
            continue
        one, other = (
            [r["measures"]["frechet_distance"] for r in row["runs"] if r["measures"]]
            for row in (a, b)
        )
        test = equivalence(one, other)
        if test is not None:
            pair = [label(a), label(b)]
            found.append({"recipe": a["recipe"], "pair": pair, **test, "below": test["p"] < LEVEL})
    return found


# ------------------------------------------------------------------ what is printed


def label(row: dict[str, Any]) -> str:
    """A row's engine, with its precision if that is not float32."""
    return row["engine"] + ("" if row["precision"] == "float32" else f" ({row['precision']})")


def table(record: dict[str, Any]) -> str:
    """The record as Markdown: the floor, then every recipe and engine; then the tests."""
    heads = ["", "runs", "failed", *(title for title, _ in MEASURES.values()), *LOSSES.values()]
    rows = [["real digits, held out", "", "", *evaluate.cells(record["floor"], None), "", ""]]
    for row in record["rows"]:
        cells = evaluate.cells(row["mean"], row["spread"]) if row["mean"] else ["-"] * len(MEASURES)
        mean, spread = row["losses"] or (None, None)
        for key in LOSSES:
            after = f" ± {spread[key]:.3f}" if spread else ""
            cells.append(f"{mean[key]:.3f}{after}" if mean else "")
        name, share = f"{row['recipe']}, {label(row)}", f"{row['failed']:.0%}"
        rows.append([name, str(len(row["runs"])), share, *cells])
    lines = [evaluate.table(heads, rows)] + [""] * bool(record["equivalence"])
    for test in record["equivalence"]:
        verdict = "equivalent" if test["below"] else "not shown to be equivalent"
        lines.append(
            f"- {test['recipe']}, "
            f"{' to '.join(test['pair'])}: ratio of the geometric mean Fréchet distances "
            f"{test['ratio']:.2f}, {verdict} within a factor of {record['margin']} "
            f"(p = {test['p']:.2g})"
        )
    return "\n".join(lines)


def summary(record: dict[str, Any]) -> str:
    """What the table rests on, in one sentence."""
    return (
        f"{record['samples']['count']} samples of each run against "
        f"{record['reference']['count']} test digits; mean ± standard deviation over seeds "
        f"(of one run: over parts of its samples); losses are means of the last {LATE} "
        f"iterations; extractor {record['extractor']['sha256'][:12]}, "
        f"{100 * record['extractor']['test_accuracy']:.2f}% accurate."
    )


def earlier_rows(out: Path) -> list[dict[str, Any]]:
    """The rows of an earlier record of the same measure."""
    record = runs.read_json(out)
    try:
        same = record["extractor"]["sha256"] == EXTRACTOR_SHA256
        return list(record["rows"]) if same and record["samples"]["count"] == COUNT else []
    except (KeyError, TypeError):
        return []


def is_of(row: dict[str, Any], recipe: str, precision: str) -> bool:
    """Is a row of this recipe and precision?"""
    return (row["recipe"], row["precision"]) == (recipe, precision)


def commands(rows: list[dict[str, Any]]) -> list[str]:
    """What makes a record's rows anew, from nothing: one command for each recipe and precision."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["recipe"], row["precision"]), []).append(row)
    lines = []
    for (recipe, precision), its in found.items():
        line = ["python -m compare.bands"]
        line += [f"--recipe {recipe}"] if recipe != Config().recipe else []
        line += [f"--precision {precision}"] if precision != Config.precision else []
        line.append(f"--engines {','.join(row['engine'] for row in its)}")
        line.append(f"--seeds {','.join(str(len(row['runs'])) for row in its)}")
        lines.append(" ".join(line))
    return lines


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            BandArguments,
            sys.argv[1:],
            prog="python -m compare.bands",
            description="Train what is missing, score every run, and write the bands over seeds.",
        )
        kind: dict[str, Any] = {"recipe": arguments.recipe, "precision": arguments.precision}
        chosen, out = engines.choose(arguments.engines), Path(arguments.out)
        jobs = runs.jobs(
            chosen, arguments.seeds, arguments.runs_dir, data_dir=arguments.data_dir, **kind
        )
        commandline.check_place("out", out, folder=False)
        scorer = Scorer(arguments.data_dir)
        earlier = earlier_rows(out)
        rows = [row for row in earlier if not is_of(row, **kind)]
        known = {
            (row["engine"], run["seed"]): run
            for row in earlier
            if arguments.keep and is_of(row, **kind)
            for run in row["runs"]
        }
        for engine in chosen:
            its_runs = []
            for job in (job for job in jobs if job.engine == engine):
                key = engine.name, job.settings.seed
                if key in known and not job.run.exists():
                    print(f"{job.run} is not here; its scores in {out} stay.", flush=True)
                    its_runs.append(known[key])
                else:
                    its_runs.append(trained_and_scored(job, scorer))
            rows.append({**kind, "engine": engine.name, **summarize(its_runs)})
        rows.sort(key=lambda r: (r["recipe"], list(engines.ENGINES).index(r["engine"]), label(r)))
    record = {
        "command": ["python", "-m", "compare.bands", *sys.argv[1:]],
        "commit": git_commit(),
        "processor": processor(),
        "samples": {"count": COUNT, "seed": SAMPLE_SEED},
        "reference": {"name": "MNIST test digits", "count": COUNT},
        "extractor": {"sha256": EXTRACTOR_SHA256, "test_accuracy": scorer.extractor.test_accuracy},
        "margin": MARGIN,
        "level": LEVEL,
        "floor": scorer.floor(COUNT),
        "rows": rows,
        "equivalence": compare(rows),
    }
    with commandline.command(), commandline.writing(out):
        write_json(out, record)
    print(f"{table(record)}\n\n{summary(record)} -> {out}")
