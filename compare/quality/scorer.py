"""What samples are compared with, and by what: the extractor and the real digits."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import datasets, limits
from common.config import Config
from common.limits import UserError
from compare.quality import measures as quality

EXTRACTOR = Path(__file__).with_name("extractor.onnx")
EXTRACTOR_SHA256 = "0635b1199908ce9d6b3c262e4e3db22107d9272c705924d271d2011e8c815573"
COUNT = 10_000  # test digits, held-out digits, and the most samples that are used
TRAIN_IMAGES = 50_000  # the training digits after them are the floor's
FEATURES = 128  # of the extractor
BATCH = 500  # images per call of the extractor

Columns = dict[str, tuple[str, int]]  # measure -> (heading, digits shown)

# to_...: pixel distances, see compare/quality/measures.py.
MEASURES: Columns = {
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


class Kind(NamedTuple):
    """What can be scored together: images of one data set and one shape."""

    dataset: str
    shape: tuple[int, int, int]  # (H, W, C)

    @staticmethod
    def of(config: Config) -> Kind:
        """The images that a Config trains on."""
        side = config.image_size
        return Kind(config.dataset, (side, side, config.channels))

    def __str__(self) -> str:
        return f"{self.dataset} at {' x '.join(map(str, self.shape))}"


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
        self.versions = {"onnxruntime": onnxruntime.__version__}

    @property
    def facts(self) -> dict[str, Any]:
        """What a record tells of it."""
        return {"sha256": EXTRACTOR_SHA256, "test_accuracy": self.test_accuracy}

    def __str__(self) -> str:
        accuracy = 100 * self.test_accuracy
        return f"extractor {EXTRACTOR_SHA256[:12]} ({accuracy:.2f}% accurate)"

    def __call__(self, images: NDArray[np.uint8]) -> quality.Features:
        """(N, 28, 28) uint8 -> features (N, 128), class probabilities (N, 10), pixels (N, 784)."""
        parts = [
            self._session.run(["features", "probabilities"], {"images": images[i : i + BATCH]})
            for i in range(0, len(images), BATCH)
        ]
        features, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        return quality.Features(features, probabilities, pixels(images))


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W) or (N, H, W, C) uint8 -> (N, H * W * C) float32 in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


class Scorer:
    """The extractor, the real digits, and what is measured with them."""

    kind = Kind("mnist", (28, 28, 1))
    columns = MEASURES
    count = COUNT  # samples that are usual, and the most that are used
    least = FEATURES + 1  # of a covariance
    floor_name = "real digits, held out"

    def __init__(self, data_dir: str) -> None:
        self.extractor = Extractor()
        self._train = datasets.mnist_images(data_dir, "train")[..., 0]
        self._real = self.extractor(datasets.mnist_images(data_dir, "t10k")[..., 0])
        self._training = pixels(self._train[:TRAIN_IMAGES])

    def reference(self, count: int) -> dict[str, Any]:
        """What so many images are compared with."""
        return {"name": "MNIST test digits", "count": COUNT}

    def measures(self, images: NDArray[np.uint8]) -> dict[str, float]:
        """(N, 28, 28) uint8 -> every measure against the test digits."""
        return quality.measures(self.extractor(images), self._real, self._training)

    def frechet_distance(self, images: NDArray[np.uint8]) -> float:
        """(N, 28, 28) uint8 -> the one measure, which is quick, against the test digits."""
        return quality.frechet_distance(self.extractor(images).features, self._real.features)

    @functools.cache  # noqa: B019 (one Scorer a process)
    def floor(self, count: int) -> dict[str, float]:
        """The same of so many held-out digits: what a perfect generator would reach."""
        return self.measures(self._train[TRAIN_IMAGES : TRAIN_IMAGES + count])


def is_complete(measures: Any, columns: Columns = MEASURES) -> bool:
    """Are these the numbers of the columns, and of the kernel distance the spread?"""
    names = [*columns, *(["kernel_distance_spread"] if "kernel_distance" in columns else [])]
    return isinstance(measures, dict) and all(limits.is_number(measures.get(n)) for n in names)
