"""Section 6.3.2: sums of noise vectors. Does `thick - thin + thin` of another digit make it thick?

For an attribute and two digits p and q: A are samples of p that have much of it, B of p and C of q
that have little. G(mean A - mean B + mean C) is to be a q that has much of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import batches, images
from compare.paper.attributes import Reader
from compare.paper.subject import Floats, Images, Networks, Subject

POOL = 20_000  # samples from which exemplars are taken
OUTER = 0.2  # share of a digit's samples that have much of an attribute, or little
LEAST = 30  # samples of each kind that a digit must have to take part
SUMS = 500  # of each attribute
EXEMPLARS = (1, 3, 10)  # whose mean is a concept
PAPER = 3  # of them in the paper
CHOICES = 2  # samples of a digit at either end of an attribute that a reader picks from
NEIGHBOURS, RADIUS = 8, 0.25  # around the sum that is shown, as the paper's figure 7 has them
DRAWN, AROUND = 106, 107  # purposes of Philox's key


class Pool(NamedTuple):
    """Samples and what is known of them."""

    noise: NDArray[np.float32]  # (N, Z)
    pictures: Images
    classes: NDArray[np.int64]  # -1: not sure
    attributes: dict[str, Floats]  # (N,) each


class Exemplars(NamedTuple):
    """Indices of samples: (SUMS, k) each."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    c: NDArray[np.int64]


def pool(subject: Subject, networks: Networks, reader: Reader) -> Pool:
    """POOL samples."""
    noise = subject.noise(POOL)
    pictures = networks.draw(noise)
    return Pool(noise, pictures, reader.classes(pictures), reader.attributes(pictures))


def study(samples: Pool, networks: Networks, reader: Reader) -> dict[str, Any]:
    """For each attribute, and concepts of one sample or more: how often the sum has the
    attribute, and the digit that it should have; the same without A and B, which change it."""
    rows, shown = [], {}
    for number, name in enumerate(samples.attributes):
        for count in EXEMPLARS:
            taken = exemplars(samples, name, count, number)
            if taken is None:
                continue
            rows.append({"attribute": name, "exemplars": count}
                        | success(samples, name, taken, networks, reader))  # fmt: skip
            if count == PAPER:
                shown[name] = picture(samples, taken, networks)
    return {"rows": rows, "sums": SUMS, "pool": POOL, "pictures": shown,
            "outer": OUTER, "digits": reader.are_digits}  # fmt: skip


def exemplars(samples: Pool, attribute: str, count: int, stream: int) -> Exemplars | None:
    """The samples of SUMS sums, drawn; None if too few digits have enough of them."""
    groups = outer(samples.classes, samples.attributes[attribute])
    able = sorted(groups)
    if not able:
        return None
    pairs = [(p, q) for p, q in itertools.product(able, able) if p != q] or [(able[0], able[0])]
    found = []
    for index in range(SUMS):
        words = batches.words(stream, DRAWN, index, 1 + 3 * count)
        p, q = pairs[int(words[0] % np.uint64(len(pairs)))]
        little, much = groups[p]
        sources = [much] * count + [little] * count + [groups[q][0]] * count
        row = [int(s[int(w % np.uint64(len(s)))]) for s, w in zip(sources, words[1:], strict=True)]
        found.append(row)
    a, b, c = np.split(np.array(found), 3, axis=1)
    return Exemplars(a, b, c)


def outer(
    classes: NDArray[np.int64], values: Floats
) -> Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Class -> the samples that have little of an attribute, and those that have much of it."""
    found = {}
    for each in range(int(classes.max(initial=-1)) + 1):
        members = np.flatnonzero(classes == each)
        size = int(OUTER * len(members))
        if size >= LEAST:
            order = members[np.argsort(values[members], kind="stable")]
            found[each] = (order[:size], order[-size:])
    return found


def success(
    samples: Pool, attribute: str, taken: Exemplars, networks: Networks, reader: Reader
) -> dict[str, Any]:
    """Shares of the sums that have more of the attribute than half of q's samples, that are a q,
    and both; and the change that was made over the one that was meant, its median."""
    values, wanted = samples.attributes[attribute], samples.classes[taken.c[:, 0]]
    middle = np.array([np.median(values[samples.classes == each]) for each in wanted])
    a, b, c = (samples.noise[each].mean(1) for each in taken)
    found: dict[str, Any] = {}
    measured = {}
    for name, noise in (("sum", a - b + c), ("alone", c)):
        drawn = networks.draw(noise)
        measured[name] = reader.attributes(drawn)[attribute]
        has, kept = measured[name] > middle, reader.classes(drawn) == wanted
        shares = {"attribute": has, "class": kept, "both": has & kept}
        found[name] = {key: float(share.mean()) for key, share in shares.items()}
    meant = values[taken.a].mean(1) - values[taken.b].mean(1)
    found["change"] = float(np.median((measured["sum"] - measured["alone"]) / meant))
    return found


def picture(samples: Pool, taken: Exemplars, networks: Networks) -> dict[str, Images]:
    """The first sum as the paper's figure 7 has it: `concepts`, the exemplars of A, B and C in
    columns and below them the image of their mean; `sum`, the result amid its neighbours."""
    columns = [samples.noise[each[0]] for each in taken]  # (k, Z) each
    means = np.stack([column.mean(0) for column in columns])
    total = means[0] - means[1] + means[2]
    around = batches.uniform(0, AROUND, 0, NEIGHBOURS * len(total)).reshape(NEIGHBOURS, -1)
    noise = np.insert(total + RADIUS * around, NEIGHBOURS // 2, total, axis=0)
    rows = [samples.pictures[[each[0, i] for each in taken]] for i in range(taken.a.shape[1])]
    concepts = np.concatenate([*rows, networks.draw(means)])
    return {"concepts": images.grid(concepts, 3), "sum": images.grid(networks.draw(noise), 3)}


def choices(samples: Pool) -> list[int]:
    """Samples for a reader to pick from: of each digit the CHOICES that have least and most of
    every attribute, digit by digit."""
    found: list[int] = []
    for values in samples.attributes.values():
        for little, much in outer(samples.classes, values).values():
            found += [*little[:CHOICES].tolist(), *much[-CHOICES:].tolist()]
    return sorted(dict.fromkeys(found), key=lambda i: (samples.classes[i], i))
