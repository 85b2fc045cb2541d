"""Trainings on a disk that is full, read-only or gone: a few of those of `make torture`.

The training moves one array, but everything around it is real, as are the disks.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.appending import Appended
from common.events import Curves
from tests.torture import disk

TRAIN = """
import time
import numpy as np
from common import architecture, checkpoint, datasets, training
from common.architecture import Architecture, Layer

architecture.ARCHITECTURES["mnist28"] = lambda noise_size: Architecture(
    "mnist28", (28, 28, 1), noise_size,
    (Layer("dense1", "dense", (1,), {"kernel": (1, 1)}, 1),),
    (Layer("dense1", "dense", (700,), {"kernel": (500, 700)}, 500),),
)
images = np.broadcast_to(np.arange(784, dtype=np.uint8).reshape(28, 28, 1), (50000, 28, 28, 1))
datasets.load = lambda config: datasets.ArrayDataset(images)

def train(training, dataset):
    kernel = training.arrays["generator/dense1/kernel"]
    with training.open("", 1, ()):
        for chunk in training.chunks(dataset, most=5, vary=False):
            time.sleep(0.05)
            steps = zip(chunk.images, chunk.noise)
            training.record(chunk, np.array([[x.mean(), z.mean(), 0.5, 0.5] for x, z in steps]))
            kernel = kernel + np.float32(len(chunk.images))
            if training.shows(chunk.end):
                training.show(np.full((16, 28, 28, 1), kernel[0, 0] % 1))
            if training.saves(chunk.end):
                counts = dict.fromkeys(checkpoint.COUNTS, np.array(chunk.end))
                training.save(training.arrays | {"generator/dense1/kernel": kernel} | counts)

training.main("pytorch", train)
"""


def lost(work: Path, names: Sequence[str], source: str = TRAIN) -> dict[str, list[str]]:
    if not disk.namespace(work):
        pytest.skip("no file system can be mounted here")
    train = [sys.executable, "-c", source]
    return disk.lost(work, train, str(work / "no-data"), names, lambda line: None)


def test_a_disk_that_fails_costs_no_checkpoint_and_no_traceback(tmp_path: Path) -> None:
    names = [
        "one_checkpoint_fits",
        "full_at_the_start",
        "read_only_for_a_while",
        "run_deleted",
    ]
    assert lost(tmp_path, names) == {name: [] for name in names}


BROKEN = """
from common import appending, records

def forgetful(self, sync=False, flush=appending.Appended.flush):
    try:
        flush(self, sync)
    except OSError:
        self._waiting.clear()
        raise

appending.Appended.flush = forgetful
records.Records.check_there = lambda self, step: None
"""


def test_a_run_that_forgets_metrics_and_makes_a_deleted_folder_anew_is_found_out(
    tmp_path: Path,
) -> None:
    names = ["read_only_for_a_while", "run_deleted"]
    found = lost(tmp_path, names, TRAIN.replace("training.main(", BROKEN + "training.main("))
    assert found["read_only_for_a_while"] == ["metrics.jsonl differs"]
    assert any("was made" in wrong for wrong in found["run_deleted"])


def test_what_a_disk_refuses_is_appended_later(tmp_path: Path) -> None:
    """A write that takes a part, then a folder that is gone, then there again: nothing is lost."""
    (tmp_path / "a").mkdir()
    file = Appended(tmp_path / "a" / "x")
    file.add(b"one\n")
    file.flush()
    file.add(b"two\n")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        file.flush()
    assert not (tmp_path / "a").exists()
    file.add(b"three\n")
    (tmp_path / "b").rename(tmp_path / "a")
    file.flush(sync=True)
    file.flush()
    assert (tmp_path / "a" / "x").read_bytes() == b"one\ntwo\nthree\n"


def events(content: bytes) -> Iterator[Any]:
    """The events in a file of TFRecords, whose checksums must be right."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event, end = content[12 : 12 + length], 12 + length
        sums = struct.unpack("<I", content[8:12]) + struct.unpack("<I", content[end : end + 4])
        assert sums == (masked_crc32c(content[:8]), masked_crc32c(event))
        yield Event.FromString(event)
        content = content[end + 4 :]


def test_curves_are_what_tensorboardx_writes(tmp_path: Path) -> None:
    from tensorboardX import SummaryWriter

    picture = np.arange(48, dtype=np.uint8).reshape(6, 8, 1)
    curves = Curves(tmp_path / "ours", first_step=7)
    curves.scalar("d_loss", 1.5, 10)
    curves.image("fake", picture, 20)
    curves.flush()
    with SummaryWriter(str(tmp_path / "theirs"), purge_step=7) as writer:
        writer.add_scalar("d_loss", 1.5, 10)
        writer.add_image("fake", picture, 20, dataformats="HWC")
    ours, theirs = (
        [(e.step, e.file_version, e.session_log, e.summary) for e in events(path.read_bytes())]
        for path in (curves.path, next((tmp_path / "theirs").iterdir()))
    )
    assert [event for event in theirs if event in ours] == ours
