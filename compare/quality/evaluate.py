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

import dataclasses
import functools
import hashlib
import importlib.metadata
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from common import checkpoint, commandline, datasets, limits
from common.checkpoint import write_json
from common.config import UserError
from compare import engines
from compare.engines import ENGINES, Engine
from compare.quality import measures as quality

EXTRACTOR = Path(__file__).with_name("extractor.onnx")
EXTRACTOR_SHA256 = "0635b1199908ce9d6b3c262e4e3db22107d9272c705924d271d2011e8c815573"
FORMAT = 1
FILE_NAME = "quality.json"
SAMPLE_SEED = 1  # of the noise behind what is scored
COUNT = 10_000  # test digits, held-out digits, and the most samples that are used
TRAIN_IMAGES = 50_000  # the training digits after them are the floor's
BATCH = 500  # images per call of the extractor

# Measure -> (heading, digits shown); to_...: pixel distances, see compare/quality/measures.py.
MEASURES = {
    "frechet_distance": ("Fréchet distance", 3),
    "kernel_distance": ("kernel distance", 4),
    "precision": ("precision (3-NN)", 3),
    "recall": ("recall (3-NN)", 3),
    "class_kl": ("KL of classes", 4),
    "rarest_class": ("rarest class", 3),
    "confident": ("confident digits", 3),
    "to_training_median": ("distance to training images", 2),
    "to_samples_median": ("distance to other samples", 2),
}


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


class Extractor:
    """The shipped classifier, run by onnxruntime; the same numbers for every backend."""

    def __init__(self) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                "The quality measures need onnxruntime, which is not installed; run "
                "`make setup-quality`."
            ) from None
        content = EXTRACTOR.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != EXTRACTOR_SHA256:
            raise UserError(
                f"{EXTRACTOR} has the SHA-256 {sha256} instead of {EXTRACTOR_SHA256}, so its "
                "scores would not be comparable; restore the file."
            )
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.test_accuracy = float(
            self._session.get_modelmeta().custom_metadata_map["test_accuracy"]
        )
        self.dimension = int(self._session.get_outputs()[0].shape[1])

    def __call__(self, images: NDArray[np.uint8]) -> quality.Features:
        """(N, 28, 28) uint8 -> features (N, 128), class probabilities (N, 10), pixels (N, 784)."""
        parts = [
            self._session.run(["features", "probabilities"], {"images": images[i : i + BATCH]})
            for i in range(0, len(images), BATCH)
        ]
        features, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        return quality.Features(features, probabilities, pixels(images))


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W) uint8 -> (N, H * W) float32 in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


class Judge:
    """The extractor, the real digits, and what is measured with them."""

    def __init__(self, data_dir: str) -> None:
        self.extractor = Extractor()
        self._train = datasets.mnist_images(data_dir, "train")[..., 0]
        self._real = self.extractor(datasets.mnist_images(data_dir, "t10k")[..., 0])
        self._training = pixels(self._train[:TRAIN_IMAGES])

    def measures(self, images: NDArray[np.uint8]) -> dict[str, float]:
        """(N, 28, 28) uint8 -> every measure against the test digits."""
        return quality.measures(self.extractor(images), self._real, self._training)

    def frechet_distance(self, images: NDArray[np.uint8]) -> float:
        """(N, 28, 28) uint8 -> the one measure, which is quick, against the test digits."""
        return quality.frechet_distance(self.extractor(images).features, self._real.features)

    @functools.cache  # noqa: B019 (one Judge a process)
    def floor(self, count: int) -> dict[str, float]:
        """The same of so many held-out digits: what a perfect generator would reach."""
        return self.measures(self._train[TRAIN_IMAGES : TRAIN_IMAGES + count])


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
        "checkpoint": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def frozen(subject: Subject, folder: Path) -> Subject:
    """The same with a copy of its checkpoint in the folder: a run that trains saves a newer one
    while it is scored."""
    if subject.engine is None:
        return subject
    try:
        file = Path(shutil.copyfile(subject.file, folder / checkpoint.FILE_NAME))
    except OSError as error:
        raise UserError(f"{subject.file} cannot be copied ({error.strerror}).") from None
    return dataclasses.replace(subject, file=file, facts=_facts(file, checkpoint.load(file)))


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


