"""When a claim holds here. The criteria are ours: the paper shows pictures.

A claim `holds`, `fails`, holds in `part` (for some attributes), or was `not tried`.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from compare.paper.arithmetic import PAPER

MEMORISED = 0.02  # share of samples that may lie nearer than 99% of real images do
SMOOTHER = 2.0  # times less abrupt than a walk through memorised images
FORGOTTEN = 0.1  # more of an attribute that must go than by chance
SUMS = 0.5  # share of sums that must come out as meant

Verdict = str


def verdicts(found: dict[str, Any]) -> dict[str, Verdict]:
    """Claim -> verdict, of the figures of compare/paper/build.py."""
    return {
        "features": features(found.get("representations")),
        "memory": memory(found["neighbours"]),
        "walks": walks(found["walk"]),
        "seen": seen(found["seen"]),
        "forgetting": forgetting(found["forgetting"]),
        "arithmetic": arithmetic(found["arithmetic"]),
        "three": three(found["arithmetic"]),
    }


def features(found: dict[str, Any] | None) -> Verdict:
    """Section 5: D's features classify better than everything beside them, by all labels and by
    1,000, there by more than two standard errors of the draws."""
    if found is None:
        return "not tried"
    rows = {row["name"]: row for row in found["rows"]}
    own = rows.pop("trained")

    def beats(other: dict[str, Any]) -> bool:
        error = sqrt((own["few_spread"] ** 2 + other["few_spread"] ** 2) / found["draws"])
        return own["few_mean"] - other["few_mean"] > 2 * error and own["all"] > other["all"]

    return _all_or_none([beats(row) for row in rows.values()])


def memory(found: dict[str, Any]) -> Verdict:
    """Section 4.1: of the samples about as many are as near to a training image as of real images
    that nobody trained on."""
    if "closer" not in found:
        return "not tried"
    return "holds" if found["closer"] <= MEMORISED else "fails"


def walks(found: dict[str, Any]) -> Verdict:
    """Section 6.1: a walk has no sharp transitions."""
    smooth = found["memorised"]["ratio"] >= SMOOTHER * found["generator"]["ratio"]
    return "holds" if smooth else "fails"


def seen(found: dict[str, Any]) -> Verdict:
    """Section 6.2: a trained D's maps answer to parts that mean something: their top images are of
    one class more than an untrained D's, by more than two standard errors over maps."""
    if "chance" not in found:
        return "not tried"
    own, other = found["trained"], found["untrained"]
    error = sqrt((own["spread"] ** 2 + other["spread"] ** 2) / found["maps"])
    return "holds" if own["mean"] - other["mean"] > 2 * error else "fails"


def forgetting(found: dict[str, Any]) -> Verdict:
    """Section 6.3.1: without the maps that tell of it, less of an attribute is drawn than without
    as many others."""
    rows = [row for row in found["rows"] if row["dropped"] == found["shown_dropped"]]
    return _all_or_none([
        row["chance"]["attribute"] - row["without"]["attribute"] >= FORGOTTEN for row in rows
    ])  # fmt: skip


def arithmetic(found: dict[str, Any]) -> Verdict:
    """Section 6.3.2: sums of means of three come out as meant, more often than not."""
    rows = [row for row in found["rows"] if row["exemplars"] == PAPER]
    return _all_or_none([row["sum"]["both"] > SUMS for row in rows])


def three(found: dict[str, Any]) -> Verdict:
    """Section 6.3.2: means of three work better than single samples."""
    rates: dict[str, dict[int, float]] = {}
    for row in found["rows"]:
        rates.setdefault(row["attribute"], {})[row["exemplars"]] = row["sum"]["both"]
    return _all_or_none([each[PAPER] > each[1] for each in rates.values()])


def _all_or_none(each: list[bool]) -> Verdict:
    if not each:
        return "not tried"
    return "holds" if all(each) else "part" if any(each) else "fails"
