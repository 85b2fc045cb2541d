"""The data sets that have names: what their pictures are, before any is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pictures:
    """What the pictures of a data set are."""

    side: int  # pixels; of a folder what they are resized to unless told
    channels: int
    images: int  # as many as it has
    trained_on: int | None  # as many as a run takes unless told: the first ones; None: all


# MNIST's last 10,000 are left to choose by; its kin follow it. The digits of stacked-mnist are
# drawn, so it has as many pictures as are asked for.
CATALOGUE = {
    "mnist": Pictures(28, 1, 60_000, 50_000),
    "fashion-mnist": Pictures(28, 1, 60_000, 50_000),
    "kmnist": Pictures(28, 1, 60_000, 50_000),
    "cifar10": Pictures(32, 3, 50_000, 50_000),
    "svhn": Pictures(32, 3, 73_257, 73_257),
    "stacked-mnist": Pictures(32, 3, 10**7, 50_000),
}
FOLDER = Pictures(64, 3, 10**9, None)


def pictures(dataset: str) -> Pictures:
    """Of a Config's `dataset`: a name of the catalogue; anything else is the path of a folder."""
    return CATALOGUE.get(dataset, FOLDER)
