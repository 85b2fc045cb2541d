"""Section 6.3.1: G's last maps that tell of an attribute are dropped. Is it forgotten?

The paper finds windows by boxes that were drawn by hand, and the maps that are active in them by
logistic regression. A digit's hole can be found by a program. The other attributes belong to the
whole picture: their maps are found by each map's mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import images
from compare.paper.arithmetic import Pool
from compare.paper.attributes import Reader, hole, holes
from compare.paper.subject import Floats, Images, Networks, drawn

COUNT = 2000  # samples that the regression sees, and as many others that are drawn again
DROPPED = (1, 2, 4, 8)  # maps that are dropped
CHANCES = 5  # draws of as many other maps
SHOWN, SHOWN_DROPPED = 12, 4  # samples that are shown, and maps that they lack
DRAWN = 108  # purpose of Philox's key
LEAST = 50  # places or samples of each kind that a regression is made of
MUCH = 0.5  # share of samples that have the attribute


def study(samples: Pool, networks: Networks, reader: Reader) -> dict[str, Any]:
    """For each attribute: how well G's last maps tell of it, and how much of it is left without the
    maps that speak for it most, and without as many others; and how many digits stay what they
    were."""
    maps = networks.maps(samples.noise[:COUNT])
    again = slice(COUNT, 2 * COUNT)
    rows, shown = [], {}
    for name in [*(["hole"] if reader.are_digits else []), *samples.attributes]:
        if name == "hole":
            told = by_place(maps, reader.pictures(samples.pictures[:COUNT]))
            has = hole(reader.pictures(samples.pictures[again]) / 255) > 0
        else:
            values = samples.attributes[name]
            told = by_mean(maps, values[:COUNT])
            has = values[again] > np.median(values)
        sure = samples.classes[again] >= 0
        chosen = np.flatnonzero(has & sure) + COUNT  # those that have it, and are a digit
        if told is None or len(chosen) < SHOWN:
            continue
        weights, score = told
        order = np.argsort(-weights, kind="stable")
        for count in DROPPED:
            row = {"attribute": name, "score": score, "dropped": count, "samples": len(chosen)}
            rows.append(row | left(name, samples, chosen, order, count, networks, reader))
        few = chosen[:SHOWN]
        without = networks.draw_without(samples.noise[few], order[:SHOWN_DROPPED].tolist())
        shown[name] = images.grid(np.concatenate([samples.pictures[few], without]), SHOWN)
    return {"rows": rows, "maps": maps.shape[-1], "shown_dropped": SHOWN_DROPPED,
            "chances": CHANCES, "pictures": shown, "digits": reader.are_digits}  # fmt: skip


def by_place(maps: Floats, digits: Images) -> tuple[Floats, float] | None:
    """What each map says for a hole at a place, (C,), and the accuracy on places of other samples;
    None if there are too few holes to tell.

    Places in holes, and as many that are not, drawn.
    """
    side = maps.shape[1]
    inside = _shrunk(holes(digits / 255), side)  # (N, h, w)
    places = maps.reshape(-1, maps.shape[-1])
    within, without = np.flatnonzero(inside), np.flatnonzero(~inside)
    without = without[drawn(DRAWN, 0, len(without))[: len(within)]]
    chosen = np.sort(np.concatenate([within, without]))
    return _regression(places[chosen], inside.ravel()[chosen])


def by_mean(maps: Floats, values: Floats) -> tuple[Floats, float] | None:
    """The same of much of an attribute, by each map's mean over the image."""
    return _regression(maps.mean((1, 2)), values > np.median(values))


def _shrunk(masks: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Of each place of a map, is half of what it becomes in the mask?"""
    margin = (2 * side - masks.shape[1]) // 2  # of images of 32 pixels with digits of 28
    whole = np.pad(masks, ((0, 0), (margin, margin), (margin, margin)))
    return whole.reshape(len(masks), side, 2, side, 2).mean((2, 4)) >= MUCH


def _regression(x: Floats, y: NDArray[np.bool_]) -> tuple[Floats, float] | None:
    """Logistic regression's weights for features of deviation 1, and its accuracy on the last
    fifth; None if fewer than LEAST are of one kind."""
    from sklearn.linear_model import LogisticRegression

    if min(y.sum(), (~y).sum()) < LEAST:
        return None
    scaled = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    first = 4 * len(y) // 5
    fitted = LogisticRegression(max_iter=1000).fit(scaled[:first], y[:first])
    return fitted.coef_[0], float(fitted.score(scaled[first:], y[first:]))


def left(
    name: str,
    samples: Pool,
    chosen: NDArray[np.int64],
    order: NDArray[np.int64],
    count: int,
    networks: Networks,
    reader: Reader,
) -> dict[str, Any]:
    """Of samples that have an attribute, what is left without the first `count` maps of an order,
    and without as many of the others: shares that still have it, and that are still that digit."""
    middle = np.median(samples.attributes[name]) if name in samples.attributes else 0

    def shares(dropped: NDArray[np.int64]) -> dict[str, float]:
        pictures = networks.draw_without(samples.noise[chosen], dropped.tolist())
        if name == "hole":
            has = hole(reader.pictures(pictures) / 255) > 0
        else:
            has = reader.attributes(pictures)[name] > middle
        same = reader.classes(pictures) == samples.classes[chosen]
        return {"attribute": float(has.mean()), "class": float(same.mean())}

    others = order[count:]
    chances = [shares(others[drawn(DRAWN, 1 + i, len(others))[:count]]) for i in range(CHANCES)]
    return {
        "without": shares(order[:count]),
        "chance": {key: float(np.mean([c[key] for c in chances])) for key in chances[0]},
    }
