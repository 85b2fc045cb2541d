"""Score runs against real images: `python -m compare.evaluate RUN_OR_CHECKPOINT_OR_NPY...`.

Samples of each against real images that no run trains on, beside the floor: what as many other real
images score. Of mnist28's digits 10,000 samples against the 10,000 test digits, and as many
training digits that no run and no extractor has seen (scorer.py); for any other data set
see pictures.py. A run's scores go to its `quality.json`:

    format       1
    backend, recipe, seed, step    of the training
    checkpoint   sha256 of the checkpoint file
    samples      count, seed of the noise, engine that drew them
    reference    the real images' name and count
    extractor    sha256 and test accuracy; null where no digit is read
    measures     name -> number, see the scorer's columns
    floor        the same of real images
    versions     of numpy, Python, and onnxruntime where a digit is read
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import platform
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

from common import checkpoint, commandline, config, limits
from common.catalogue import CATALOGUE
from common.checkpoint import write_json
from common.config import SIDES, Config
from common.limits import UserError
from compare import engines, runs
from compare.engines import Engine
from compare.quality import others
from compare.quality.pictures import STACKED, PictureScorer, columns_of, judge
from compare.quality.scorer import (
    EXTRACTOR_SHA256,
    MEASURES,
    Columns,
    Kind,
    Scorer,
    is_complete,
)

FORMAT = 1
FILE_NAME = "quality.json"
SAMPLE_SEED = 1  # of the noise behind what is scored


@dataclass(frozen=True)
class EvaluateArguments:
    """What to score."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = {"count": limits.whole_number(129, STACKED)}

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories and checkpoint files; .npy or .npz files of images, uint8 or floats in [0, 1]
    or [-1, 1], channels last or first; folders of pictures. All of one data set."""

    dataset: str | None = None
    """What images in files are compared with: a data set's name, or the path of a folder (default:
    mnist); or where the folder lies now that a run was trained on."""

    count: int | None = None
    """Samples of each; fewer give higher distances. (default: 10,000 of digits, 25,600 of
    stacked-mnist, else 8,192)"""

    seed: int = SAMPLE_SEED
    """Seed of the samples' noise. [0, 2**63)"""

    engine: Literal["auto", "pytorch", "tensorflow", "keras", "keras-torch", "keras-jax"] = "auto"
    """Who draws the samples; auto takes the one that trained the run, if it is installed."""

    data_dir: str = "data"
    """Folder of the data set."""


# ------------------------------------------------------------------ what is scored


@dataclass(frozen=True)
class Subject:
    """One thing to score, checked: a run's checkpoint, or images in a file or folder."""

    name: str
    file: Path  # checkpoint, .npy, .npz or folder
    config: Config  # what it was trained on, or of images what --dataset and the shape say
    facts: dict[str, Any] | None = None  # backend, recipe, seed, step, checkpoint; None of images
    engine: Engine | None = None  # who draws; None of images
    out: Path | None = None  # where the scores go
    images: others.Images | None = None

    @property
    def note(self) -> str:
        """Of images, what was found that nobody said."""
        return self.images.taken_for if self.images else ""


def subject(name: str, engine: str, dataset: str | None = None) -> Subject:
    """What a name on the command line means, or UserError. dataset: as the flag."""
    path = Path(name)
    if others.are_images(path):
        images = others.find(path)
        return Subject(name, path, _config_of(images, dataset or "mnist"), images=images)
    file = checkpoint.find(path, ", a .npy or .npz file, or a folder of pictures")
    saved = checkpoint.load(file)
    settings = saved.config
    if dataset is not None:
        if settings.dataset in CATALOGUE:
            raise UserError(
                f"{name} was trained on {settings.dataset} and is compared with nothing else; "
                "leave out --dataset, which is for images in files and for runs of a folder."
            )
        settings = Config(**config.to_json(settings) | {"dataset": dataset})
    in_run = (file.parent / "config.json").exists()
    out = file.parent / FILE_NAME if in_run else None
    return Subject(
        name, file, settings, _facts(file, saved), engines.able(engine, saved.backend), out
    )


