"""Section 6.2: what the maps of D's last convolution answer to, trained and untrained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture, images
from common.architecture import FEATURE_GRID
from compare.paper.probe import Weights
from compare.paper.subject import Floats, Images, Networks, Subject

SHOWN_MAPS, SHOWN = 6, 8  # maps of which pictures are shown, and how many of each
TOP = 100  # images that a map answers to most


def study(subject: Subject, networks: Networks) -> dict[str, Any]:
    """Of a trained and an untrained D, for each map of its last convolution: the share of one class
    among the 100 images that it answers to most; pictures and guided gradients of the first maps.
    """
    pictures = subject.training if subject.held_out is None else subject.held_out
    labels = None
    if subject.is_labelled:
        labels = subject.labels("train" if subject.held_out is None else "test")
    filters = last_filters(subject)
    found: dict[str, Any] = {"maps": filters, "top": TOP, "images": len(pictures), "pictures": {}}
    kinds: tuple[Weights, ...] = ("trained", "untrained")
    for weights in kinds:
        answers = last_map(networks.features(pictures, weights), filters)
        order = np.argsort(-answers, axis=0, kind="stable")[:TOP]  # (TOP, C)
        if labels is not None:
            found[weights] = purity(labels, order)
        found["pictures"][weights] = _pictures(pictures, order, networks, weights)
    if labels is not None:
        found["chance"] = chance(labels)
    return found


def last_filters(subject: Subject) -> int:
    """How many maps D's last convolution has, the one before the decision."""
    return architecture.of(subject.config).maps[-1].output_shape[-1]


def last_map(features: Floats, filters: int) -> Floats:
    """The largest value of each of D's last maps: (N, F) -> (N, C)."""
    return features[:, -(FEATURE_GRID**2) * filters :].reshape(len(features), -1, filters).max(1)


def purity(labels: NDArray[np.uint8], order: NDArray[np.int64]) -> dict[str, float]:
    """Share of the most frequent class among a map's top images: mean, spread and largest over
    maps."""
    shares = np.array([np.bincount(labels[column]).max() / len(column) for column in order.T])
    spread = float(shares.std(ddof=1))
    return {"mean": float(shares.mean()), "spread": spread, "largest": float(shares.max())}


def chance(labels: NDArray[np.uint8]) -> float:
    """The same mean share of images that no map has chosen: every so many of the data set."""
    stride = len(labels) // TOP
    groups = np.stack([labels[i::stride][:TOP] for i in range(stride)])
    return float(np.mean([np.bincount(group).max() / TOP for group in groups]))


def _pictures(
    pictures: Images, order: NDArray[np.int64], networks: Networks, weights: Weights
) -> Images:
    """A row of a map's top images and below it their guided gradients, map by map."""
    top = order[:SHOWN, :SHOWN_MAPS]  # (SHOWN, MAPS)
    chosen = pictures[top.T.ravel()]
    gradients = networks.guided(chosen, np.repeat(np.arange(SHOWN_MAPS), SHOWN), weights)
    largest = np.maximum(np.abs(gradients).max((1, 2, 3), keepdims=True), 1e-30)
    shown = images.to_uint8(gradients / largest)  # grey: none
    shape = (SHOWN_MAPS, SHOWN, *chosen.shape[1:])
    rows = np.stack([chosen.reshape(shape), shown.reshape(shape)], 1)  # (MAPS, 2, SHOWN, ...)
    return images.grid(rows.reshape(-1, *chosen.shape[1:]), SHOWN)
