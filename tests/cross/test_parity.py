"""The parity ladder over every pair of the five engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from common import architecture, checkpoint
from common.checkpoint import Arrays
from common.config import Config, RecipeName, UserError
from common.outputs import read_metrics
from compare import engines
from compare.parity import figures, rungs
from compare.parity import ladder as parity
from compare.parity.rungs import Finding
from compare.parity.shares import run_shares
from compare.worker import Worker

STEPS = 60  # of rung 4's windows at most


class Climb(NamedTuple):
    """Which engines climb, and how many steps of each rung."""

    names: str
    free: int
    windows: int
    relay: int


# The three implementations; in the slow selection every engine. Their first twenty iterations are
# held to one published loop in tests/engine, all five's in the default selection. An engine that
# is not installed here is an error, not a shorter ladder.
CLIMBS = [
    pytest.param(Climb(engines.DEFAULT, 20, 20, 2), id="three"),
    pytest.param(
        Climb(engines.ALL, rungs.FREE_STEPS, STEPS, 10), id="five", marks=pytest.mark.slow
    ),
]


def pairs(count: int) -> int:
    """Unordered pairs of so many engines."""
    return count * (count - 1) // 2


def settings(data_dir: str, precision: str, recipe: RecipeName = "published") -> Config:
    chosen = parity.ladder_settings(STEPS, recipe=recipe, batch_size=16, data_dir=data_dir)
    return dataclasses.replace(chosen, precision=precision)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=CLIMBS)
def climb(request: pytest.FixtureRequest) -> Climb:
    return request.param


@pytest.fixture(scope="module")
def workers(climb: Climb, data_dir: str) -> Iterator[list[Worker]]:
    """One float64 process for each engine, for all tests of this file."""
    with parity.start(engines.choose(climb.names), settings(data_dir, "float64")) as started:
        yield started


@pytest.fixture(scope="module")
def float64(
    climb: Climb, workers: list[Worker], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Arrays]:
    """Each engine's outputs, first iteration and free run."""
    found = parity.run_ladder(workers, climb.free, tmp_path_factory.mktemp("float64"))
    for arrays in found.values():
        assert arrays["losses"].shape == (climb.free, 4)
        assert arrays["losses"].dtype == np.float64
    return found


def assert_all_hold(findings: list[Finding], count: int) -> None:
    assert len(findings) == count
    broken = [f for f in findings if not f.holds]
    assert not broken, figures.table(broken)


def test_rung_0_names_shapes_and_counts(float64: dict[str, Arrays]) -> None:
    table = architecture.mnist28()
    for arrays in float64.values():
        initial = rungs.part(arrays, "initial/")
        found = {name: a.shape for name, a in initial.items() if name in table.parameters()}
        assert found == table.parameters()
        assert sum(initial[n].size for n in table.trainable() if n[0] == "d") == 1_102_721
        assert sum(initial[n].size for n in table.trainable() if n[0] == "g") == 6_675_009


def test_rungs_0_to_4_in_float64(float64: dict[str, Arrays], data_dir: str) -> None:
    findings = rungs.compare_ladders(float64, settings(data_dir, "float64"))
    assert_all_hold(findings, 5 * pairs(len(float64)))
    # Engines that agreed to the last bit everywhere would be one engine compared with itself.
    for name in float64:
        assert max(f.difference for f in findings if f.rung == 2 and name in f.pair) > 0


def test_rung_4_in_windows(
    climb: Climb, workers: list[Worker], data_dir: str, tmp_path: Path
) -> None:
    windows = parity.run_windows(workers, climb.windows, tmp_path)
    for arrays in windows.values():
        assert arrays["losses"].shape == (climb.windows, 4)
    findings = rungs.compare_windows(windows, settings(data_dir, "float64"))
    assert_all_hold(findings, pairs(len(workers)))


def test_rung_5_training_moves_between_engines(
    climb: Climb, workers: list[Worker], data_dir: str, tmp_path: Path
) -> None:
    findings = parity.run_relay(workers, settings(data_dir, "float64"), climb.relay, tmp_path)
    assert_all_hold(findings, 2 * pairs(len(workers)))


@pytest.mark.slow
def test_rung_6_is_a_window_however_long_the_run_is(data_dir: str, tmp_path: Path) -> None:
    """Its engines' own tests climb it for each; more steps than a window's mean nothing."""
    chosen = settings(data_dir, "float64")
    assert chosen.steps is not None
    assert chosen.steps > rungs.ANCHOR_STEPS
    anchor = tmp_path / "anchor.safetensors"
    checkpoint.save(anchor, checkpoint.initial(chosen), chosen, "pytorch", {})
    findings = run_shares(engines.choose("pytorch"), anchor, tmp_path)
    assert_all_hold(findings, 4)
    _, metrics = read_metrics(tmp_path / "pytorch-4")
    assert len(metrics["d_loss"]) == rungs.ANCHOR_STEPS


def test_rungs_0_to_2_in_float32(climb: Climb, data_dir: str, tmp_path: Path) -> None:
    some = engines.choose(climb.names)
    with parity.start(some, settings(data_dir, "float32")) as workers:
        float32 = parity.run_ladder(workers, 2, tmp_path)
    for arrays in float32.values():
        assert arrays["outputs/logits"].dtype == np.float32
    findings = rungs.compare_ladders(float32, settings(data_dir, "float32"))
    assert_all_hold(findings, 3 * pairs(len(some)))


def test_a_wrong_number_does_not_pass() -> None:
    """The ladder's own arithmetic: what it must refuse."""
    a = np.ones(10)
    assert rungs.difference(a, a) == 0
    assert rungs.difference(a * (1 + 1e-9), a) == pytest.approx(1e-9, rel=1e-3)
    assert rungs.difference(a, np.ones(9)) == float("inf")
    assert rungs.difference(np.full(2, 3.0), np.zeros(2)) > 4
    assert rungs.difference(np.full(3, np.nan), a[:3]) == float("inf")
    assert rungs.worst({"x": a}, {"y": a})[0] == float("inf")
    assert rungs.worst({"x": a, "z": a}, {"x": a})[0] == float("inf")
    assert rungs.worst({}, {})[0] == float("inf")
    assert rungs.worst({"x": a, "y": np.zeros(2)}, {"x": a, "y": np.zeros(2)})[0] == 0
    assert rungs.worst({"x": a, "y": a * np.nan}, {"x": a, "y": a}) == (float("inf"), "y")
    assert not Finding(1, "float64", ("a", "b"), float("nan"), 1e-3, "x").holds
    assert not Finding(1, "float64", ("a", "b"), 2e-3, 1e-3, "x").holds


def test_a_failing_engine_is_named() -> None:
    """A process that dies takes no other's result for its own, and says who and why."""
    with Worker(engines.ENGINES["pytorch"], "compare.speed.baselines.product") as worker:
        with pytest.raises(UserError, match=r"The process of pytorch ended with 1: .*KeyError"):
            worker.ask("rates", framework="none", precision="float32", device="cpu")
        with pytest.raises(UserError, match="The process of pytorch ended with 1"):
            worker.ask("rates")


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "jax" else name)
    with pytest.raises(UserError, match="Engine keras-jax needs jax, which is not installed"):
        engines.choose(engines.ALL)
