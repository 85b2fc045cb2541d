"""Rung 6: several workers against one, in every engine, through the commands that people use."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import checkpoint
from common.outputs import read_metrics
from compare import engines
from compare.engines import Engine
from compare.parity.rungs import ANCHOR_STEPS, BOUNDS, Finding, loss_differences, worst

WORLDS = (2, 4)


def run_shares(chosen: list[Engine], anchor: Path, folder: Path) -> list[Finding]:
    """A window from one state, by one worker, by two and by four: the losses on the way and the
    whole state at the end. One engine at a time, as four processes have two cores each."""
    findings = []
    saved = checkpoint.load(anchor)
    # Of a run that ends with the window, as commands end with their run.
    settings = dataclasses.replace(saved.config, steps=saved.step + ANCHOR_STEPS)
    anchor = folder / "window.safetensors"
    checkpoint.save(anchor, saved.arrays, settings, saved.backend, {})
    for engine in chosen:
        alone = _train(engine, 1, anchor, folder)
        for world in WORLDS:
            found = _train(engine, world, anchor, folder)
            losses = loss_differences(found[0], alone[0])
            state, name = worst(found[1], alone[1])
            step = f"step {int(losses.argmax())} of the window"
            for value, where in ((float(losses.max()), step), (state, f"{name}, at the end")):
                pair = (f"{engine.name} x {world}", engine.name)
                findings.append(Finding(6, "float64", pair, value, BOUNDS[6], where))
    return findings


def _train(
    engine: Engine, world: int, anchor: Path, folder: Path
) -> tuple[NDArray[np.float64], checkpoint.Arrays]:
    """The losses (S, 4) and the state that so many workers end with."""
    out = folder / f"{engine.name}-{world}"
    module = f"{engine.package}.train"
    flags = ("--resume", anchor, "--out", out)
    process = engines.start(engine, "common.launch", world, module, *flags, threads=1)
    engines.finish(engine, process)
    recorded = json.loads((out / "environment.json").read_text())["workers"]
    assert recorded == world
    _, metrics = read_metrics(out)
    return np.stack(list(metrics.values()), 1), checkpoint.load(checkpoint.find(out)).arrays
