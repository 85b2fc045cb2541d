"""The three folders read side by side: same files, same functions, same arguments in order."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("pytorch_impl", "tensorflow_impl", "keras_impl")
FILES = ("layers", "networks", "losses", "step", "state", "train", "sample", "convert")
# What these hold is by nature one framework's: its slow or different layers, its file formats.
FRAMEWORKS_OWN = {"layers": "", "convert": ("export_", "import_")}


def signatures(folder: str, name: str) -> dict[str, list[str]]:
    """Public functions and classes of a file -> argument names; a class's are its methods'."""
    tree = ast.parse((ROOT / folder / f"{name}.py").read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = [argument.arg for argument in node.args.args]
    own = FRAMEWORKS_OWN.get(name)
    return found if own is None else {k: v for k, v in found.items() if not k.startswith(own)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_same_files(folder: str) -> None:
    present = {path.stem for path in (ROOT / folder).glob("*.py")}
    assert set(FILES) <= present


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_same_functions_and_arguments(folder: str, name: str) -> None:
    assert signatures(folder, name) == signatures("pytorch_impl", name)


@pytest.mark.parametrize("name", ["losses", "step", "state"])
def test_the_comparison_sees_something(name: str) -> None:
    assert len(signatures("pytorch_impl", name)) >= 3


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("common.run", set()),
        ("compare.parity", set()),
        ("pytorch_impl.step", {"torch"}),
        ("tensorflow_impl.step", {"tensorflow"}),
        ("keras_impl.step", {"keras", "tensorflow"}),
    ],
)
def test_what_a_process_imports(module: str, allowed: set[str]) -> None:
    """A person who runs one framework never loads another, tensorboardX's imports included."""
    code = (
        f"import sys, {module}, common.run\n"
        "with common.run._without_torch(): import tensorboardX\n"
        "print(*({'torch', 'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= allowed
