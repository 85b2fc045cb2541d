"""A checkpoint write whose system calls fail, one after the other; and writes that are wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture import faults

pytestmark = pytest.mark.skipif(bool(faults.unavailable()), reason=faults.unavailable() or "-")

IN_PLACE = """
def write_atomically(path, content):
    path.write_bytes(content)
"""

# What is right, with a hole for each step.
STEPS = """
import os
def write_atomically(path, content):
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            FSYNC
        RENAME
    except OSError:
        CLEAN
        raise
    AFTER
    folder = os.open(path.parent, os.O_RDONLY)
    FOLDER
    os.close(folder)
"""
RIGHT = {
    "FSYNC": "os.fsync(file.fileno())",
    "RENAME": "temporary.replace(path)",
    "CLEAN": "temporary.unlink(missing_ok=True)",
    "AFTER": "",
    "FOLDER": "os.fsync(folder)",
}
CAREFUL = "os.close(folder)\n    folder = os.open(path, os.O_RDONLY)\n    os.fsync(folder)"


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder in memory, if there is one: calls are counted, whatever a disk makes of them."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def lost_by(work: Path, source: str) -> dict[str, list[str]]:
    """What a way of writing loses, by kind."""
    product = work / "product.py"
    product.write_text(source)
    return faults.counted(work, "tiny", pieces=2, product=product).lost


def with_steps(**other: str) -> str:
    source = STEPS
    for hole, step in (RIGHT | other).items():
        source = source.replace(hole, step)
    return source


@pytest.mark.parametrize("task", ["tiny", "first"])
def test_a_save_disturbed_at_any_call_leaves_the_old_state_or_the_new(
    work: Path, task: str
) -> None:
    count = faults.counted(work, task, pieces=3)
    assert count.lost == {}
    # mkdir, is_dir, open (4 calls), 3 writes, fsync, close, rename; open, fsync, close the folder.
    assert count.calls >= 12
    calls, writes = count.calls, 3
    assert dict(count.tried) == {
        "EIO": 2 * calls,
        "ENOSPC": 2 * calls,
        "killed": calls + writes,
        "cut short": 2 * writes,
        "order": count.tried["order"],
    }
    assert count.tried["order"] > writes


def test_a_save_after_a_killed_one_is_disturbed_at_any_call(work: Path) -> None:
    count = faults.counted(work, faults.RECOVERING, pieces=2, every=41)
    assert count.lost == {}
    assert count.tried[faults.RECOVERING] > 25


def test_writing_in_place_is_found_out(work: Path) -> None:
    lost = lost_by(work, IN_PLACE)
    assert lost.keys() == {"EIO", "ENOSPC", "cut short", "killed", "order"}
    assert "cannot be read as a safetensors checkpoint" in lost["killed"][0]


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        ({"FSYNC": "pass"}, "no fsync of the temporary file between its last write and the rename"),
        (
            {"RENAME": "pass", "FSYNC": "temporary.replace(path)\n            os.fsync(file)"},
            "no fsync of the temporary file between its last write and the rename",
        ),
        ({"FOLDER": "pass"}, "no fsync of the folder after the rename"),
        ({"FOLDER": CAREFUL}, "no fsync of the folder after the rename"),
        ({"AFTER": "path.write_bytes(content)"}, "the file itself is written to"),
    ],
)
def test_a_wrong_order_is_found_out(work: Path, steps: dict[str, str], wrong: str) -> None:
    assert wrong in lost_by(work, with_steps(**steps))["order"]


def test_the_right_order_written_down_again_loses_nothing(work: Path) -> None:
    assert lost_by(work, with_steps()) == {}


def test_a_temporary_file_that_stays_is_found_out(work: Path) -> None:
    lost = lost_by(work, with_steps(CLEAN="pass"))
    assert lost.keys() == {"EIO", "ENOSPC", "cut short"}
    assert "beside it ['.checkpoint.safetensors.tmp']" in lost["EIO"][0]


def test_a_failure_that_is_hidden_is_found_out(work: Path) -> None:
    """Without `raise` the caller believes that the new state is there."""
    source = with_steps().replace("        raise\n", "        return\n")
    lost = lost_by(work, source)
    assert lost.keys() == {"EIO", "ENOSPC", "cut short", "order"}
    assert "exit status 0" in lost["EIO"][0]


def test_another_exception_than_oserror_is_found_out(work: Path) -> None:
    source = with_steps().replace("        raise\n", "        raise RuntimeError\n")
    assert lost_by(work, source).keys() == {"EIO", "ENOSPC", "cut short"}
