"""One thread, and what the tests of keras_impl share. KERAS_BACKEND names the engine under test."""

from __future__ import annotations

import os

# Read when the engines are imported: two busy threads make a small step many times slower.
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from common import batches, checkpoint  # noqa: E402
from common.config import Config  # noqa: E402
from keras_impl import load_engine  # noqa: E402

load_engine()


def pytest_configure(config: pytest.Config) -> None:
    # Keras's convert_to_numpy and numpy 2; it is the same array.
    ignored = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)


class Pictures:
    """Some random images with a black border, where MNIST's have theirs: pooling meets ties."""

    shape = (64, 28, 28, 1)
    dtype = np.dtype(np.uint8)

    def __init__(self) -> None:
        self.images = np.zeros(self.shape, np.uint8)
        inner = np.random.default_rng(0).integers(0, 256, (64, 20, 20, 1))
        self.images[:, 4:-4, 4:-4] = inner

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.images[indices]


@pytest.fixture(scope="session")
def dataset() -> Pictures:
    return Pictures()


@pytest.fixture(scope="session")
def config() -> Config:
    """A short float64 run on the processor."""
    return Config(
        precision="float64", device="cpu", batch_size=8, train_images=64, steps=6, show_every=100
    )


@pytest.fixture(scope="session")
def make_state() -> Callable:
    """A Config -> the TrainState before its first step."""
    from keras_impl import state as states

    def make(config: Config, arrays: checkpoint.Arrays | None = None) -> states.TrainState:
        state = states.TrainState(config)
        states.from_canonical(state, checkpoint.initial(config) if arrays is None else arrays)
        return state

    return make


@pytest.fixture(scope="session")
def advance(dataset: Pictures) -> Callable:
    """Train a state by some steps -> their metrics (K, 4)."""
    from keras_impl import step as steps

    def run(state: object, count: int) -> np.ndarray:
        config, first = state.config, state.step  # type: ignore[attr-defined]
        numbers = range(first, first + count)
        size = (config.batch_size, len(dataset.images))
        images = [dataset.gather(batches.indices(config.seed, s, *size)) for s in numbers]
        noise = [
            batches.noise(config.seed, s, config.batch_size, config.noise_size) for s in numbers
        ]
        return steps.train_chunk(state, np.stack(images), np.stack(noise))

    return run


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / ||b||."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300))


@pytest.fixture(scope="session")
def assert_close() -> Callable:
    """Two canonical states -> AssertionError naming the first array further apart than `bound`."""

    def check(a: checkpoint.Arrays, b: checkpoint.Arrays, bound: float) -> None:
        assert a.keys() == b.keys()
        for name in a:
            if bound == 0:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)
            else:
                assert distance(a[name], b[name]) <= bound, name

    return check
