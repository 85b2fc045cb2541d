"""The rungs of the parity ladder: what is compared on each, by which measure, within which bound.

Every difference is ||a - b|| / ||b|| of one array; a rung reports its worst.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture
from common.checkpoint import Arrays
from common.config import Config, UserError

TITLES = {
    0: "initial weights, names, shapes",
    1: "outputs",
    2: "gradients",
    3: "one iteration",
    4: "losses of a run",
    5: "A continued in B",
    6: "several workers against one",
}
# Float64 bounds per rung. Float32 is bounded on rungs 0 to 2 only: its runs part after ten steps.
BOUNDS = {0: 0.0, 1: 1e-13, 2: 1e-11, 3: 1e-12, 4: 1e-10, 5: 1e-10, 6: 1e-10}
FLOAT32_BOUNDS = {0: 0.0, 1: 1e-5, 2: 1e-4}
FREE_STEPS = 30  # of the free run, bounded as rung 4
# Rung 4's windows: long enough for a wrong step to show, too short for rounding to grow far.
ANCHOR_STEPS = 20
# Times that both networks see the first batch on rung 1. dcgan's small weights leave D's layers a
# variance below 0.01. With running variances of 1 evaluation mode then leaves nothing of an image
# but rounding, so they are brought to the images' own: 0.9^64 is 0.001.
OUTPUTS = {"mnist28": 1, "dcgan": 64}


@dataclass(frozen=True)
class Finding:
    """The worst difference of one rung between two engines."""

    rung: int
    precision: str
    pair: tuple[str, str]
    difference: float
    bound: float
    worst: str  # which array, gradient or step

    @property
    def holds(self) -> bool:
        return bool(self.difference <= self.bound)  # False for NaN


# ------------------------------------------------------------------ the measure


def difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """||a - b|| / ||b||; ||a - b|| where b is zero; infinite where shapes differ or with a NaN."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    value = float(np.linalg.norm(a - b)) / (float(np.linalg.norm(b)) or 1.0)
    return value if math.isfinite(value) else float("inf")  # max() would pass over a NaN


def worst(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """The largest difference over two sets of arrays, and the array it is in; infinite if their
    names differ or there are none."""
    if not a or set(a) != set(b):
        return float("inf"), "names: " + ", ".join(sorted(set(a) ^ set(b)))
    return max((difference(a[name], b[name]), name) for name in a)


def loss_differences(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """The larger relative difference of the two losses, per step: (S, 4), (S, 4) -> (S,)."""
    return np.abs(a[:, :2].astype(np.float64) / b[:, :2] - 1).max(axis=1)


def part(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays below a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def gradients(first: Arrays, settings: Config) -> Arrays:
    """Both losses' gradients, read off Adam: after one step m = (1 - beta1) g, exactly."""
    moments = part(first, "optimizer/")
    return {
        name.removesuffix("/first_moment"): a / (1 - settings.beta1)
        for name, a in moments.items()
        if name.endswith("/first_moment")
    }


# ------------------------------------------------------------------ the comparison
#
# results: engine name -> the arrays that parity/probe.py writes.


def check_counts(arrays: Arrays, settings: Config) -> None:
    """Rung 0 against the table: names, shapes, and with them the counts. UserError at the first."""
    table = architecture.of(settings).parameters()
    found = part(arrays, "initial/")
    for name, shape in table.items():
        seen = found[name].shape if name in found else "no such array"
        if seen != shape:
            raise UserError(f"{name} should have shape {shape}; found {seen}.")


def compare_ladders(results: dict[str, Arrays], settings: Config) -> list[Finding]:
    """Rungs 0 to 3 and the free run of rung 4, for every pair; in float32 rungs 0 to 2."""
    float64 = settings.precision == "float64"
    bounds = BOUNDS if float64 else FLOAT32_BOUNDS
    findings = []
    for a, b in itertools.combinations(results, 2):
        x, y = results[a], results[b]
        first = part(x, "first/"), part(y, "first/")
        rungs = [
            (0, *worst(part(x, "initial/"), part(y, "initial/"))),
            (1, *worst(part(x, "outputs/"), part(y, "outputs/"))),
            (2, *worst(gradients(first[0], settings), gradients(first[1], settings))),
        ]
        if float64:
            rungs.append((3, *worst(*first)))
            free = loss_differences(x["losses"], y["losses"])[:FREE_STEPS]
            rungs.append((4, float(free.max()), f"free run, step {int(free.argmax())}"))
        findings += [
            Finding(rung, settings.precision, (a, b), value, bounds[rung], name)
            for rung, value, name in rungs
        ]
    return findings


def compare_windows(results: dict[str, Arrays], settings: Config) -> list[Finding]:
    """Rung 4's windows for every pair."""
    findings = []
    for a, b in itertools.combinations(results, 2):
        found = loss_differences(results[a]["losses"], results[b]["losses"])
        where = f"windows, step {int(found.argmax())}"
        findings.append(
            Finding(4, settings.precision, (a, b), float(found.max()), BOUNDS[4], where)
        )
    return findings


def worst_of_rungs(findings: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Of parity.json's findings the worst of each rung and precision, in their order; of rung 4 the
    worst of each kind of run: [(kind, finding)], kind "" on other rungs."""
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for f in findings:
        kind = f["worst"].split(",")[0] if f["rung"] == 4 else ""
        key = (f["rung"], f["precision"], kind)
        if key not in found or f["difference"] > found[key]["difference"]:
            found[key] = f
    return [(key[2], found[key]) for key in sorted(found)]
