"""The generator that comes with the project: `python -m compare.pretrained RUN`.

Takes the weights of a finished run (common/checkpoint.py, save_weights), scores what was written,
and writes the model card beside it, pretrained/README.md.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from common import checkpoint, commandline, config
from common.checkpoint import Checkpoint
from common.limits import UserError
from common.sampling import PRETRAINED
from compare import runs
from compare.engines import ROOT
from compare.quality import evaluate
from compare.quality.evaluate import SAMPLE_SEED
from compare.quality.scorer import COUNT, MEASURES, Scorer


@dataclass(frozen=True)
class PretrainedArguments:
    """Which run to take, and where to put its weights."""

    run: tyro.conf.Positional[str]
    """Run directory or checkpoint file of a finished run."""

    out: str = str(ROOT / PRETRAINED)
    """The .safetensors file; README.md beside it is its model card."""

    data_dir: str = "data"
    """Folder of the data set."""


def card(saved: Checkpoint, file: Path, environment: dict[str, Any], score: dict[str, Any]) -> str:
    """The model card, as Markdown."""
    settings, measures, floor = saved.config, score["measures"], score["floor"]
    heads = ["", "this file", "real digits, held out"]
    titles = [title for title, _ in MEASURES.values()]
    columns = (evaluate.cells(values, None) for values in (measures, floor))
    table = evaluate.table(heads, zip(titles, *columns, strict=True))
    unclear, of_real = 1 - measures["confident"], 1 - floor["confident"]
    versions = ", ".join(f"{name} {version}" for name, version in saved.versions.items())
    command = " ".join(map(str, environment["command"]))
    return f"""# {file.name}

The two networks of architecture {settings.architecture}, trained on the first
{settings.train_images} digits of MNIST by recipe {settings.recipe}: a generator of handwritten
digits, 28 x 28 (the averaged one), and its discriminator. `make sample` draws from it; every
backend's `sample` and `convert` read it, and `common.checkpoint.load` in Python.

- Made by `python -m {command}`, seed {settings.seed}, {saved.step} steps
  of batch {settings.batch_size}, {settings.precision}; {versions}; {environment.get("processor")},
  {environment["threads"]} thread{"s" if environment["threads"] > 1 else ""}.
- Kernels as float16, vectors as float32, under the canonical names of `common/architecture.py`.
- SHA-256 `{hashlib.sha256(file.read_bytes()).hexdigest()}`, {file.stat().st_size:,} bytes.
- Noise: {settings.noise_size} values, uniform in [-1, 1). Images in (-1, 1), NHWC.

Scores of this file, {COUNT} samples (seed {SAMPLE_SEED}) against the {COUNT} test digits:

{table}

It knows MNIST's digits and nothing else. {unclear:.0%} of its samples are no clear digit to the
extractor, of real digits {of_real:.0%}. The data are those of LeCun, Cortes and Burges; the
weights have the project's license.
"""


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            PretrainedArguments,
            sys.argv[1:],
            prog="python -m compare.pretrained",
            description="Write the weights of a finished run, with a model card.",
        )
        source, out = checkpoint.find(Path(arguments.run)), Path(arguments.out)
        commandline.check_place("out", out, folder=False)
        saved = checkpoint.load(source)
        record = source.parent / "environment.json"
        if saved.step < config.total_steps(saved.config) or not record.exists():
            raise UserError(f"{arguments.run} is no finished run; finish it with --resume first.")
        environment = runs.read_json(record)
        command, threads = environment.get("command"), environment.get("threads")
        if not isinstance(threads, int) or not isinstance(command, list):
            raise UserError(f"{record} is not what training writes; train the run again.")
        # What cannot be scored is not written either.
        evaluate.check_kind(evaluate.subject(str(source), "auto"), Scorer.kind)
        scorer = Scorer(arguments.data_dir)
        checkpoint.save_weights(out, saved)
        score = evaluate.evaluate(evaluate.subject(str(out), "auto"), scorer, COUNT, SAMPLE_SEED)
        text = card(saved, out, environment, score)
        checkpoint.write_atomically(out.with_name("README.md"), text.encode())
    print(f"{out}: Fréchet distance {score['measures']['frechet_distance']:.3f}")
