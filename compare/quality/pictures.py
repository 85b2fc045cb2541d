"""What is measured of images that are not the digits of mnist28.

    any data set     the sliced Wasserstein distance of their pyramids (pyramids.py)
    mnist            and the digits' measures, of the middle 28x28 pixels
    stacked-mnist    and how many of the 1,000 modes there are, and how evenly

Each beside the same of real images, the floor.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common import datasets
from common.batches import Dataset, words
from common.config import Config, UserError
from compare.quality import measures as quality
from compare.quality import pyramids
from compare.quality.scorer import COUNT, MEASURES, Columns, Extractor, Kind, Scorer

Images = NDArray[np.uint8]  # (N, H, W, C)

PYRAMIDS = 8192  # images whose pyramids are compared, half of the paper's
STACKED = 25_600  # samples whose modes are counted
MIDDLE = slice(2, 30)  # the 28 pixels of a digit within 32
DRAWN = 103  # purpose of Philox's key: which real images are taken
AT_ONCE = 1000  # images whose digits are read


def judge(config: Config, data_dir: str) -> Scorer | PictureScorer:
    """What scores images like those that a Config trains on."""
    if Kind.of(config) == Scorer.kind:
        return Scorer(data_dir)
    whole = Config(
        dataset=config.dataset,
        data_dir=data_dir,
        architecture=config.architecture,
        image_size=config.image_size,
        channels=config.channels,
        pictures_digest=config.pictures_digest,
    )
    held_out = datasets.held_out(whole, STACKED)
    training = datasets.load(whole)  # of a folder all, however many a run took
    parts: list[Pyramids | Digits | Modes] = [Pyramids(whole.image_size, training, held_out)]
    if whole.dataset == "mnist":
        parts.insert(0, Digits(Scorer(data_dir)))
    if whole.dataset == "stacked-mnist":
        assert held_out is not None
        parts.insert(0, Modes(Extractor(), held_out))
    return PictureScorer(Kind.of(whole), parts)


def columns_of(config: Config) -> Columns:
    """What is measured of images like those that a Config trains on."""
    if Kind.of(config) == Scorer.kind:
        return MEASURES
    of_digits = {"mnist": Digits.columns, "stacked-mnist": Modes.columns}
    return of_digits.get(config.dataset, {}) | pyramid_columns(config.image_size)


class PictureScorer:
    """All that is measured of the images of one data set."""

    floor_name = "real images, held out"

    def __init__(self, kind: Kind, parts: Sequence[Pyramids | Digits | Modes]) -> None:
        self.kind = kind
        self._parts = parts
        self.columns = {name: column for part in parts for name, column in part.columns.items()}
        self.count = max(part.count for part in parts)
        self.least = max(part.least for part in parts)
        self.extractor = parts[0].extractor

    def reference(self, count: int) -> dict[str, Any]:
        """What so many images are compared with."""
        pyramids_of = self._parts[-1]
        return {
            "name": f"real images of {self.kind.dataset}",
            "count": min(count, pyramids_of.count),
        }

    def measures(self, images: NDArray[np.uint8]) -> dict[str, float]:
        """(N, H, W) or (N, H, W, C) uint8 -> every measure; each takes the first ones it needs."""
        images = images.reshape(len(images), *self.kind.shape)
        return {k: v for part in self._parts for k, v in part.measures(images).items()}

    @functools.cache  # noqa: B019 (one a process)
    def floor(self, count: int) -> dict[str, float]:
        """The same of so many real images: what a perfect generator would reach."""
        return {k: v for part in self._parts for k, v in part.floor(count).items()}


class Pyramids:
    """The distance to held-out images, and the training images' own; of a data set without held-out
    images both are training images, none of them twice."""

    extractor, least = None, 1

    def __init__(self, side: int, training: Dataset, held_out: Dataset | None) -> None:
        ours = drawn(training.shape[0])
        self._training = training, ours
        if held_out is None:
            half = len(ours) // 2
            self._real, self._training = (training, ours[half:]), (training, ours[:half])
        else:
            self._real = held_out, drawn(held_out.shape[0])
        self.count = min(PYRAMIDS, *(len(which) for _, which in (self._real, self._training)))
        if self.count == 0:
            raise UserError(
                "A folder of a single picture has no two halves to compare; add another."
            )
        self.columns = pyramid_columns(side)

    def measures(self, images: Images) -> dict[str, float]:
        """The distance at each level, and their mean."""
        images = images[: self.count]
        found = pyramids.between(pyramids.profiles(images), self._real_profiles(len(images)))
        mean = {"swd": float(np.mean(list(found.values())))}
        return mean | {f"swd_{side}": value for side, value in found.items()}

    @functools.lru_cache(1)  # noqa: B019 (one a process)
    def _real_profiles(self, count: int) -> dict[int, pyramids.Profile]:
        source, which = self._real
        return pyramids.profiles(source.gather(which[:count]))

    def floor(self, count: int) -> dict[str, float]:
        source, which = self._training
        return self.measures(source.gather(which[: min(count, self.count)]))


def pyramid_columns(side: int) -> Columns:
    """The mean distance and, where there are several levels, that at each."""
    levels = pyramids.sides(side)
    each: Columns = {f"swd_{n}": (f"SWD at {n} pixels", 2) for n in levels}
    return {"swd": ("SWD", 2), **(each if len(levels) > 1 else {})}


def drawn(count: int) -> NDArray[np.int64]:
    """A permutation of range(count): the real images in the order in which they are taken."""
    return np.argsort(words(0, DRAWN, 0, count), kind="stable").astype(np.int64)


class Digits:
    """The measures of mnist28's digits, of digits with an empty margin."""

    columns, count, least = MEASURES, COUNT, Scorer.least

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.extractor = scorer.extractor
        self.floor = scorer.floor

    def measures(self, images: Images) -> dict[str, float]:
        return self._scorer.measures(np.ascontiguousarray(images[:, MIDDLE, MIDDLE, 0]))


class Modes:
    """The numbers of three digits, one a channel: Metz et al. 2017, section 3.3.1."""

    columns: ClassVar[Columns] = {"modes": ("modes of 1,000", 0), "mode_kl": ("KL of modes", 3)}
    count, least = STACKED, 1

    def __init__(self, extractor: Extractor, held_out: Dataset) -> None:
        self.extractor = extractor
        self._held_out = held_out

    def measures(self, images: Images) -> dict[str, float]:
        """How many numbers occur, and the divergence of their shares from equal ones."""
        blocks = (images[i : i + AT_ONCE] for i in range(0, len(images), AT_ONCE))
        modes, divergence = quality.modes(np.concatenate([self.digits(x) for x in blocks]))
        return {"modes": modes, "mode_kl": divergence}

    def digits(self, images: Images) -> NDArray[np.int64]:
        """(N, 32, 32, 3) -> (N, 3), as the extractor reads them."""
        each = np.moveaxis(images[:, MIDDLE, MIDDLE], 3, 1).reshape(-1, 28, 28)
        return self.extractor(each).probabilities.argmax(1).reshape(-1, 3)

    def floor(self, count: int) -> dict[str, float]:
        return self.measures(self._held_out.gather(np.arange(count)))