def _config_of(images: others.Images, dataset: str) -> Config:
    """What draws such images, if it is trained on a data set; or UserError."""
    side = images.shape[0] if len(images.shape) == 3 else 0
    if dataset in CATALOGUE:
        small = side == 28 == CATALOGUE[dataset].side
        found = Config(dataset=dataset, architecture="mnist28" if small else "dcgan")
    elif side == 28:
        found = Config(dataset=dataset, architecture="mnist28")
    else:
        channels = 1 if images.shape[2:] == (1,) else 3
        image_size = side if side in SIDES else SIDES[0]
        found = Config(dataset=dataset, image_size=image_size, channels=channels)
    _check_images(images, Kind.of(found))
    return found


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


def check_kind(subject: Subject, kind: Kind) -> None:
    """Raise UserError unless that is what its images are."""
    found = Kind.of(subject.config)
    if found != kind:
        raise UserError(
            f"{subject.name} has images of {found} and cannot be scored with those of {kind}; give "
            "it to `python -m compare.evaluate` alone."
        )


@contextlib.contextmanager
def snapshot(subject: Subject) -> Iterator[Subject]:
    """The same with a copy of its checkpoint, for the time of a `with` block (runs.copied)."""
    if subject.engine is None:
        yield subject
        return
    with runs.copied(subject.file) as file:
        yield dataclasses.replace(subject, file=file, facts=_facts(file, checkpoint.load(file)))


def images_of(subject: Subject, count: int, seed: int) -> NDArray[np.uint8]:
    """The images to score, as read_images has them: drawn by a process of the engine, or read."""
    kind = Kind.of(subject.config)
    if subject.images is not None:
        return _read(subject.images, count, kind)
    assert subject.engine is not None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.npy"
        module = f"{subject.engine.package}.sample"
        arguments = ("--count", count, "--seed", seed, "--out", out)
        process = engines.start(subject.engine, module, subject.file.resolve(), *arguments)
        engines.finish(subject.engine, process)
        return read_images(out, count, kind)


def read_images(path: Path, count: int, kind: Kind = Scorer.kind) -> NDArray[np.uint8]:
    """The first `count` images of a file or folder, (N, H, W) uint8, or (N, H, W, C) with C > 1; or
    UserError."""
    return _read(others.find(path), count, kind)


def _read(images: others.Images, count: int, kind: Kind) -> NDArray[np.uint8]:
    _check_images(images, kind)
    array = images.read(count, kind.shape)
    return array[..., 0] if kind.shape[2] == 1 else array


def _check_images(images: others.Images, kind: Kind) -> None:
    """Raise UserError unless they can be scored as that."""
    values = images.values
    if values is not None and (
        images.shape != kind.shape or not (values.dtype == np.uint8 or images.scale)
    ):
        shape = kind.shape[:2] if kind.shape[2] == 1 else kind.shape
        raise UserError(
            f"{images.path} holds {images.stored}; images of {kind.dataset} are "
            f"uint8, or floats in [0, 1] or [-1, 1], of shape (N, {', '.join(map(str, shape))})."
        )


# ------------------------------------------------------------------ scores


def evaluate(
    subject: Subject, scorer: Scorer | PictureScorer, count: int, seed: int
) -> dict[str, Any]:
    """Score one thing; its record, also written to the run's quality.json."""
    check_kind(subject, scorer.kind)
    with snapshot(subject) as scored:
        images = images_of(scored, count, seed)
    if len(images) < scorer.least:
        raise UserError(
            f"{subject.name} holds {len(images)} images; at least {scorer.least} are needed, "
            f"and {scorer.count} are usual."
        )
    samples: dict[str, Any] = {"count": len(images)}
    if subject.engine is not None:
        samples |= {"seed": seed, "engine": subject.engine.name}
    record = {
        "format": FORMAT,
        **(scored.facts or {}),
        "samples": samples,
        "reference": scorer.reference(len(images)),
        "extractor": scorer.extractor and scorer.extractor.facts,
        "measures": scorer.measures(images),
        "floor": scorer.floor(len(images)),
        "versions": {
            "numpy": np.__version__,
            **(scorer.extractor.versions if scorer.extractor else {}),
            "python": platform.python_version(),
        },
    }
    if subject.out is not None:
        with commandline.writing(subject.out):
            write_json(subject.out, record)
    return record


def scores(run: Path, engine: Engine, scorer: Scorer | PictureScorer) -> dict[str, Any]:
    """A run's record: its quality.json, if that has the scores of this state drawn by this engine;
    else it is scored now."""
    record = stored(run)
    samples = {"count": scorer.count, "seed": SAMPLE_SEED, "engine": engine.name}
    if record and record.get("format") == FORMAT and record["samples"] == samples:
        return record
    print(f"scoring {run} ...", flush=True)
    return evaluate(subject(str(run), engine.name), scorer, scorer.count, SAMPLE_SEED)


