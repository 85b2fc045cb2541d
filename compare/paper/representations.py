"""Section 5: D's convolutions as features for another task, by an L2-SVM on top of them.

The paper trains on one data set (ImageNet) and classifies another; here both are the run's own.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import architecture
from compare.paper.subject import Floats, Images, Networks, Subject, drawn
from compare.quality.scorer import pixels

DRAWN = 105  # purpose of Philox's key: which images are the few
CLASSES = 10
FEW, DRAWS = 100, 10  # labelled images of a class, and how often they are drawn
COMPONENTS = 100  # of PCA
STRENGTHS = (0.1, 1.0, 10.0)  # of the SVM's errors against its weights' norm, to choose from
CHOOSE = 5_000  # images that the strength for all labels is chosen with
LEAST = 2 * CLASSES * FEW  # images of a run that is tried
LARGEST = 80_000_000  # values of the labelled images' features: 50,000 images of mnist28
SETS = ("pixels", "pca", "random", "untrained", "trained")
TITLES = {
    "pixels": "pixels",
    "pca": "their first principal components",
    "random": "random convolutions of D's shape",
    "untrained": "untrained D",
    "trained": "trained D",
}
# Of the SVM's solver. On digits a tolerance of 0.01 moves an accuracy by 0.0001 and takes a fifth
# longer; where classes overlap, it would go on for a thousand passes.
TOLERANCE, PASSES = 0.1, 50

# What the paper reports, in percent of test images that are classified as they are labelled.
PAPER = {
    "cifar10": {"all": 82.8, "table": 1, "images": 50_000},
    "svhn": {"few": 100 - 22.48, "table": 2, "images": 1_000},
}


class Split(NamedTuple):
    """Images as features, one a row, and their classes."""

    features: Floats  # (N, F)
    labels: NDArray[np.uint8]  # (N,)


def study(subject: Subject, networks: Networks, count: int | None = None) -> dict[str, Any] | None:
    """Accuracy on test images for every set of features: on `count` labelled images, and on 1,000,
    100 of a class, ten times. None if the run has fewer than LEAST images.

    count: at most; None: all, or as many as have LARGEST values.
    """
    available = len(subject.training)
    if available < LEAST:
        return None
    most = max(LARGEST // architecture.of(subject.config).features, LEAST)
    most = min(available, most if count is None else count)
    # The strength is chosen on the last fifth, which then is trained on, too, if all images are.
    chosen_on = slice(available - available // 5, available)
    known = slice(0, min(most, chosen_on.start))
    labels, test = subject.labels("train"), subject.held_out
    assert test is not None

    def splits(name: str) -> tuple[Split, Split, Split]:
        images = (subject.training[known], subject.training[chosen_on], test)
        found = [features_of(name, each, networks) for each in images]
        if name == "pca":
            found = project(found)
        scale = np.sqrt(np.mean(np.einsum("ij,ij->i", found[0], found[0])))
        for x in found:
            x /= scale
        classes = (labels[known], labels[chosen_on], subject.labels("test"))
        return tuple(map(Split, found, classes))  # type: ignore[return-value]

    # Processes, not threads: the solver's random numbers are one stream in a process.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), spawn) as pool:
        found = {n: pool.submit(_accuracies, *splits(n), most == available) for n in SETS}
        rows = [{"name": name} | each.result() for name, each in found.items()]
    return {
        "rows": rows,
        "count": most,
        "available": available,
        "few": FEW * CLASSES,
        "draws": DRAWS,
        "paper": PAPER.get(subject.config.dataset),
    }


def features_of(name: str, images: Images, networks: Networks) -> Floats:
    """Images as one of SETS, (N, F) float32."""
    if name in ("pixels", "pca"):
        return pixels(images)
    return networks.features(images, name)  # type: ignore[arg-type]


def project(sets: list[Floats]) -> list[Floats]:
    """Rows of several sets on the first principal components of the first set's."""
    mean = sets[0].mean(0)
    centred = sets[0] - mean
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    first = vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
    return [(x - mean) @ first for x in sets]


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


def _accuracies(known: Split, unseen: Split, test: Split, everything: bool) -> dict[str, Any]:
    """Accuracy on the test images: `few`, one for each draw, and `all`: of the known images, and if
    `everything` of the unseen ones with which the strength was chosen."""
    strength = best(part(known, few(known.labels, 0)), unseen)
    draws = [few(known.labels, draw) for draw in range(DRAWS)]
    accuracies = [accuracy(part(known, draw), test, strength) for draw in draws]
    strength_all = best(part(known, range(min(CHOOSE, len(known.labels)))), unseen)
    if everything:
        known = Split(*(np.concatenate(pair) for pair in zip(known, unseen, strict=True)))
    return {
        "features": known.features.shape[1],
        "few": accuracies,
        "few_mean": float(np.mean(accuracies)),
        "few_spread": float(np.std(accuracies, ddof=1)),
        "few_strength": strength,
        "all": accuracy(known, test, strength_all),
        "all_strength": strength_all,
    }


def few(labels: NDArray[np.uint8], draw: int) -> NDArray[np.int64]:
    """The indices of FEW images of each class, drawn."""
    order = drawn(DRAWN, draw, len(labels))
    return np.concatenate([order[labels[order] == each][:FEW] for each in range(CLASSES)])


def part(split: Split, indices: Iterable[int]) -> Split:
    """Some of the images."""
    chosen = np.fromiter(indices, np.int64)
    return Split(split.features[chosen], split.labels[chosen])


def best(train: Split, validation: Split) -> float:
    """The strength that classifies the validation images best; of equals the smallest."""
    return max(STRENGTHS, key=lambda strength: (accuracy(train, validation, strength), -strength))


def accuracy(train: Split, test: Split, strength: float) -> float:
    """The share of test images that a linear L2-SVM of the training images classifies rightly: one
    of each class against the others, with squared hinge loss."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    svm = LinearSVC(C=strength, dual=True, tol=TOLERANCE, max_iter=PASSES, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(svm.fit(*train).score(*test))
