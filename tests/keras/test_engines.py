"""The same tests on the other engines, each in a process of its own, and what the choice does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if os.environ["KERAS_BACKEND"] != "tensorflow":
    pytest.skip("started by the TensorFlow process", allow_module_level=True)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OTHERS = ["torch", "jax"]

# Three float64 steps as the tests' run takes them; the arrays go to a file.
PROGRAM = """
import sys, numpy as np
from tests.keras.conftest import Pictures
from common import batches, checkpoint
from common.config import Config
from keras_impl import state as states, step as steps
config = Config(precision="float64", device="cpu", batch_size=8, train_images=64, steps=3)
state = states.TrainState(config)
states.from_canonical(state, checkpoint.initial(config))
images = np.stack([Pictures().gather(batches.indices(0, s, 8, 64)) for s in range(3)])
noise = np.stack([batches.noise(0, s, 8, 96) for s in range(3)])
metrics = steps.train_chunk(state, images[:1], noise[:1])
states.from_canonical(state, states.to_canonical(state))
metrics = np.concatenate([metrics, steps.train_chunk(state, images[1:], noise[1:])])
np.savez(sys.argv[1], metrics=metrics, **states.to_canonical(state))
"""


def run(engine: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": engine, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("engine", OTHERS)
def test_the_same_tests(engine: str):
    pytest.importorskip(engine)
    # On JAX every state compiles its step anew, for seconds.
    some = ""
    if engine == "jax":
        some = (
            "fit or batch_norm or adam or leaky or counts or float64_layers or device "
            "or plain or refused or chunk_lengths"
        )
    done = run(
        engine, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", some,
        *(str(HERE / f"test_{name}.py") for name in ("networks", "training", "convert")),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_jax_in_one_dispatch() -> None:
    pytest.importorskip("jax")
    file = str(HERE / "test_training.py")
    done = run("jax", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow", file)
    assert "1 passed" in done.stdout, done.stdout[-4000:] + done.stderr[-2000:]


def three_steps(engine: str, folder: Path) -> dict[str, np.ndarray]:
    done = run(engine, "-c", PROGRAM, str(folder / engine))
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(folder / f"{engine}.npz"))


@pytest.fixture(scope="module")
def tensorflows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return three_steps("tensorflow", tmp_path_factory.mktemp("tensorflow"))


@pytest.mark.parametrize("engine", OTHERS)
def test_three_steps_equal_tensorflows(
    engine: str, tensorflows: dict[str, np.ndarray], tmp_path: Path
):
    pytest.importorskip(engine)
    found = three_steps(engine, tmp_path)
    for name, wanted in tensorflows.items():
        difference = np.linalg.norm(found[name] - wanted)
        assert difference <= 1e-12 * max(np.linalg.norm(wanted), 1e-300), name


@pytest.mark.parametrize("command", ["train", "sample", "convert"])
def test_an_unknown_engine_is_one_sentence(command: str, tmp_path: Path):
    done = run("theano", "-m", f"keras_impl.{command}", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr == (
        "error: KERAS_BACKEND takes one of tensorflow, torch, jax, not 'theano'.\n"
    )
    assert not (tmp_path / "run").exists()


def test_an_engine_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    from common.config import UserError
    from keras_impl import check_engine

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jax" else real(name)
    )
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(UserError, match="'jax' is not installed"):
        check_engine()


def test_keras_json_does_not_choose_the_engine(tmp_path: Path):
    """Nor does it change the order of the axes."""
    (tmp_path / "keras.json").write_text(
        '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float32"}'
    )
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    program = (
        "import keras_impl.networks as n, keras; "
        "print(keras.backend.backend(), n.Generator().output_shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n")[0] == "tensorflow (None, 28, 28, 1)", done.stderr


def test_a_wrong_flag_loads_no_framework():
    program = (
        "import sys, runpy\n"
        "sys.argv = ['train', '--precision', 'float23']\n"
        "try: runpy.run_module('keras_impl.train', run_name='__main__')\n"
        "except SystemExit as e: print(e.code, {'keras', 'tensorflow'} & set(sys.modules))\n"
    )
    assert run("tensorflow", "-c", program).stdout == "2 set()\n"


def test_only_the_engine_files_import_an_engine():
    for path in (ROOT / "keras_impl").glob("*.py"):
        if path.name.startswith("engine_"):
            continue
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in ("tensorflow", "torch", "jax"), path