def stored(run: Path) -> dict[str, Any] | None:
    """A run's quality.json, if it is complete, of its present checkpoint and by this extractor."""
    record = runs.read_json(run / FILE_NAME)
    try:
        columns = columns_of(config.from_json(runs.read_json(run / "config.json")))
        extractor, numbers = record["extractor"], [record["samples"]["count"]]
        if extractor is not None:
            numbers.append(extractor["test_accuracy"])
        if (
            (extractor is None or extractor["sha256"] == EXTRACTOR_SHA256)
            and isinstance(record["reference"]["name"], str)
            and is_complete(record["measures"], columns)
            and is_complete(record["floor"], columns)
            and all(map(limits.is_number, numbers))
            and record["checkpoint"] == _sha256(run / checkpoint.FILE_NAME)
        ):
            return record
    except (OSError, KeyError, TypeError, UserError):
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
    scored: Iterable[tuple[tuple[str, ...], dict[str, float]]],
) -> list[tuple[tuple[str, ...], int, dict[str, float], dict[str, float] | None]]:
    """((engine, recipe, ...), measures) of runs -> (that key, count, mean, spread) where there are
    more than one of it."""
    groups: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for key, measures in scored:
        groups.setdefault(key, []).append(measures)
    return [(key, len(v), *mean_and_spread(v)) for key, v in groups.items() if len(v) > 1]


# ------------------------------------------------------------------ what is printed


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def cells(
    values: dict[str, float], spreads: dict[str, float] | None, columns: Columns = MEASURES
) -> list[str]:
    """Each measure as text. A single run has one spread of its own, of the kernel distance."""
    if spreads is None and "kernel_distance" in columns:
        spreads = {"kernel_distance": values["kernel_distance_spread"]}
    spreads = spreads or {}
    return [
        f"{values[key]:.{digits}f}" + (f" ± {spreads[key]:.{digits}f}" if key in spreads else "")
        for key, (_, digits) in columns.items()
    ]


def main() -> None:
    began = time.perf_counter()
    with commandline.command():
        arguments, _ = commandline.parse(
            EvaluateArguments,
            sys.argv[1:],
            prog="python -m compare.evaluate",
            description="Score runs, or images in a file, against real images.",
        )
        if not arguments.runs:
            raise UserError("The name of a run or file is missing; see --help.")
        subjects = [subject(n, arguments.engine, arguments.dataset) for n in arguments.runs]
        for each in subjects:
            check_kind(each, Kind.of(subjects[0].config))
        scorer = judge(subjects[0].config, arguments.data_dir)
        count = arguments.count or scorer.count
        if count > scorer.count:
            raise UserError(
                f"--count takes a whole number up to {scorer.count} for {scorer.kind}, not {count}."
            )
        records = [evaluate(s, scorer, count, arguments.seed) for s in subjects]
    columns = scorer.columns
    floors = {record["samples"]["count"]: record["floor"] for record in records}
    rows = [
        [
            scorer.floor_name + (f", {number}" if number < scorer.count else ""),
            *cells(floor, None, columns),
        ]
        for number, floor in sorted(floors.items(), reverse=True)
    ]
    scored = []
    for each, record in zip(subjects, records, strict=True):
        rows.append([each.name, *cells(record["measures"], None, columns)])
        if each.facts is not None:
            scored.append(((record["backend"], record["recipe"]), record["measures"]))
    for (backend, recipe), number, mean, spread in bands(scored):
        rows.append([f"{backend}, {recipe}: mean of {number}", *cells(mean, spread, columns)])
    print(table(["", *(title for title, _ in columns.values())], rows))
    for each in subjects:
        if each.note:
            print(f"{each.name}: taken for {each.note}.")
        if each.out is not None:
            print(f"{each.name} -> {each.out}")
    reference = records[0]["reference"]
    by = f", {scorer.extractor}" if scorer.extractor else ""
    print(
        f"{' and '.join(map(str, sorted(floors, reverse=True)))} images against "
        f"{reference['count']} "
        f"{reference['name']}{by}, "
        f"{time.perf_counter() - began:.0f} s"
    )
