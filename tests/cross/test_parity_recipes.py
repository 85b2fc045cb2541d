"""The ladder with recipes tuned and fast, and with the paper's networks.

In a file of their own: the engines of test_parity.py, some GB, are gone before these begin.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from common import datasets
from common.config import RecipeName
from compare import engines
from compare.parity import ladder as parity
from compare.parity import rungs
from tests.cross.test_parity import STEPS, assert_all_hold, pairs, settings


@pytest.mark.parametrize(
    ("recipe", "names", "steps", "window"),
    [
        ("tuned", "pytorch,tensorflow", 2, 6),
        pytest.param("tuned", engines.ALL, 4, 20, marks=pytest.mark.slow),
        pytest.param("fast", engines.ALL, 4, 20, marks=pytest.mark.slow),
    ],
)
def test_other_recipes_climb_the_same_ladder(
    recipe: RecipeName, names: str, steps: int, window: int, data_dir: str, tmp_path: Path
) -> None:
    """R1's second derivatives are in rung 2, the averaged weights in rungs 3 and 5; the learning
    rate falls in the windows' second half."""
    some = engines.choose(names)
    count = pairs(len(some))
    chosen = dataclasses.replace(settings(data_dir, "float64", recipe), steps=window, batch_size=8)
    with parity.start(some, chosen) as workers:
        free = parity.run_ladder(workers, 2 * steps, tmp_path)
        assert_all_hold(rungs.compare_ladders(free, chosen), 5 * count)
        windows = parity.run_windows(workers, window, tmp_path)
        assert_all_hold(rungs.compare_windows(windows, chosen), count)
        assert_all_hold(parity.run_relay(workers, chosen, steps, tmp_path), 2 * count)
    name = "average/generator/dense1/kernel"
    for arrays in free.values():
        assert rungs.difference(arrays[f"first/{name}"], arrays[f"initial/{name}"]) > 1e-4


@pytest.mark.parametrize(
    ("recipe", "names", "free", "steps", "relay"),
    [
        ("paper", engines.DEFAULT, 4, 6, 2),
        pytest.param("paper", engines.ALL, rungs.FREE_STEPS, STEPS, 10, marks=pytest.mark.slow),
        pytest.param("tuned", engines.ALL, rungs.FREE_STEPS, STEPS, 10, marks=pytest.mark.slow),
    ],
)
def test_the_papers_networks_climb_the_same_ladder(
    recipe: RecipeName, names: str, free: int, steps: int, relay: int, tmp_path: Path
) -> None:
    """Batch norm in D, its three moves an iteration in rung 3, colour, a folder of pictures; of
    tuned, the averaged weights in rungs 3 and 5."""
    some = engines.choose(names)
    count = pairs(len(some))
    parity.draw_pictures(tmp_path / "pictures", 32)
    chosen = parity.ladder_settings(
        STEPS,
        dataset=str(tmp_path / "pictures"),
        recipe=recipe,
        image_size=32,
        width=8,
        batch_size=16,
        data_dir=str(tmp_path),
    )
    chosen = datasets.counted(chosen, lambda line: None)
    assert (chosen.architecture, chosen.recipe, chosen.channels) == ("dcgan", recipe, 3)
    with parity.start(some, chosen) as workers:
        found = parity.run_ladder(workers, free, tmp_path)
        for arrays in found.values():
            rungs.check_counts(arrays, chosen)
        assert_all_hold(rungs.compare_ladders(found, chosen), 5 * count)
        windows = parity.run_windows(workers, steps, tmp_path)
        assert_all_hold(rungs.compare_windows(windows, chosen), count)
        assert_all_hold(parity.run_relay(workers, chosen, relay, tmp_path), 2 * count)
        nudged = parity.run_nudged(workers[0], free, tmp_path)
    plain = found[some[0].name]["losses"]
    assert 0 < rungs.loss_differences(nudged["losses"], plain).max() < 1e-10  # not rounded away
    float32 = dataclasses.replace(chosen, precision="float32")
    with parity.start(some, float32) as workers:
        findings = rungs.compare_ladders(parity.run_ladder(workers, 2, tmp_path), float32)
    assert_all_hold(findings, 3 * count)
