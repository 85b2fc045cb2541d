"""Do the engines see the same in one checkpoint? In float64, within the bounds of the ladder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from compare.engines import Engine
from compare.paper.seen import last_filters
from compare.paper.subject import Floats, Networks, Subject
from compare.parity.rungs import difference

COUNT = 64  # images and noise vectors
BOUND = {"features": 1e-13, "guided": 1e-11, "maps": 1e-13, "images": 1e-13}  # rungs 1 and 2


def study(subject: Subject, engines: Sequence[Engine]) -> list[dict[str, Any]]:
    """For each engine but the first the relative differences from it: of D's features, of guided
    gradients, of G's last maps and of its images."""
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        found = list(pool.map(lambda engine: outputs(subject, engine), engines))
    return [
        {
            "engine": engine.name,
            "reference": engines[0].name,
            "differences": {name: difference(found[0][name], each[name]) for name in BOUND},
        }
        for engine, each in zip(engines[1:], found[1:], strict=True)
    ]


def outputs(subject: Subject, engine: Engine) -> dict[str, Floats]:
    """What an engine makes of a run in float64."""
    pictures = subject.training[:COUNT]
    channels = np.arange(len(pictures)) % last_filters(subject)
    noise = subject.noise(COUNT)
    with Networks(engine, subject.file, "float64") as networks:
        return {
            "features": networks.features(pictures),
            "guided": networks.guided(pictures, channels),
            "maps": networks.maps(noise),
            "images": networks.generate(noise),
        }
