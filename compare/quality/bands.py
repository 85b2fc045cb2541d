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

from common import commandline, limits
from common.checkpoint import FILE_NAME as CHECKPOINT
from common.checkpoint import write_json
from common.config import Config, UserError
from common.environment import git_commit, processor
from common.outputs import read_metrics
from compare import engines, training
from compare.engines import Engine
from compare.quality import evaluate
from compare.quality.evaluate import COUNT, EXTRACTOR_SHA256, MEASURES, SAMPLE_SEED, Judge
from compare.report.records import read_json
from compare.training import check_settings, directory, finished

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

    recipe: Literal["published", "tuned"] = "published"
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


def train(engine: Engine, settings: Config, run: Path) -> bool:
    """Train a run to its end, or go on with it. False if the training itself broke down."""
    if finished(run):
        return True
    print(f"training {run} ...", flush=True)
    module = f"{engine.package}.train"
    process = engines.start(engine, module, *training.arguments(settings, run))
    _, err = process.communicate()
    if process.returncode == 1 and "error:" in err:  # the losses are not finite
        print(err.strip(), flush=True)
        return False
    if process.returncode:
        raise UserError(f"Training {run} ended with {process.returncode}: {err.strip()[-300:]}")
    return True


def score(run: Path, engine: Engine, judge: Judge) -> dict[str, Any]:
    """A run's scores: those in its quality.json if they are of this checkpoint and this measure."""
    subject = evaluate.subject(str(run), engine.name)
    try:
        record = read_json(run / evaluate.FILE_NAME)
        samples = {"count": COUNT, "seed": SAMPLE_SEED, "engine": engine.name}
        if (
            record["format"] == evaluate.FORMAT
            and record["checkpoint"] == (subject.facts or {})["checkpoint"]
            and record["extractor"]["sha256"] == EXTRACTOR_SHA256
            and record["samples"] == samples
            and evaluate.whole(record["measures"])
        ):
            return record
    except (KeyError, TypeError):
        pass
    print(f"scoring {run} ...", flush=True)
    return evaluate.evaluate(subject, judge, COUNT, SAMPLE_SEED)


def failed(complete: bool, measures: dict[str, float] | None) -> bool:
    """The criterion above."""
    if not complete or measures is None:
        return True
    return measures["rarest_class"] < RAREST or measures["confident"] < CONFIDENT


def measured(engine: Engine, settings: Config, run: Path, judge: Judge) -> dict[str, Any]:
    """One run, trained if it is not finished, with its scores."""
    complete = train(engine, settings, run)
    check_settings(run, settings)
    scores = score(run, engine, judge) if (run / CHECKPOINT).exists() else None
    measures = scores["measures"] if scores else None
    return {
        "seed": settings.seed,
        "finished": complete,
        "failed": failed(complete, measures),
        "measures": measures,
        "losses": late_losses(run),
    }


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


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One recipe and engine: every run's scores, their mean and spread, the share that failed."""
    scored = [run["measures"] for run in runs if run["measures"] is not None]
    mean, spread = evaluate.band(scored) if scored else (None, None)
    losses = [run["losses"] for run in runs if run["losses"]]
    return {
        "mean": mean,
        "spread": spread,
        "losses": evaluate.band(losses) if losses else None,
        "failed": sum(run["failed"] for run in runs) / len(runs),
        "runs": runs,
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
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]

    def add(name: str, runs: str, share: str, mean: Any, spread: Any, losses: Any) -> None:
        cells = evaluate.cells(mean, spread) if mean else ["-"] * len(MEASURES)
        for key in LOSSES:
            mean_loss, spread_loss = losses or (None, None)
            after = f" ± {spread_loss[key]:.3f}" if spread_loss else ""
            cells.append(f"{mean_loss[key]:.3f}{after}" if mean_loss else "")
        lines.append(f"| {' | '.join([name, runs, share, *cells])} |")

    add("real digits, held out", "", "", record["floor"], None, None)
    for row in record["rows"]:
        name, share = f"{row['recipe']}, {label(row)}", f"{row['failed']:.0%}"
        add(name, str(len(row["runs"])), share, row["mean"], row["spread"], row["losses"])
    lines += [""] if record["equivalence"] else []
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
    record = read_json(out)
    try:
        same = record["extractor"]["sha256"] == EXTRACTOR_SHA256
        return list(record["rows"]) if same and record["samples"]["count"] == COUNT else []
    except (KeyError, TypeError):
        return []


def is_of(row: dict[str, Any], recipe: str, precision: str) -> bool:
    """Is a row of this recipe and precision?"""
    return (row["recipe"], row["precision"]) == (recipe, precision)


def seed_counts(text: str, count: int) -> list[int]:
    """`5` or `5,3,3` -> one number for each of `count` engines, or UserError."""
    parts = text.split(",")
    fits = len(parts) in (1, count)
    if fits and all(limits.is_whole(part, 1, 1000) for part in parts):
        return [int(part) for part in parts] * (count // len(parts))
    raise UserError(
        f"--seeds takes a whole number from 1 to 1000, or one for each of the {count} engines "
        f"separated by commas, not {text!r}."
    )


def commands(rows: list[dict[str, Any]]) -> list[str]:
    """What makes a record's rows anew, from nothing: one command for each recipe and precision."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["recipe"], row["precision"]), []).append(row)
    lines = []
    for (recipe, precision), its in found.items():
        line = ["python -m compare.bands"]
        line += [f"--recipe {recipe}"] if recipe != Config.recipe else []
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
        chosen = engines.choose(arguments.engines)
        counts = seed_counts(arguments.seeds, len(chosen))
        commandline.check_place("runs_dir", Path(arguments.runs_dir), folder=True)
        commandline.check_place("out", Path(arguments.out), folder=False)
        judge = Judge(arguments.data_dir)
        kind: dict[str, Any] = {"recipe": arguments.recipe, "precision": arguments.precision}
        earlier = earlier_rows(Path(arguments.out))
        rows = [row for row in earlier if not is_of(row, **kind)]
        for engine, count in zip(chosen, counts, strict=True):
            known = {
                run["seed"]: run
                for row in earlier
                if arguments.keep and is_of(row, **kind) and row["engine"] == engine.name
                for run in row["runs"]
            }
            runs = []
            for seed in range(count):
                settings = Config(seed=seed, data_dir=arguments.data_dir, **kind)
                run = directory(arguments.runs_dir, engine, settings)
                if seed in known and not run.exists():
                    print(f"{run} is not here; its scores in {arguments.out} stay.", flush=True)
                    runs.append(known[seed])
                else:
                    runs.append(measured(engine, settings, run, judge))
            rows.append({**kind, "engine": engine.name, **summarize(runs)})
        rows.sort(key=lambda r: (r["recipe"], list(engines.ENGINES).index(r["engine"]), label(r)))
    record = {
        "command": ["python", "-m", "compare.bands", *sys.argv[1:]],
        "commit": git_commit(),
        "processor": processor(),
        "samples": {"count": COUNT, "seed": SAMPLE_SEED},
        "reference": {"name": "MNIST test digits", "count": COUNT},
        "extractor": {"sha256": EXTRACTOR_SHA256, "test_accuracy": judge.extractor.test_accuracy},
        "margin": MARGIN,
        "level": LEVEL,
        "floor": judge.floor(COUNT),
        "rows": rows,
        "equivalence": compare(rows),
    }
    out = Path(arguments.out)
    write_json(out, record)
    print(f"{table(record)}\n\n{summary(record)} -> {out}")
