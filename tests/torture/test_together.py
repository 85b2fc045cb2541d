"""Processes that meet, and long runs: short versions of `python -m tests.torture`.

That a training repeats bit for bit from process to process is tested where runs are stopped and
resumed, in tests/engine.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from common import checkpoint
from compare.pages.torture import Row
from compare.quality import evaluate
from tests.torture import steady, together
from tests.torture.plain import PLAIN
from tests.torture.steady import Sample
from tests.torture.trainings import picture


def assert_nothing_lost(row: Row, tried: int) -> None:
    assert (row.tried, row.survived) == (tried, tried), row.note


def test_trainings_started_at_once_fetch_the_data_once(tmp_path: Path) -> None:
    assert_nothing_lost(together.fetch_at_once(tmp_path, [PLAIN] * 3, print), 3)


def test_of_two_trainings_in_one_directory_one_is_refused(tmp_path: Path, data_dir: str) -> None:
    row = together.same_directory(tmp_path, PLAIN, 2, data_dir, print)
    assert_nothing_lost(row, 2)
    assert row.note.startswith("2 ")  # at the gate both have found the directory free


def test_a_resume_does_not_go_on_from_a_state_that_is_no_longer_the_last(
    tmp_path: Path, data_dir: str
) -> None:
    assert_nothing_lost(together.late_resumes(tmp_path, 1, data_dir, print), 1)


def test_a_training_run_is_neither_resumed_nor_overwritten(tmp_path: Path, data_dir: str) -> None:
    row = together.around_a_training(tmp_path, PLAIN, 1, data_dir, print, reading=False)
    assert_nothing_lost(row, 4)


def test_a_checkpoint_is_whole_whenever_it_is_read(tmp_path: Path, data_dir: str) -> None:
    assert_nothing_lost(together.loads_while_saving(tmp_path, 15, data_dir, print), 15)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: str, command) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    command(
        PLAIN.package, "--steps", 2, "--batch-size", 2, "--data-dir", data_dir, "--out", run
    )  # fmt: skip
    return run


def test_a_run_that_is_being_finished_is_left_alone(finished: Path, command) -> None:
    result = finished / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"finished": False}))
    before = picture(finished)
    with FileLock(finished / ".lock"):
        done = command(PLAIN.package, "--resume", finished, status=2)
    assert done.stderr == f"error: Another process is training in {finished}.\n"
    assert picture(finished) == before
    command(PLAIN.package, "--resume", finished)
    assert json.loads(result.read_text())["finished"]


def test_a_score_belongs_to_the_checkpoint_that_it_names(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run saves a later state after the command line was checked."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    subject = evaluate.subject(str(run), "pytorch")
    saved = checkpoint.load(subject.file)
    later = saved.arrays | {name: np.array(7, np.int64) for name in checkpoint.COUNTS}
    checkpoint.save(subject.file, later, saved.config, "plain", {})
    drawn = []

    def images_of(subject: evaluate.Subject, count: int, seed: int) -> np.ndarray:
        shutil.copy(finished / checkpoint.FILE_NAME, run)  # and another one meanwhile
        drawn.append(checkpoint.load(subject.file).step)
        return np.zeros((count, 28, 28), np.uint8)

    class Scorer:
        kind, least, extractor = evaluate.Scorer.kind, 3, None

        def measures(self, images: np.ndarray) -> dict[str, float]:
            return {}

        floor = reference = measures

    monkeypatch.setattr(evaluate, "images_of", images_of)
    record = evaluate.evaluate(subject, Scorer(), 3, 1)  # type: ignore[arg-type]
    assert drawn == [record["step"]] == [7]
    assert json.loads((run / evaluate.FILE_NAME).read_text())["step"] == 7


# ------------------------------------------------------------------ long runs


def samples(memory: object, handles: object) -> list[Sample]:
    """50 of them, of functions of a number from 0 to 1."""
    return [Sample(memory(i / 50), handles(i / 50)) for i in range(50)]  # type: ignore[operator]


def test_a_run_may_warm_up_and_save_now_and_then() -> None:
    warm = samples(lambda t: 1000 - 900 * (t < 0.1) + 300 * (t * 50 % 5 == 0), lambda t: 8)
    assert steady.flat(warm) == ""


def test_a_leak_of_memory_is_noticed() -> None:
    assert "memory grew by 18 MiB" in steady.flat(samples(lambda t: 1000 + 30 * t, lambda t: 8))


def test_a_leak_of_an_open_file_is_noticed() -> None:
    assert "not constant" in steady.flat(samples(lambda t: 1000, lambda t: 8 + (t > 0.7)))


def test_a_run_that_was_not_seen_is_not_flat() -> None:
    assert steady.flat([]) == "only 0 samples were taken"


def test_a_process_is_looked_at(tmp_path: Path) -> None:
    before = steady.sample(os.getpid())
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert steady.sample(os.getpid()).handles == before.handles + 2
    assert before.memory > 20