def evaluate(subject: Subject, judge: Judge, count: int, seed: int) -> dict[str, Any]:
    """Score one thing; its record, also written to the run's quality.json."""
    with tempfile.TemporaryDirectory() as folder:
        subject = frozen(subject, Path(folder))
        images = images_of(subject, count, seed)
    if len(images) <= judge.extractor.dimension:
        raise UserError(
            f"{subject.name} holds {len(images)} images; a covariance of "
            f"{judge.extractor.dimension} features needs more than that many, and 10000 are usual."
        )
    samples: dict[str, Any] = {"count": len(images)}
    if subject.engine is not None:
        samples |= {"seed": seed, "engine": subject.engine.name}
    record = {
        "format": FORMAT,
        **(subject.facts or {}),
        "samples": samples,
        "reference": {"name": "MNIST test digits", "count": COUNT},
        "extractor": {"sha256": EXTRACTOR_SHA256, "test_accuracy": judge.extractor.test_accuracy},
        "measures": judge.measures(images),
        "floor": judge.floor(len(images)),
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


def whole(measures: Any) -> bool:
    """Are these the numbers of MEASURES, and of the kernel distance the spread?"""
    names = (*MEASURES, "kernel_distance_spread")
    return isinstance(measures, dict) and all(limits.is_number(measures.get(n)) for n in names)


# ------------------------------------------------------------------ what is printed


def table(rows: Sequence[tuple[str, dict[str, float], dict[str, float] | None]]) -> str:
    """Rows of (name, values, spreads or None) as Markdown, one column a measure."""
    lines = [
        "| | " + " | ".join(title for title, _ in MEASURES.values()) + " |",
        "|---" * (len(MEASURES) + 1) + "|",
    ]
    for name, values, spreads in rows:
        lines.append(f"| {name} | " + " | ".join(cells(values, spreads)) + " |")
    return "\n".join(lines)


def cells(values: dict[str, float], spreads: dict[str, float] | None) -> list[str]:
    """Each measure as text. A single run has one spread of its own, of the kernel distance."""
    spreads = spreads or {"kernel_distance": values["kernel_distance_spread"]}
    return [
        f"{values[key]:.{digits}f}" + (f" ± {spreads[key]:.{digits}f}" if key in spreads else "")
        for key, (_, digits) in MEASURES.items()
    ]


def band(values: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float] | None]:
    """Mean and standard deviation (n - 1) of each measure over runs; None for a single run."""
    stacked = {key: np.array([v[key] for v in values]) for key in values[0]}
    means = {key: float(column.mean()) for key, column in stacked.items()}
    if len(values) == 1:
        return means, None
    return means, {key: float(column.std(ddof=1)) for key, column in stacked.items()}


def bands(
    runs: Iterable[tuple[tuple[str, str], dict[str, float]]],
) -> list[tuple[tuple[str, str], int, dict[str, float], dict[str, float] | None]]:
    """((engine, recipe), measures) of runs -> (that key, count, mean, spread) where there are more
    than one of it."""
    groups: dict[tuple[str, str], list[dict[str, float]]] = {}
    for key, measures in runs:
        groups.setdefault(key, []).append(measures)
    return [(key, len(v), *band(v)) for key, v in groups.items() if len(v) > 1]


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
        judge = Judge(arguments.data_dir)
        records = [evaluate(s, judge, arguments.count, arguments.seed) for s in subjects]
    floor = "real digits, held out"
    rows: list[tuple[str, dict[str, float], dict[str, float] | None]]
    rows = [(floor, records[0]["floor"], None)]
    runs = []
    for each, record in zip(subjects, records, strict=True):
        rows.append((each.name, record["measures"], None))
        if each.facts is not None:
            runs.append(((record["backend"], record["recipe"]), record["measures"]))
    for (backend, recipe), count, mean, spread in bands(runs):
        rows.append((f"{backend}, {recipe}: mean of {count}", mean, spread))
    print(table(rows))
    for each in subjects:
        if each.out is not None:
            print(f"{each.name} -> {each.out}")
    accuracy = 100 * judge.extractor.test_accuracy
    print(
        f"{records[0]['samples']['count']} images against {COUNT} test digits, extractor "
        f"{EXTRACTOR_SHA256[:12]} ({accuracy:.2f}% accurate), {time.perf_counter() - began:.0f} s"
    )
