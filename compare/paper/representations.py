"""Section 5: D's convolutions as features for another task, by an L2-SVM on top of them.

The paper trains on one data set (ImageNet) and classifies another; here both are the run's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import architecture
from compare.paper.subject import Floats, Images, Networks, Subject, drawn

DRAWN = 105  # purpose of Philox's key: which images are the few
CLASSES = 10
FEW, DRAWS = 100, 10  # labelled images of a class, and how often they are drawn
COMPONENTS = 100  # of PCA
STRENGTHS = (0.1, 1.0, 10.0)  # of the SVM's errors against its weights' norm, to choose from
CHOOSE = 10_000  # images that the strength for all labels is chosen with
LARGEST = 80_000_000  # values of the labelled images' features: 50,000 images of mnist28
SETS = ("pixels", "pca", "random", "untrained", "trained")
TITLES = {
    "pixels": "pixels",
    "pca": "their first principal components",
    "random": "random convolutions of D's shape",
    "untrained": "untrained D",
    "trained": "trained D",
}
TOLERANCE = 0.1  # of the SVM's solver; 0.01 moves an accuracy by 0.0001 and takes a fifth longer

# What the paper reports, in percent of test images that are classified as they are labelled.
PAPER = {
    "cifar10": {"all": 82.8, "table": 1, "images": 50_000},
    "svhn": {"few": 100 - 22.48, "table": 2, "images": 1_000},
}


class Split(NamedTuple):
    """Images as features, one a row, and their classes."""

    features: Floats  # (N, F)
    labels: NDArray[np.uint8]  # (N,)


def study(subject: Subject, networks: Networks, count: int | None = None) -> dict[str, Any]:
    """Accuracy on test images for every set of features: on `count` labelled images, and on 1,000,
    100 of a class, ten times.

    count: at most; None: all, or as many as have LARGEST values.
    """
    labels = {split: subject.labels(split) for split in ("train", "test")}
    assert subject.held_out is not None
    images = {"train": subject.training, "test": subject.held_out}
    validation = len(labels["train"]) // 5  # the last ones
    features = architecture.of(subject.config).features
    most = len(labels["train"]) if count is None else min(count, len(labels["train"]))
    if count is None:
        most = min(most, max(LARGEST // features, 2 * CLASSES * FEW))

    def row(name: str) -> dict[str, Any]:
        found = {split: features_of(name, images[split], networks) for split in images}
        if name == "pca":
            found = project(found)
        scale = np.sqrt((found["train"].astype(np.float64) ** 2).sum(1).mean())
        parts = {s: Split(x / np.float32(scale), labels[s]) for s, x in found.items()}
        del found
        return {"name": name, "features": parts["train"].features.shape[1]} | _accuracies(
            parts["train"], parts["test"], validation, most
        )

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:  # the solver is one thread
        rows = list(pool.map(row, SETS))
    return {
        "rows": rows,
        "count": most,
        "available": len(labels["train"]),
        "few": FEW * CLASSES,
        "draws": DRAWS,
        "paper": PAPER.get(subject.config.dataset),
    }


def features_of(name: str, images: Images, networks: Networks) -> Floats:
    """Images as one of SETS, (N, F) float32."""
    if name in ("pixels", "pca"):
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return networks.features(images, name)  # type: ignore[arg-type]


def project(pixels: dict[str, Floats]) -> dict[str, Floats]:
    """Both splits' rows on the first principal components of the training images."""
    mean = pixels["train"].mean(0)
    centred = pixels["train"] - mean
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    first = vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
    return {split: (x - mean) @ first for split, x in pixels.items()}


def table(found: dict[str, Any]) -> str:
    """The rows in Markdown, in percent, with the paper's own where it has one for the data set."""
    lines = [
        f"| features | number | {found['few']:,} labels | {found['count']:,} labels |",
        "|" + "---|" * 4,
    ]
    for row in found["rows"]:
        few = f"{100 * row['few_mean']:.2f} ± {100 * row['few_spread']:.2f}"
        title = TITLES[row["name"]]
        lines.append(f"| {title} | {row['features']:,} | {few} | {100 * row['all']:.2f} |")
    if found["paper"] is not None:
        paper = found["paper"]
        few, every = (f"{paper[key]:.2f}" if key in paper else "" for key in ("few", "all"))
        lines.append(
            f"| *the paper's, D trained on ImageNet (table {paper['table']}, "
            f"{paper['images']:,} labels)* | 28,672 | {few} | {every} |"
        )
    return "\n".join(lines)


def _accuracies(train: Split, test: Split, validation: int, most: int) -> dict[str, Any]:
    """Accuracy on the test images: `few`, one for each draw, and `all`."""
    known = Split(train.features[:-validation], train.labels[:-validation])
    unseen = Split(train.features[-validation:], train.labels[-validation:])
    strength, _ = best(part(known, few(known.labels, 0)), unseen)
    draws = [few(known.labels, draw) for draw in range(DRAWS)]
    accuracies = [accuracy(part(known, draw), test, strength) for draw in draws]
    chosen, _ = best(part(known, range(min(CHOOSE, most))), unseen)
    everything = accuracy(part(train, range(most)), test, chosen)
    return {
        "few": accuracies,
        "few_mean": float(np.mean(accuracies)),
        "few_spread": float(np.std(accuracies, ddof=1)),
        "few_strength": strength,
        "all": everything,
        "all_strength": chosen,
    }


def few(labels: NDArray[np.uint8], draw: int) -> NDArray[np.int64]:
    """The indices of FEW images of each class, drawn."""
    order = drawn(DRAWN, draw, len(labels))
    return np.concatenate([order[labels[order] == each][:FEW] for each in range(CLASSES)])


def part(split: Split, indices: Iterable[int]) -> Split:
    """Some of the images."""
    chosen = np.fromiter(indices, np.int64)
    return Split(split.features[chosen], split.labels[chosen])


def best(train: Split, validation: Split) -> tuple[float, float]:
    """The strength that classifies the validation images best, and their accuracy."""
    found = [(accuracy(train, validation, strength), -strength) for strength in STRENGTHS]
    most, strength = max(found)
    return -strength, most


def accuracy(train: Split, test: Split, strength: float) -> float:
    """The share of test images that a linear L2-SVM of the training images classifies rightly: one
    of each class against the others, with squared hinge loss."""
    from sklearn.svm import LinearSVC

    svm = LinearSVC(C=strength, dual=True, tol=TOLERANCE, random_state=0)
    return float(svm.fit(*train).score(*test))
