"""The three folders read side by side: same files, same functions, same arguments in order."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("pytorch_impl", "tensorflow_impl", "keras_impl")
# Compared function by function; kernels.py is each framework's own, and so is layers.py, of which
# PyTorch, the reference, has no need.
COMPARED = (
    "networks", "losses", "step", "compiled", "inference", "features", "state", "canonical",
    "device", "backend", "train", "sample", "convert",
)  # fmt: skip
FILES = (*COMPARED, "kernels")
OWN = ("export_", "import_")


def signatures(folder: str, name: str) -> dict[str, list[str]]:
    """Public functions and classes of a file -> their argument names."""
    found = {}
    for node in ast.parse((ROOT / folder / f"{name}.py").read_text()).body:
        function: ast.stmt | None = node
        if isinstance(node, ast.ClassDef):
            function = next((f for f in node.body if getattr(f, "name", "") == "__init__"), None)
        if isinstance(function, ast.FunctionDef) and not node.name.startswith(("_", *OWN)):  # type: ignore[attr-defined]
            names = [argument.arg for argument in function.args.args]
            found[node.name] = [n for n in names if n != "self"]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_same_files(folder: str) -> None:
    present = {path.stem for path in (ROOT / folder).glob("*.py")}
    assert set(FILES) <= present


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_same_functions_and_arguments(folder: str, name: str) -> None:
    """PyTorch's arguments come first and in its order; a framework may add its dtype or axis."""
    ours, wanted = signatures(folder, name), signatures("pytorch_impl", name)
    if (folder, name) == ("tensorflow_impl", "networks"):
        assert set(ours) == {
            *wanted,
            "Dense",
            "Conv",
            "ConvTranspose",
        }  # it has no layers of its own
    else:
        assert set(ours) == set(wanted)
    for function, arguments in wanted.items():
        assert ours[function][: len(arguments)] == arguments, function
        assert set(ours[function][len(arguments) :]) <= {"dtype", "axis"}, function


@pytest.mark.parametrize("name", ["networks", "losses", "step", "state"])
def test_the_comparison_sees_something(name: str) -> None:
    assert len(signatures("pytorch_impl", name)) >= 2


@pytest.mark.parametrize(
    ("modules", "never"),
    [
        ("compare.parity.ladder, compare.bench", {"torch", "tensorflow", "keras", "jax"}),
        ("pytorch_impl.backend", {"tensorflow", "keras", "jax"}),
        # TensorFlow itself imports Keras and JAX.
        ("tensorflow_impl.backend, keras_impl.backend", {"torch"}),
    ],
)
def test_what_a_process_imports(modules: str, never: set[str]) -> None:
    """A person who runs one framework never loads another, nor the library that would."""
    code = f"import sys, {modules}, common.run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not (never | {"tensorboardX"}) & set(done.stdout.split())
