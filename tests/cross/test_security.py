"""What SECURITY.md promises of the sources, held against the sources themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("common", "pytorch_impl", "tensorflow_impl", "keras_impl", "compare")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# Modules whose loaders run what a file says. Where one is imported on purpose, and why.
UNPICKLERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
ALLOWED = {
    "common/formats.py": "ArrayUnpickler, which knows numpy's arrays and no other name",
    "pytorch_impl/convert.py": "the error of torch.load(weights_only=True)",
    "tests/torture/broken_data.py": "writes the pickles that ArrayUnpickler is tried with",
    "tests/torture/targets.py": "the same",
}


def faults(source: str) -> Iterator[str]:
    """Calls and imports in a source that may run code out of a file or write where a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"imports {a.name}" for a in node.names if a.name in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            yield f"imports {node.module}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called.endswith("torch.load") and keywords.get("weights_only") != "True":
                yield "torch.load without weights_only=True"
            if called.endswith(("load_model", "from_config", "from_json")) and "keras" in called:
                yield f"{called}: Keras builds what the file names"
            if keywords.get("allow_pickle", "False") != "False":
                yield f"{called} with allow_pickle"
            if called.endswith((".extractall", ".extract", "unpack_archive")):
                yield f"{called} writes where an archive says"
            if keywords.get("shell", "False") != "False" or called in ("os.system", "os.popen"):
                yield f"{called} through a shell"
            if called in ("eval", "exec") or called.endswith("saved_model.load"):
                yield f"{called} runs what it is given"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_a_file_says(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    found = list(faults(path.read_text()))
    if name in ALLOWED:
        assert found == ["imports pickle"], ALLOWED[name]
    else:
        assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "keras.saving.load_model(path)",
        "keras.models.model_from_json(text)",
        "np.load(path, allow_pickle=True)",
        "zipfile.ZipFile(path).extractall()",
        "shutil.unpack_archive(path)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "eval(text)",
        "tf.saved_model.load(path)",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert len(list(faults(source))) == 1


def test_no_source_calls_an_unpickler_but_the_one_for_arrays() -> None:
    loads = re.compile(r"(?:pickle\.(?:loads?|Unpickler)|Unpickler)\(")
    for path in SOURCES:
        for found in loads.findall(path.read_text()):
            # Its definition, and the one place where it is used.
            assert (path.name, found) in {
                ("formats.py", "pickle.Unpickler("),
                ("formats.py", "Unpickler("),
                ("mnist.py", "Unpickler("),
            }, f"{path}: {found}"


def test_all_that_is_downloaded_has_a_known_hash() -> None:
    from common import mnist, named

    sums = [sum_ for pair in mnist.MNIST_FILES.values() for sum_ in pair]
    sums += {source.md5 for each in named.SOURCES.values() for source in each.values()}
    sums += {sum_ for batches in named.CIFAR_BATCHES.values() for sum_ in batches.values()}
    assert all(re.fullmatch("[0-9a-f]{32}", sum_) for sum_ in sums)
    assert len(set(sums)) == len(sums) == 8 + 7 + 6
    assert re.fullmatch("[0-9a-f]{64}", mnist.WHEEL_SHA256)
    # No other source opens a connection.
    network = re.compile(
        r"\b(?:urllib|http\.client|requests|socket\.socket|create_connection|pooch|ftplib)\b"
    )
    connecting = {path.name for path in SOURCES if network.search(path.read_text())}
    # The last two meet the other workers of a run.
    assert connecting == {"fetch.py", "mnist.py", "workers.py", "launch.py"}


def test_every_release_that_is_installed_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith(("#", " "))]
    assert len(packages) > 50
    assert all(re.match(r"[\w.\[\]-]+==[\w.+]+", line) for line in packages)
