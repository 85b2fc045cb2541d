"""The paper's networks: counts, the step against the plain loop, modes, precisions, other cuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import architecture, batches, checkpoint
from common.config import Config, UserError

pytestmark = pytest.mark.long_run

SMALL = {
    "dataset": "drawn", "image_size": 32, "width": 8, "precision": "float64", "device": "cpu",
    "batch_size": 16, "train_images": 64, "steps": 20,
}  # fmt: skip


@pytest.fixture
def lend(lend_state: Callable) -> Callable:
    """A state of small networks before its first step, compiled if others used it before."""
    return lambda **changes: lend_state(**(SMALL | changes))


def data(config: Config, count: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (K, B, H, W, C) and noise (K, B, Z) of some steps."""
    rng = np.random.default_rng(first)
    shape = (count, config.batch_size, *architecture.of(config).image_shape)
    steps = range(first, first + count)
    z = [batches.noise(config.seed, s, config.batch_size, config.noise_size) for s in steps]
    return rng.integers(0, 256, shape, dtype=np.uint8), np.stack(z)


@pytest.mark.parametrize(
    ("size", "channels", "d_count", "g_count"),
    [
        (64, 3, 2_765_568, 3_576_704),
        pytest.param(64, 1, 2_763_520, 3_574_656, marks=pytest.mark.slow),
        pytest.param(32, 3, 663_296, 1_068_928, marks=pytest.mark.slow),
        pytest.param(128, 3, 11_164_416, 12_786_560, marks=pytest.mark.slow),
    ],
)
def test_trainable_parameters(
    backend: Any, make_state: Callable, size: int, channels: int, d_count: int, g_count: int
) -> None:
    """At width 64 and noise 100."""
    chosen = {"image_size": size, "channels": channels, "width": 64, "precision": "float32"}
    state = make_state(**(SMALL | chosen))
    arrays = backend.to_canonical(state)
    table = architecture.of(state.config)
    counts = {
        network: sum(arrays[n].size for n in table.trainable() if n.startswith(network))
        for network in ("discriminator", "generator")
    }
    assert counts == {"discriminator": d_count, "generator": g_count}
    assert {n: arrays[n].shape for n in table.parameters()} == table.parameters()


@pytest.mark.parametrize(
    ("channels", "count"),
    [
        (3, 1),
        pytest.param(3, 3, marks=pytest.mark.slow),
        pytest.param(1, 1, marks=pytest.mark.slow),
    ],
)
def test_iterations_equal_the_plain_loop(
    backend: Any, lend: Callable, command: Callable, assert_close: Callable, tmp_path: Path,
    channels: int, count: int,
) -> None:  # fmt: skip
    """One iteration, or three: parameters, moments, and running statistics, D's moved thrice."""
    state = lend(channels=channels)
    start = backend.to_canonical(state)
    images, noise = data(state.config, count)
    metrics = backend.train_chunk(state, images, noise)
    np.savez(tmp_path / "inputs.npz", images=images, noise=noise, **start)
    command("tests.engine.example", tmp_path / "inputs.npz", tmp_path / "made.npz")
    wanted = dict(np.load(tmp_path / "made.npz"))
    np.testing.assert_allclose(metrics[:, :2], wanted.pop("losses"), rtol=1e-12)
    found = backend.to_canonical(state)
    assert found.keys() == wanted.keys() | set(checkpoint.COUNTS)
    assert_close({name: found[name] for name in wanted}, wanted, 1e-12)


def test_real_and_fake_are_two_batches(backend: Any, lend: Callable) -> None:
    """D's loss on real images does not depend on the fakes."""
    state = lend()
    images, noise = data(state.config, 1)
    first = backend.train_chunk(state, images, noise)
    backend.from_canonical(state, checkpoint.initial(state.config))
    second = backend.train_chunk(state, images, np.abs(noise))
    assert first[0, 2] == pytest.approx(second[0, 2], rel=1e-12)
    assert first[0, 3] != pytest.approx(second[0, 3], rel=1e-6)


def test_evaluation_does_not_depend_on_batch_mates(backend: Any, lend: Callable) -> None:
    state = lend()
    backend.train_chunk(state, *data(state.config, 2))
    images, noise = (x[0] for x in data(state.config, 1))
    whole = backend.outputs(state, images, noise)
    state_after = backend.to_canonical(state)
    half = backend.generate(state, noise[:8])
    np.testing.assert_allclose(half, backend.generate(state, noise)[:8], rtol=0, atol=1e-12)
    assert np.abs(whole["images_training"] - whole["images_evaluation"]).max() > 1e-3
    assert np.abs(whole["logits"] - whole["logits_evaluation"]).max() > 1e-3
    again = backend.to_canonical(state)  # generating moved nothing
    assert all(np.array_equal(again[name], state_after[name]) for name in again)


def test_cuts_and_a_resume_change_nothing(
    backend: Any, lend: Callable, assert_close: Callable
) -> None:
    state = lend()
    images, noise = data(state.config, 4)
    whole = backend.train_chunk(state, images, noise)
    wanted = backend.to_canonical(state)
    backend.from_canonical(state, checkpoint.initial(state.config))
    first = backend.train_chunk(state, images[:3], noise[:3])
    saved = backend.to_canonical(state)
    backend.train_chunk(state, images, noise)  # somewhere else
    backend.from_canonical(state, saved)
    last = backend.train_chunk(state, images[3:], noise[3:])
    np.testing.assert_array_equal(np.concatenate([first, last]), whole)
    assert_close(backend.to_canonical(state), wanted, 0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_precisions_train(backend: Any, lend: Callable, precision: str) -> None:
    exact = lend()
    images, noise = data(exact.config, 3)
    wanted = backend.train_chunk(exact, images, noise)
    state = lend(precision=precision)  # whose switches of the process are others
    metrics = backend.train_chunk(state, images, noise)
    np.testing.assert_allclose(metrics, wanted, rtol={"float32": 1e-3, "bfloat16": 0.2}[precision])
    arrays = backend.to_canonical(state)
    assert {a.dtype for n, a in arrays.items() if n not in checkpoint.COUNTS} == {np.dtype("f4")}


def test_recipe_tuned_averages_the_generator(backend: Any, lend: Callable) -> None:
    """One step at rate 9/10 from equal weights."""
    state = lend(recipe="tuned")
    start = backend.to_canonical(state)
    backend.train_chunk(state, *data(state.config, 1))
    end = backend.to_canonical(state)
    averaged = [name for name in start if name.startswith("average/")]
    assert len(averaged) == 16
    for name in averaged:
        plain = name.removeprefix("average/")
        wanted = start[plain] + 0.9 * (end[plain] - start[plain])
        np.testing.assert_allclose(end[name], wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile hides it
def test_compiled_it_is_the_same(
    backend: Any, lend: Callable, make_state: Callable, assert_close: Callable
) -> None:
    if backend.describe.__module__ == "keras_impl.device" and not can_compile():
        with pytest.raises(UserError, match="--compile is not available to Keras on torch"):
            backend.compile_step(lend())
        return
    state, compiled = lend(), make_state(**SMALL)
    backend.compile_step(compiled)
    images, noise = data(state.config, 3)
    a = backend.train_chunk(state, images, noise)
    b = backend.train_chunk(compiled, images, noise)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    assert_close(backend.to_canonical(state), backend.to_canonical(compiled), 1e-12)


def can_compile() -> bool:
    from keras_impl import load_engine

    return load_engine().CAN_JIT
