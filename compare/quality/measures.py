"""How good a set of images is: the measures, as formulas on arrays (numpy only).

Features are those of a classifier; pixels are images flattened and divided by 255. Sets are
(N, D) float32; sums that cancel are taken in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

NEIGHBOURS = 3  # k of precision and recall, as Kynkäänniemi et al. chose it
SUBSETS = 10  # disjoint parts whose kernel distances give mean and spread
CONFIDENT = 0.95  # probability from which a digit counts as a confident one
BLOCK = 1000  # rows of a distance matrix held at once


@dataclass(frozen=True)
class Features:
    """What the measures need to know of one set of N images."""

    features: NDArray[np.float32]  # (N, D)
    probabilities: NDArray[np.float32]  # (N, classes)
    pixels: NDArray[np.float32]  # (N, H * W * C) in [0, 1]


def measures(images: Features, real: Features, training: NDArray[np.float32]) -> dict[str, float]:
    """All measures of one set of images against real ones. training: pixels (M, H * W * C)."""
    kernel, kernel_spread = kernel_distance(images.features, real.features)
    precision, recall = precision_recall(images.features, real.features)
    counts = class_counts(images.probabilities)
    to_training = nearest_distances(images.pixels, training)
    to_others = nearest_distances(images.pixels)
    return {
        "frechet_distance": frechet_distance(images.features, real.features),
        "kernel_distance": kernel,
        "kernel_distance_spread": kernel_spread,
        "precision": precision,
        "recall": recall,
        "class_kl": class_divergence(counts, class_counts(real.probabilities)),
        "rarest_class": float(counts.min() / counts.sum()),
        "confident": float((images.probabilities.max(1) >= CONFIDENT).mean()),
        "to_training_median": float(np.median(to_training)),
        "to_training_low": float(np.quantile(to_training, 0.01)),
        "to_samples_median": float(np.median(to_others)),
        "to_samples_low": float(np.quantile(to_others, 0.01)),
    }


def frechet_distance(a: Floats, b: Floats) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Heusel et al. 2017, equation 6.

    The squared 2-Wasserstein distance of the Gaussians with the sets' means and covariances
    (Dowson & Landau 1982). a, b: (N, D), (M, D).
    """
    (m1, c1), (m2, c2) = _moments(a), _moments(b)
    # tr (C1 C2)^(1/2) by the symmetric C1^(1/2) C2 C1^(1/2), which has the same eigenvalues.
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ c2 @ root)
    distance = np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2)
    return float(max(distance - 2 * np.sqrt(mixed.clip(0)).sum(), 0))


def _moments(x: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = x.astype(np.float64)
    return x.mean(0), np.cov(x, rowvar=False)


def kernel_distance(a: Floats, b: Floats, subsets: int = SUBSETS) -> tuple[float, float]:
    """Mean and standard deviation, over disjoint subsets, of the unbiased squared MMD.

    Kernel (x.y / D + 1)^3: Bińkowski et al. 2018, section 4; the estimator is Gretton et al.
    2012, lemma 6. It is 0 on average for two samples of one distribution, so it may be negative.
    Subset i is every subsets-th row from row i: drawn without chance, and blind to file order.
    """
    parts = [_squared_mmd(a[i::subsets], b[i::subsets]) for i in range(subsets)]
    return float(np.mean(parts)), float(np.std(parts, ddof=1)) if subsets > 1 else 0.0


def _squared_mmd(a: Floats, b: Floats) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)

    def kernel(x: Floats, y: Floats) -> Floats:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: Floats) -> float:  # mean over pairs of different rows
        k = kernel(x, x)
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    return float(among(a) + among(b) - 2 * kernel(a, b).mean())


def precision_recall(images: Floats, real: Floats, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Shares of images inside the real set, and of real ones inside the images' set.

    Inside means: within the distance to its k-th neighbour of at least one member. Kynkäänniemi
    et al. 2019, equations 1 and 2.
    """
    center = real.mean(0)  # distances stay, float32 cancels less
    images, real = images - center, real - center
    image_radii, real_radii = _kth_distances(images, k), _kth_distances(real, k)
    in_real = np.zeros(len(images), bool)
    in_images = np.zeros(len(real), bool)
    for rows, squared in _squared_distances(images, real):
        in_real[rows] = (squared <= real_radii).any(1)
        in_images |= (squared <= image_radii[rows, None]).any(0)
    return float(in_real.mean()), float(in_images.mean())


def _kth_distances(x: Floats, k: int) -> Floats:
    """Squared distance of each row to its k-th nearest other row, (N,)."""
    radii = np.empty(len(x), x.dtype)
    for rows, squared in _squared_distances(x):
        radii[rows] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii


def nearest_distances(x: Floats, others: Floats | None = None) -> NDArray[np.float64]:
    """Euclidean distance of each row to its nearest row of `others`, or of the rest of x: (N,).

    Small to the training images: memorised; small to the rest: collapsed. A copy is at exactly 0:
    the winner is found in float32, its distance taken from the difference.
    """
    candidates = x if others is None else others
    difference = x - candidates[nearest_rows(x, others)]
    return np.sqrt(np.sum(difference**2, axis=1, dtype=np.float64))


def nearest_rows(x: Floats, others: Floats | None = None) -> NDArray[np.int64]:
    """The index of each row's nearest row of `others`, or of the rest of x: (N,)."""
    nearest = np.empty(len(x), np.int64)
    for rows, squared in _squared_distances(x, others):
        nearest[rows] = squared.argmin(1)
    return nearest


def _squared_distances(a: Floats, b: Floats | None = None) -> Iterator[tuple[slice, Floats]]:
    """Blocks of rows of |a|^2 - 2 a.b + |b|^2: (rows, (BLOCK, M)), one matrix product each.

    b: by default a itself, and each row infinitely far from itself.
    """
    others = a if b is None else b
    a_norms, norms = np.einsum("nd,nd->n", a, a), np.einsum("nd,nd->n", others, others)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = (-2 * a[rows]) @ others.T
        squared += norms
        squared += a_norms[rows, None]
        np.maximum(squared, 0, out=squared)
        if b is None:  # by its place: rounding moves it from 0
            places = np.arange(len(squared))
            squared[places, places + start] = np.inf
        yield rows, squared


def class_counts(probabilities: Floats) -> NDArray[np.int64]:
    """How many images each class has: (N, classes) -> (classes,)."""
    return np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])


def class_divergence(counts: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """Kullback-Leibler divergence KL(images' classes || data's) in nats; a missing class adds 0."""
    p, q = counts / counts.sum(), wanted / wanted.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * np.log(p / q), 0.0).sum())


def modes(digits: NDArray[np.int64]) -> tuple[int, float]:
    """How many of the 1,000 numbers occur among (N, 3) digits, and KL(theirs || uniform) in nats.

    Each of three channels shows a digit, so a picture is one of 1,000: Metz et al. 2017, section
    3.3.1. All alike: 0; a single one: log 1000.
    """
    counts = np.bincount(digits @ np.array([100, 10, 1]), minlength=1000)
    return int((counts > 0).sum()), class_divergence(counts, np.ones(1000, np.int64))
