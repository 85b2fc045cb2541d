"""The notebooks: run from their first cell to their last, and their twins in Chinese the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ONE_THREAD, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ENGLISH = [path for path in NOTEBOOKS if ".zh-CN" not in path.name]
LONGEST = 40  # cells


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    """Those of a kind, `code` or `markdown`."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def test_there_are_four_and_their_twins() -> None:
    assert [path.stem for path in ENGLISH] == ["compare", "keras", "pytorch", "tensorflow"]
    assert len(NOTEBOOKS) == 2 * len(ENGLISH)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_short_and_holds_no_output(path: Path) -> None:
    code = cells(path, "code")
    assert len(code) + len(cells(path, "markdown")) < LONGEST
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.name)
def test_a_twin_in_chinese_has_the_same_code(path: Path) -> None:
    twin = path.with_suffix(".zh-CN.ipynb")
    assert [c["source"] for c in cells(path, "code")] == [c["source"] for c in cells(twin, "code")]
    texts = ["".join(cell["source"]) for cell in cells(twin, "markdown")]
    assert len(texts) == len(cells(path, "markdown"))
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    for cell in cells(path, "markdown"):
        text = "".join(cell["source"])
        for target in [part.partition(")")[0] for part in text.split("](")[1:]]:
            assert (path.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.name)
def test_a_notebook_runs_to_its_end(
    path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer iterations. Pictures appear where it says so."""
    import nbformat
    from nbclient import NotebookClient

    for name, value in (ONE_THREAD | {"STEPS": "30"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, resources=where, kernel_name="python3").execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) >= (2 if path.stem == "compare" else 5)
