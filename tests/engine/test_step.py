"""The step against the published loop written out plainly, and against itself in other cuts."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from common import batches, checkpoint
from common.checkpoint import Arrays
from compare.engines import ROOT


@pytest.fixture
def published(
    command: Callable, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Arrays]:
    """What the published loop makes of inputs: by PyTorch in a process of its own, whichever
    framework is under test, and once for all of them."""

    def train(**inputs: np.ndarray) -> Arrays:
        np.savez(tmp_path / "inputs.npz", **inputs)
        sources = [ROOT / "tests/engine/published.py", ROOT / "pytorch_impl/canonical.py"]
        key = hashlib.sha256(version("torch").encode())
        for content in [*inputs.values(), *map(Path.read_bytes, sources)]:
            key.update(bytes(content))
        outputs = request.config.cache.mkdir("published") / f"{key.hexdigest()}.npz"
        with FileLock(outputs.with_suffix(".lock")):
            if not outputs.exists():
                for other in outputs.parent.glob("*.npz"):  # of another source: 190 MB
                    other.unlink()
                command("tests.engine.published", tmp_path / "inputs.npz", tmp_path / "made.npz")
                shutil.move(tmp_path / "made.npz", outputs)
        return dict(np.load(outputs))

    return train


def test_twenty_iterations_equal_the_published_loop(
    backend: Any, lend_state: Callable, chunk: Callable, assert_close: Callable, published: Callable
) -> None:
    """G run twice, full backward passes, running statistics moved twice with momentum 0.1."""
    state = lend_state()
    images, noise = chunk(state.config, 0, 20)
    start = backend.to_canonical(state)
    metrics = backend.train_chunk(state, images, noise)
    wanted = published(images=images, noise=noise, **start)
    np.testing.assert_allclose(metrics[:, :2], wanted.pop("losses"), rtol=1e-12)
    found = backend.to_canonical(state)
    assert [int(found[name]) for name in checkpoint.COUNTS] == [20, 20, 20]
    assert found.keys() == wanted.keys() | set(checkpoint.COUNTS)
    assert_close({name: found[name] for name in wanted}, wanted, 1e-12)


def test_metrics_are_those_of_ds_update(
    backend: Any, bridge: ModuleType, lend_state: Callable, chunk: Callable
) -> None:
    state = lend_state()
    images, noise = chunk(state.config, 0, 1)
    logits = backend.outputs(state, images[0], noise[0])["logits"]
    fake = bridge.apply(state.generator, noise[0].astype(np.float64), training=True)
    fake_logits = bridge.apply(state.discriminator, fake, training=True)
    backend.from_canonical(state, checkpoint.initial(state.config))
    metrics = backend.train_chunk(state, images, noise)
    assert metrics.shape == (1, 4)
    wanted = [(1 / (1 + np.exp(-x))).mean() for x in (logits, fake_logits)]
    np.testing.assert_allclose(metrics[0, 2:], wanted, rtol=1e-6)


def test_images_are_scaled_exactly(bridge: ModuleType) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    wanted = values / 127.5 - 1
    np.testing.assert_allclose(bridge.scaled(values), wanted, rtol=0, atol=bridge.EXACT)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"precision": "float32"}, marks=pytest.mark.slow),
        {"precision": "bfloat16"},
        pytest.param({"precision": "float64"}, marks=pytest.mark.slow),
        pytest.param({"precision": "float64", "recipe": "tuned"}, marks=pytest.mark.whole_run),
        pytest.param({"precision": "float32", "recipe": "tuned"}, marks=pytest.mark.slow),
    ],
    ids=lambda changes: " ".join(changes.values()),
)
@pytest.mark.recompiles
def test_cuts_and_resumes_move_no_bit(
    changes: dict[str, str], backend: Any, make_state: Callable, lend_state: Callable,
    advance: Callable, assert_close: Callable,
) -> None:  # fmt: skip
    state = lend_state(**changes)
    metrics = advance(state, 6)
    wanted = backend.to_canonical(state)
    assert metrics.shape == (6, 4)
    assert metrics.dtype == ("float64" if changes["precision"] == "float64" else "float32")
    backend.from_canonical(state, checkpoint.initial(state.config))
    rows = [advance(state, 1), advance(state, 2)]
    resumed = make_state(backend.to_canonical(state), **changes)
    rows.append(advance(resumed, 3))
    np.testing.assert_array_equal(np.concatenate(rows), metrics)
    found = backend.to_canonical(resumed)
    checkpoint.check(found, resumed.config)
    assert int(found["step"]) == 6
    assert_close(found, wanted, 0)


def test_chunk_lengths_move_no_bit(
    backend: Any, lend_state: Callable, advance: Callable, assert_close: Callable
) -> None:
    state = lend_state()
    metrics, arrays = advance(state, 4), backend.to_canonical(state)
    for length in (1, 2, 3):
        backend.from_canonical(state, checkpoint.initial(state.config))
        rows = [advance(state, min(length, 4 - first)) for first in range(0, 4, length)]
        np.testing.assert_array_equal(np.concatenate(rows), metrics)
        assert_close(backend.to_canonical(state), arrays, 0)


@pytest.mark.recompiles
def test_narrow_precisions_start_like_float64(
    bridge: ModuleType, lend_state: Callable, advance: Callable
) -> None:
    exact = advance(lend_state(), 1)
    found = {}
    for precision, bound in (("float32", 1e-5), ("bfloat16", 3e-2)):
        state = lend_state(precision=precision)
        found[precision] = advance(state, 1)
        np.testing.assert_allclose(found[precision], exact, rtol=bound)
        assert found[precision].dtype == np.float32
        assert bridge.dtypes(state) == {"float32"}  # bfloat16 is kept out of the state
    assert not np.array_equal(found["bfloat16"], found["float32"])  # it computed in bfloat16 ...
    rows = [advance(lend_state(precision=name), 2) for name in found]
    np.testing.assert_allclose(*rows, rtol=0.1)  # ... which has 8 bits


@pytest.mark.parametrize(
    ("precision", "bounds"),
    [
        pytest.param("float32", {"atol": 1e-6}, marks=pytest.mark.recompiles),
        ("float64", {"rtol": 1e-10, "atol": 1e-13}),
    ],
)
def test_generate_does_not_depend_on_batch_mates_or_move_statistics(
    precision: str, bounds: dict[str, float], backend: Any, lend_state: Callable,
    advance: Callable, assert_close: Callable,
) -> None:  # fmt: skip
    state = lend_state(precision=precision)
    advance(state, 2)
    before = backend.to_canonical(state)
    noise = batches.shown_noise(0, 16, state.config.noise_size)
    together = backend.generate(state, noise)
    assert together.shape == (16, 28, 28, 1)
    for i in (0, 3, 15):
        alone = backend.generate(state, noise[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], **bounds)
    assert_close(backend.to_canonical(state), before, 0)


@pytest.mark.recompiles
def test_the_averaged_generator_draws_the_samples(
    backend: Any, lend_state: Callable, advance: Callable
) -> None:
    state = lend_state(recipe="tuned", precision="float32")
    noise = batches.shown_noise(0, 4, state.config.noise_size)
    advance(state, 3)
    images, arrays = backend.generate(state, noise), backend.to_canonical(state)
    plain = lend_state(precision="float32")
    backend.from_canonical(plain, checkpoint.averaged(arrays))
    np.testing.assert_array_equal(backend.generate(plain, noise), images)
    backend.from_canonical(plain, {k: v for k, v in arrays.items() if "average" not in k})
    assert np.abs(backend.generate(plain, noise) - images).max() > 1e-3
