"""Sections 4.1 and 6.1: are images memorised, and does the latent space have sharp transitions?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import images
from compare.paper.subject import Images, Networks, Subject
from compare.quality.measures import nearest_distances, nearest_rows
from compare.quality.scorer import pixels

LEGS, FRAMES = 64, 30  # straight lines between noise vectors, and steps on each
SHOWN_LEGS, SHOWN_FRAMES = 6, 11  # of the pictures
COUNT = 2000  # samples whose nearest training image is looked for
SHOWN = 12  # of them
WALKED = 2  # seed of the walks' noise


def walk(subject: Subject, networks: Networks) -> dict[str, Any]:
    """The largest step between neighbouring images of a walk over its mean step, 1 if all are
    equal: of the generator, and of someone who knows the training images alone and shows at each
    place the nearest of them to what the generator draws there."""
    noise = images.latent_walk(subject.noise(LEGS + 1, WALKED), FRAMES)
    drawn = networks.draw(noise)
    memorised = subject.training[nearest(drawn, subject.training)]
    shown = [leg * FRAMES + FRAMES * i // (SHOWN_FRAMES - 1)
             for leg in range(SHOWN_LEGS) for i in range(SHOWN_FRAMES)]  # fmt: skip
    return {
        "generator": jumps(drawn),
        "memorised": jumps(memorised),
        "legs": LEGS,
        "steps": FRAMES,
        "pictures": {
            "generator": images.grid(drawn[shown], SHOWN_FRAMES),
            "memorised": images.grid(memorised[shown], SHOWN_FRAMES),
        },
    }


def jumps(walk: Images) -> dict[str, float]:
    """Of a walk of LEGS lines, ends included: largest over mean step, mean and spread over lines;
    and the share of steps that are none at all."""
    steps = np.linalg.norm(np.diff(pixels(walk), axis=0), axis=1).reshape(LEGS, FRAMES)
    ratios = steps.max(1) / np.maximum(steps.mean(1), 1e-9)
    return {
        "ratio": float(ratios.mean()),
        "spread": float(ratios.std(ddof=1)),
        "still": float((steps == 0).mean()),
    }


def neighbours(subject: Subject, networks: Networks) -> dict[str, Any]:
    """Samples, their nearest training images, and how far they are, in pixels' grey levels from 0
    to 1; the same of held-out images."""
    samples = networks.draw(subject.noise(COUNT))
    training = pixels(subject.training)
    distances = nearest_distances(pixels(samples), training)
    found: dict[str, Any] = {"count": COUNT, "training": len(training)}
    found["samples"] = float(np.median(distances))
    closest = nearest(samples[:SHOWN], subject.training)
    found["pictures"] = {
        "nearest": images.grid(np.concatenate([samples[:SHOWN], subject.training[closest]]), SHOWN)
    }
    if subject.held_out is not None:
        real = nearest_distances(pixels(subject.held_out[:COUNT]), training)
        found["held_out"] = float(np.median(real))
        found["closer"] = float((distances < np.quantile(real, 0.01)).mean())
    return found


def nearest(pictures: Images, training: Images) -> NDArray[np.int64]:
    """The index of each picture's nearest training image, by the distance of pixels: (N,)."""
    return nearest_rows(pixels(pictures), pixels(training))
