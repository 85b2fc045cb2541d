"""What KERAS_BACKEND chooses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.environment import instructions

ROOT = Path(__file__).parents[2]


def run(engine: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": engine, **environment},
        capture_output=True,
        text=True,
    )


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


def test_only_the_engine_files_import_an_engine():
    for path in (ROOT / "keras_impl").glob("*.py"):
        if path.name.startswith("engine_"):
            continue
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in ("tensorflow", "torch", "jax"), path


COMPILED = """
from keras_impl import load_engine
load_engine()
import jax
print(jax.jit(lambda x: x + 1)(1.0), jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize("where", ["XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"])
def test_jax_keeps_what_it_compiled(where: str, tmp_path: Path):
    """Below the user's cache, one folder for a kind of processor, or where the user says; and what
    cannot be kept is compiled."""
    done = run("jax", "-c", COMPILED, **{where: str(tmp_path)})
    value, folder = done.stdout.split()
    assert value == "2.0", done.stderr
    below = Path(folder).relative_to(tmp_path).parts
    if where == "XDG_CACHE_HOME":
        assert below == ("dcgan-three-engines", f"jax-{instructions()}")
    else:
        assert below == ()
    assert list(Path(folder).glob("jit*-cache"))
    (tmp_path / "file").touch()
    done = run("jax", "-c", COMPILED, **{where: str(tmp_path / "file")})
    assert done.stdout.startswith("2.0 "), done.stderr
