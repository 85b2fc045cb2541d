"""Score runs against real digits: `python -m compare.evaluate RUN_OR_CHECKPOINT_OR_NPY...`.

10,000 samples of each against the 10,000 test digits, beside the floor: as many training digits
that no run and no extractor has seen. A run's scores go to its `quality.json`:

    format       1
    backend, recipe, seed, step    of the training
    checkpoint   sha256 of the checkpoint file
    samples      count, seed of the noise, engine that drew them
    reference    "MNIST test digits" and their count
    extractor    sha256 and test accuracy
    measures     name -> number, see MEASURES
    floor        the same of the held-out digits
    versions     of numpy, onnxruntime and Python
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from common import checkpoint, commandline, limits
from common.checkpoint import write_json
from common.limits import UserError
from compare import engines, runs
from compare.engines import ENGINES, Engine
from compare.quality.scorer import COUNT, EXTRACTOR_SHA256, MEASURES, Scorer, is_complete

FORMAT = 1
FILE_NAME = "quality.json"
SAMPLE_SEED = 1  # of the noise behind what is scored


@dataclass(frozen=True)
class EvaluateArguments:
    """What to score."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = {"count": limits.whole_number(129, COUNT)}

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories, checkpoint files, or .npy files of uint8 images (N, 28, 28)."""

    count: int = COUNT
    """Samples of each; fewer give higher Fréchet distances. [129, 10000]"""

    seed: int = SAMPLE_SEED
    """Seed of the samples' noise. [0, 2**63)"""

    engine: Literal["auto", "pytorch", "tensorflow", "keras", "keras-torch", "keras-jax"] = "auto"
    """Who draws the samples; auto takes the one that trained the run, if it is installed."""

    data_dir: str = "data"
    """Folder of the data set."""


# ------------------------------------------------------------------ what is scored


@dataclass(frozen=True)
class Subject:
    """One thing to score, checked: a run's checkpoint, or images in a file."""

    name: str
    file: Path  # checkpoint or .npy
    facts: dict[str, Any] | None = None  # backend, recipe, seed, step, checkpoint; None for .npy
    engine: Engine | None = None  # who draws; None for .npy
    out: Path | None = None  # where the scores go


def subject(name: str, engine: str) -> Subject:
    """What a name on the command line means, or UserError."""
    path = Path(name)
    if path.suffix == ".npy" and checkpoint.exists(path):
        return Subject(name, path)
    file = checkpoint.find(path, " or .npy file")
    saved = checkpoint.load(file)
    if saved.config.architecture != "mnist28":
        raise UserError(
            f"{name} has the architecture {saved.config.architecture}; the extractor knows the "
            "28x28 digits of mnist28 only."
        )
    in_run = (file.parent / "config.json").exists()
    out = file.parent / FILE_NAME if in_run else None
    return Subject(name, file, _facts(file, saved), _engine(engine, saved.backend), out)


def _facts(file: Path, saved: checkpoint.Checkpoint) -> dict[str, Any]:
    """What a record tells of the checkpoint that was scored."""
    return {
        "backend": saved.backend,
        "recipe": saved.config.recipe,
        "seed": saved.config.seed,
        "step": saved.step,
        "checkpoint": _sha256(file),
    }


def _sha256(file: Path) -> str:
    return hashlib.sha256(checkpoint.read_regular(file)).hexdigest()


@contextlib.contextmanager
def snapshot(subject: Subject) -> Iterator[Subject]:
    """The same with a copy of its checkpoint, for the time of a `with` block: a run that trains
    saves a newer one while it is scored."""
    if subject.engine is None:
        yield subject
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = Path(shutil.copyfile(subject.file, Path(folder) / checkpoint.FILE_NAME))
        except OSError as error:
            raise UserError(f"{subject.file} cannot be copied ({error.strerror}).") from None
        yield dataclasses.replace(subject, file=file, facts=_facts(file, checkpoint.load(file)))


def _engine(wanted: str, trained_by: str) -> Engine:
    if wanted != "auto":
        return engines.choose(wanted)[0]
    for name in (trained_by, *ENGINES):
        if name in ENGINES and not ENGINES[name].missing:
            return ENGINES[name]
    raise UserError("No backend is installed to draw samples with; run `make setup-pytorch`.")


def images_of(subject: Subject, count: int, seed: int) -> NDArray[np.uint8]:
    """The images to score, (N, 28, 28) uint8: drawn by a process of the engine, or read."""
    if subject.engine is None:
        return read_images(subject.file, count)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.npy"
        module = f"{subject.engine.package}.sample"
        arguments = ("--count", count, "--seed", seed, "--out", out)
        process = engines.start(subject.engine, module, subject.file.resolve(), *arguments)
        engines.finish(subject.engine, process)
        return read_images(out, count)


def read_images(path: Path, count: int) -> NDArray[np.uint8]:
    """The first `count` images of a .npy file, (N, 28, 28) uint8, or UserError."""
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        # Mapped: a header that declares more than there is costs no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays")
    except Exception as error:  # of a broken header numpy raises whatever its parsers do
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as an array of images ({reason}).") from None
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or array.shape[1:] != (28, 28):
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}; images are uint8 of shape "
            "(N, 28, 28), as `sample --out x.npy` writes them."
        )
    return np.ascontiguousarray(array[:count])


# ------------------------------------------------------------------ scores


