"""Canonical arrays: what comes in goes out; devices that are not there."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from common import batches, checkpoint
from common.config import Config, UserError


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_round_trip_is_exact(
    precision: str, backend: Any, make_state: Callable, assert_close: Callable
) -> None:
    config = Config(precision=precision, noise_size=10, device="cpu")  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    arrays = {
        name: np.array(7) if shape == () else rng.random(shape).astype(dtype)
        for name, (shape, dtype) in checkpoint.expected(config).items()
    }
    state = make_state(precision=precision, noise_size=10)
    before = backend.to_canonical(state)
    backend.from_canonical(state, arrays)
    found = backend.to_canonical(state)
    checkpoint.check(found, config)
    assert_close(found, arrays, 0)
    assert state.step == 7
    # What a checkpoint is made of does not change with the state: arrays are copies.
    assert_close(before, checkpoint.initial(state.config), 0)


@pytest.fixture
def device(package: str) -> ModuleType:
    return importlib.import_module(f"{package}.device")


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_is_not_there(
    wanted: str, device: ModuleType, request: pytest.FixtureRequest
) -> None:
    there = device.choose_device(Config(device="auto"))
    if str(there).lower().strip("/").startswith({"cuda": ("cuda", "gpu"), "mps": "mps"}[wanted]):
        pytest.skip("this machine has the device")
    never = (request.config.getoption("--engine"), wanted) == ("tensorflow", "mps")
    reason = "does not exist for TensorFlow" if never else "is not available to"
    with pytest.raises(UserError, match=f"--device {wanted} {reason}"):
        device.choose_device(Config(device=wanted))  # type: ignore[arg-type]


def test_a_device_in_words(device: ModuleType, request: pytest.FixtureRequest) -> None:
    engine = request.config.getoption("--engine")
    on = {
        "keras": ", keras on tensorflow",
        "keras-torch": ", keras on torch",
        "keras-jax": ", keras on jax",
    }
    chosen = device.choose_device(Config(device="cpu"))
    assert device.describe(chosen) == "CPU" + on.get(engine, "")


@pytest.mark.recompiles
def test_as_a_library_it_says_nothing_and_takes_nothing_over(
    dataset: batches.Dataset, config: Config, backend: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a notebook has it: signals stay the caller's, and any thread will do."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    capfd.readouterr()
    made: list[np.ndarray] = []

    def work() -> None:
        state = backend.make_state(config, checkpoint.initial(config))
        made.append(backend.train_chunk(state, *batches.data_of(dataset, config, range(2))))
        made.append(backend.generate(state, batches.sampled_noise(0, 3, config.noise_size)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [array.shape for array in made] == [(2, 4), (3, 28, 28, 1)]
    assert [signal.getsignal(number) for number in numbers] == before
    assert capfd.readouterr() == ("", "")
