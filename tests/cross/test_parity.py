"""The parity ladder, rungs 0 to 5, over every pair of the three backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common import architecture
from common.checkpoint import Arrays
from common.config import Config
from compare import engines, parity
from compare.parity import Finding

CHOSEN = engines.choose(engines.DEFAULT)
PAIRS = len(CHOSEN) * (len(CHOSEN) - 1) // 2


def settings(data_dir: str, precision: str) -> Config:
    return Config(batch_size=16, precision=precision, device="cpu", data_dir=data_dir)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def float64(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder = tmp_path_factory.mktemp("float64")
    return parity.run_ladder(CHOSEN, settings(data_dir, "float64"), 100, folder, anchors=True)


@pytest.fixture(scope="module")
def float32(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    return parity.run_ladder(
        CHOSEN, settings(data_dir, "float32"), 2, tmp_path_factory.mktemp("float32")
    )


def assert_all_hold(findings: list[Finding], count: int) -> None:
    assert len(findings) == count
    broken = [f for f in findings if not f.holds]
    assert not broken, parity.table(broken)


def test_rung_0_names_shapes_and_counts(float64: dict[str, Arrays]) -> None:
    table = architecture.mnist28()
    for arrays in float64.values():
        initial = parity.part(arrays, "initial/")
        found = {name: a.shape for name, a in initial.items() if name in table.parameters()}
        assert found == table.parameters()
        assert sum(initial[n].size for n in table.trainable() if n[0] == "d") == 1_102_721
        assert sum(initial[n].size for n in table.trainable() if n[0] == "g") == 6_675_009


def test_rungs_0_to_4_in_float64(float64: dict[str, Arrays], data_dir: str) -> None:
    for arrays in float64.values():
        assert arrays["losses"].shape == arrays["windows/losses"].shape == (100, 4)
        assert arrays["losses"].dtype == np.float64
    findings = parity.compare_ladders(float64, settings(data_dir, "float64"))
    assert_all_hold(findings, 6 * PAIRS)
    # Engines that agreed to the last bit everywhere would be one engine compared with itself.
    assert max(f.difference for f in findings if f.rung == 2) > 0


def test_rungs_0_to_2_in_float32(float32: dict[str, Arrays], data_dir: str) -> None:
    for arrays in float32.values():
        assert arrays["outputs/logits"].dtype == np.float32
    findings = parity.compare_ladders(float32, settings(data_dir, "float32"))
    assert_all_hold(findings, 3 * PAIRS)


def test_rung_5_training_moves_between_engines(data_dir: str, tmp_path: Path) -> None:
    findings = parity.run_relay(CHOSEN, settings(data_dir, "float64"), 10, tmp_path)
    assert_all_hold(findings, 2 * PAIRS)


def test_a_wrong_number_does_not_pass() -> None:
    """The ladder's own arithmetic: what it must refuse."""
    a = np.ones(10)
    assert parity.difference(a, a) == 0
    assert parity.difference(a * (1 + 1e-9), a) == pytest.approx(1e-9, rel=1e-3)
    assert parity.difference(a, np.ones(9)) == float("inf")
    assert parity.worst({"x": a}, {"y": a})[0] == float("inf")
    assert not Finding(1, "float64", ("a", "b"), float("nan"), 1e-3, "x").holds
    assert not Finding(1, "float64", ("a", "b"), 2e-3, 1e-3, "x").holds