def evaluate(subject: Subject, scorer: Scorer, count: int, seed: int) -> dict[str, Any]:
    """Score one thing; its record, also written to the run's quality.json."""
    with snapshot(subject) as scored:
        images = images_of(scored, count, seed)
    if len(images) <= scorer.extractor.dimension:
        raise UserError(
            f"{subject.name} holds {len(images)} images; a covariance of "
            f"{scorer.extractor.dimension} features needs more than that many, and 10000 are usual."
        )
    samples: dict[str, Any] = {"count": len(images)}
    if subject.engine is not None:
        samples |= {"seed": seed, "engine": subject.engine.name}
    record = {
        "format": FORMAT,
        **(scored.facts or {}),
        "samples": samples,
        "reference": {"name": "MNIST test digits", "count": COUNT},
        "extractor": {"sha256": EXTRACTOR_SHA256, "test_accuracy": scorer.extractor.test_accuracy},
        "measures": scorer.measures(images),
        "floor": scorer.floor(len(images)),
        "versions": {
            "numpy": np.__version__,
            "onnxruntime": importlib.metadata.version("onnxruntime"),
            "python": platform.python_version(),
        },
    }
    if subject.out is not None:
        with commandline.writing(subject.out):
            write_json(subject.out, record)
    return record


def scores(run: Path, engine: Engine, scorer: Scorer) -> dict[str, Any]:
    """A run's record: its quality.json, if that has the scores of this state drawn by this engine;
    else it is scored now."""
    record = stored(run)
    samples = {"count": COUNT, "seed": SAMPLE_SEED, "engine": engine.name}
    if record and record.get("format") == FORMAT and record["samples"] == samples:
        return record
    print(f"scoring {run} ...", flush=True)
    return evaluate(subject(str(run), engine.name), scorer, COUNT, SAMPLE_SEED)


def stored(run: Path) -> dict[str, Any] | None:
    """A run's quality.json, if it is complete, of its present checkpoint and by this extractor."""
    record = runs.read_json(run / FILE_NAME)
    try:
        numbers = (record["samples"]["count"], record["extractor"]["test_accuracy"])
        if (
            record["extractor"]["sha256"] == EXTRACTOR_SHA256
            and is_complete(record["measures"])
            and is_complete(record["floor"])
            and all(map(limits.is_number, numbers))
            and record["checkpoint"] == _sha256(run / checkpoint.FILE_NAME)
        ):
            return record
    except (OSError, KeyError, TypeError):
        pass
    return None


def mean_and_spread(
    values: Sequence[dict[str, float]],
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Mean and standard deviation (n - 1) of each measure over runs; None for a single run."""
    stacked = {key: np.array([v[key] for v in values]) for key in values[0]}
    means = {key: float(column.mean()) for key, column in stacked.items()}
    if len(values) == 1:
        return means, None
    return means, {key: float(column.std(ddof=1)) for key, column in stacked.items()}


def bands(
    scored: Iterable[tuple[tuple[str, str], dict[str, float]]],
) -> list[tuple[tuple[str, str], int, dict[str, float], dict[str, float] | None]]:
    """((engine, recipe), measures) of runs -> (that pair, count, mean, spread) where there are more
    than one of it."""
    groups: dict[tuple[str, str], list[dict[str, float]]] = {}
    for key, measures in scored:
        groups.setdefault(key, []).append(measures)
    return [(key, len(v), *mean_and_spread(v)) for key, v in groups.items() if len(v) > 1]


# ------------------------------------------------------------------ what is printed


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def cells(values: dict[str, float], spreads: dict[str, float] | None) -> list[str]:
    """Each measure as text. A single run has one spread of its own, of the kernel distance."""
    spreads = spreads or {"kernel_distance": values["kernel_distance_spread"]}
    return [
        f"{values[key]:.{digits}f}" + (f" ± {spreads[key]:.{digits}f}" if key in spreads else "")
        for key, (_, digits) in MEASURES.items()
    ]


def main() -> None:
    began = time.perf_counter()
    with commandline.command():
        arguments, _ = commandline.parse(
            EvaluateArguments,
            sys.argv[1:],
            prog="python -m compare.evaluate",
            description="Score runs, or images in a file, against the MNIST test digits.",
        )
        if not arguments.runs:
            raise UserError("The name of a run or file is missing; see --help.")
        subjects = [subject(name, arguments.engine) for name in arguments.runs]
        scorer = Scorer(arguments.data_dir)
        records = [evaluate(s, scorer, arguments.count, arguments.seed) for s in subjects]
    rows = [["real digits, held out", *cells(records[0]["floor"], None)]]
    scored = []
    for each, record in zip(subjects, records, strict=True):
        rows.append([each.name, *cells(record["measures"], None)])
        if each.facts is not None:
            scored.append(((record["backend"], record["recipe"]), record["measures"]))
    for (backend, recipe), count, mean, spread in bands(scored):
        rows.append([f"{backend}, {recipe}: mean of {count}", *cells(mean, spread)])
    print(table(["", *(title for title, _ in MEASURES.values())], rows))
    for each in subjects:
        if each.out is not None:
            print(f"{each.name} -> {each.out}")
    accuracy = 100 * scorer.extractor.test_accuracy
    print(
        f"{records[0]['samples']['count']} images against {COUNT} test digits, extractor "
        f"{EXTRACTOR_SHA256[:12]} ({accuracy:.2f}% accurate), {time.perf_counter() - began:.0f} s"
    )
