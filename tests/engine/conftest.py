"""One suite for every engine: `pytest tests/engine --engine pytorch|tensorflow|keras|keras-...`.

One framework a process: test_pytorch_*.py, test_tensorflow_*.py and test_keras_*.py are collected
for their own engines only. What the suite needs of a framework besides common.backend.Backend is in
with_pytorch.py, with_tensorflow.py and with_keras.py, the same names in each.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from common import batches, checkpoint, conversion
from common.checkpoint import Arrays
from common.config import Config
from compare import engines

NAMES = ("pytorch", "tensorflow", "keras")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=engines.ENGINES, default="pytorch", help="under test")


def pytest_configure(config: pytest.Config) -> None:
    """The environment is read when a framework is imported."""
    chosen = engines.ENGINES[config.getoption("--engine")]
    if chosen.missing:
        raise pytest.UsageError(engines.not_installed(chosen))
    if chosen.keras_backend is not None:
        os.environ["KERAS_BACKEND"] = chosen.keras_backend
    # Two busy threads make a small float64 step many times slower.
    for name in ("OMP_NUM", "MKL_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP"):
        os.environ[f"{name}_THREADS"] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    config.bridge = importlib.import_module(f"tests.engine.with_{_implementation(config)}")
    config.addinivalue_line("markers", "recompiles: slow on JAX, which compiles every new state")
    config.addinivalue_line(
        "markers",
        "of_common: common's doing, whatever the engine: with PyTorch and TensorFlow only",
    )
    config.addinivalue_line("markers", "long_run: slow for Keras's second and third engine")
    config.addinivalue_line(
        "markers", "whole_run: slow but in PyTorch; tests/cross has one of each"
    )
    # Keras's convert_to_numpy and numpy 2; it is the same array.
    ignored = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)


def _implementation(config: pytest.Config) -> str:
    return engines.ENGINES[config.getoption("--engine")].package.removesuffix("_impl")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out another framework's files; what Keras on PyTorch cannot do; and, but for one of
    Keras's engines, the choice of one."""
    engine = config.getoption("--engine")
    of = next((name for name in NAMES if collection_path.name.startswith(f"test_{name}")), None)
    other = of is not None and of != _implementation(config)
    cannot = collection_path.name == "test_compiled.py" and not config.bridge.WAYS
    once = collection_path.name == "test_keras_engine.py" and engine != "keras"
    return other or cannot or once or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow_here = {
        "tensorflow": ["whole_run"],
        "keras": ["whole_run"],
        "keras-torch": ["whole_run", "long_run"],
        "keras-jax": ["whole_run", "long_run", "recompiles"],
    }
    if config.getoption("--engine").startswith("keras"):
        others = [item for item in items if item.get_closest_marker("of_common")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    for item in items:
        for marker in slow_here.get(config.getoption("--engine"), []):
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    bridge = metafunc.config.bridge
    if "way" in metafunc.fixturenames:
        metafunc.parametrize("way", bridge.WAYS, ids=lambda way: " ".join(map(str, way)))
    if "flags" in metafunc.fixturenames:
        metafunc.parametrize("flags", bridge.FLAGS, ids=" ".join)
    if "ending" in metafunc.fixturenames:
        module = importlib.import_module(f"{_implementation(metafunc.config)}_impl.convert")
        metafunc.parametrize("ending", sorted(module.IMPORTS.keys() & module.EXPORTS.keys()))


@pytest.fixture(scope="session")
def name(request: pytest.FixtureRequest) -> str:
    """The implementation's: pytorch, tensorflow or keras."""
    return _implementation(request.config)


@pytest.fixture(scope="session")
def package(name: str) -> str:
    return f"{name}_impl"


@pytest.fixture(scope="session")
def backend(package: str) -> Any:
    return engines.load(package)


@pytest.fixture(scope="session")
def bridge(request: pytest.FixtureRequest) -> ModuleType:
    return request.config.bridge


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


SHORT = {
    "precision": "float64", "device": "cpu", "batch_size": 16, "train_images": 64, "steps": 20,
    "show_every": 100,
}  # fmt: skip


@pytest.fixture(scope="session")
def config() -> Config:
    """A short float64 run on the processor."""
    return Config(**SHORT)


@pytest.fixture(scope="session")
def prepare(package: str) -> Callable:
    """Set the process's switches for a Config, as make_state does."""
    return importlib.import_module(f"{package}.device").prepare


@pytest.fixture(autouse=True)
def _prepared(prepare: Callable, config: Config) -> None:
    """A test finds the switches of a float64 run, whatever the one before it ran."""
    prepare(config)


@pytest.fixture(scope="module", autouse=True)
def _memory() -> Iterator[None]:
    """What a file's tests freed goes back to the system, which common.memory keeps it from: other
    parts run beside this one, and so do the processes that tests start."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()  # compiled programs, some GB of them
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


@pytest.fixture(scope="session")
def make_state(backend: Any) -> Callable:
    """A new state of a short run, before its first step unless given arrays; the other arguments
    change its Config."""

    def make(arrays: Arrays | None = None, **changes: Any) -> Any:
        chosen = Config(**(SHORT | changes))
        return backend.make_state(chosen, checkpoint.initial(chosen) if arrays is None else arrays)

    return make


@pytest.fixture(scope="module")
def lend_state(backend: Any, make_state: Callable, prepare: Callable) -> Callable:
    """A state before its first step that others of the file used before: its step is compiled
    already."""
    states: dict[str, Any] = {}

    def lend(**changes: Any) -> Any:
        key = str(sorted(changes.items()))
        if key not in states:
            states[key] = make_state(**changes)
        state = states[key]
        prepare(state.config)
        backend.from_canonical(state, checkpoint.initial(state.config))
        return state

    return lend


@pytest.fixture(scope="session")
def chunk(dataset: Pictures) -> Callable:
    """A Config's images (K, B, 28, 28, 1) and noise (K, B, Z) of some steps."""

    def make(config: Config, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        seed, size, steps = config.seed, config.batch_size, range(first, first + count)
        images = [dataset.gather(batches.indices(seed, step, size, 64)) for step in steps]
        noise = [batches.noise(seed, step, size, config.noise_size) for step in steps]
        return np.stack(images), np.stack(noise)

    return make


@pytest.fixture(scope="session")
def advance(backend: Any, chunk: Callable) -> Callable:
    """Train a state by some steps -> their metrics (K, 4)."""
    return lambda state, count: backend.train_chunk(state, *chunk(state.config, state.step, count))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / ||b||; of b = 0 the largest of a."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / norm if norm else float(np.abs(a).max(initial=0))


@pytest.fixture(scope="session")
def assert_close() -> Callable:
    """Two canonical states -> AssertionError naming the arrays further apart than `bound`."""

    def check(a: Arrays, b: Arrays, bound: float) -> None:
        assert a.keys() == b.keys()
        if bound == 0:
            assert [name for name in b if not np.array_equal(a[name], b[name])] == []
        else:
            assert {n: distance(a[n], b[n]) for n in b if distance(a[n], b[n]) > bound} == {}

    return check


@pytest.fixture(scope="session")
def statistics() -> Callable:
    """A Config -> its initial arrays with running statistics of some training."""

    def make(config: Config) -> Arrays:
        arrays, rng = checkpoint.initial(config), np.random.default_rng(2)
        for name, array in arrays.items():
            if "/moving_" in name:
                arrays[name] = (rng.random(array.shape) + 0.5).astype(array.dtype)
        return arrays

    return make


@pytest.fixture
def saved(statistics: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a checkpoint with running statistics of its own."""
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    config = Config(noise_size=20, device="cpu")
    checkpoint.save(path, statistics(config), config, "x", {})
    return path


@pytest.fixture
def convert_command(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable:
    """`python -m <impl>.convert arguments` in the tests' own process.

    refused: what the one sentence must say with which it ends. Returns what it prints.
    """
    module = importlib.import_module(f"{package}.convert")

    def run(*arguments: object, refused: str | None = None) -> str:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        capfd.readouterr()
        status: Any = 0
        try:
            conversion.main(name, module.EXPORTS, module.IMPORTS)
        except SystemExit as ended:
            status = ended.code
        told, said = capfd.readouterr()
        assert status == (0 if refused is None else 2), said
        if refused is not None:
            assert refused in said
            assert said.count("\n") == 1
        return told

    return run


LITE = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, tensorflow as tf
interpreter = tf.lite.Interpreter(model_path=sys.argv[1])
z = np.load(sys.argv[2])
entry = interpreter.get_input_details()[0]["index"]
interpreter.resize_tensor_input(entry, z.shape)
interpreter.allocate_tensors()
interpreter.set_tensor(entry, z)
interpreter.invoke()
np.save(sys.argv[3], interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
"""


@pytest.fixture
def lite(tmp_path: Path) -> Callable:
    """What a LiteRT file makes of noise, in a process without this code."""

    def run(file: Path, z: np.ndarray) -> np.ndarray:
        np.save(tmp_path / "z.npy", z)
        names = [str(file), str(tmp_path / "z.npy"), str(tmp_path / "images.npy")]
        subprocess.run([sys.executable, "-c", LITE, *names], check=True, capture_output=True)
        return np.load(tmp_path / "images.npy")

    return run
