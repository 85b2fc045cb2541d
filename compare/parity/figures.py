"""The parity ladder's findings as a table and a plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoint
from common.checkpoint import Arrays
from compare.parity.rungs import TITLES, Finding, loss_differences

# Precision -> engine name -> the arrays of its free run.
Free = dict[str, dict[str, Arrays]]


def table(findings: list[Finding]) -> str:
    """The findings as Markdown."""
    lines = [
        "| rung | precision | pair | worst difference | bound | holds | where |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in sorted(findings, key=lambda f: (f.rung, f.precision)):
        arrow = " -> " if f.rung == 5 else " - "  # who continues whom
        lines.append(
            f"| {f.rung} {TITLES[f.rung]} | {f.precision} | {arrow.join(f.pair)} "
            f"| {f.difference:.1e} | {f.bound:.0e} | {'yes' if f.holds else 'NO'} | {f.worst} |"
        )
    return "\n".join(lines)


def plot(free: Free, nudged: Arrays, path: Path) -> None:
    """Draw how far the losses of free runs are from the first engine's, against the iteration.

    nudged: the first engine's float64 run from a start one unit in the last place away, the
    yardstick.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 5), layout="constrained")
    axes = figure.subplots()

    def draw(a: Arrays, b: Arrays, style: str, color: str, label: str) -> None:
        values = loss_differences(a["losses"], b["losses"])
        values = np.maximum(values, 1e-17)  # equal to the last bit; a logarithm has no 0
        axes.semilogy(values, style, color=color, linewidth=1, label=label)

    reference, *others = free["float64"]
    for precision, style in (("float32", "--"), ("float64", "-")):
        for index, name in enumerate(others):
            arrays = free[precision]
            draw(arrays[name], arrays[reference], style, f"C{index}", f"{name}, {precision}")
    label = f"{reference} itself, one weight\none ulp away, float64"
    draw(nudged, free["float64"][reference], ":", "black", label)
    axes.set_xlabel("iteration")
    axes.set_ylabel(f"relative difference of the losses from {reference}'s")
    axes.set_title("One training in several engines, and in one engine from a start one ulp away")
    figure.legend(fontsize="small", loc="outside right upper")
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    checkpoint.write_atomically(path, content.getvalue())


def curves(free: Free, nudged: Arrays) -> dict[str, Any]:
    """What plot() draws, three digits each: precision -> engine -> differences by iteration."""
    reference, *others = free["float64"]

    def differences(a: Arrays, b: Arrays) -> list[float]:
        return [float(f"{value:.3g}") for value in loss_differences(a["losses"], b["losses"])]

    return {
        "reference": reference,
        "nudged": differences(nudged, free["float64"][reference]),
        **{
            precision: {name: differences(arrays[name], arrays[reference]) for name in others}
            for precision, arrays in free.items()
        },
    }
