"""A batch that does not fit into memory is explained. Every engine: `make torture`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compare import engines

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits the memory of a running process"
)


@pytest.mark.slow
def test_a_batch_too_large_for_the_memory_is_explained(tmp_path: Path, data_dir: str) -> None:
    from tests.torture import memory

    status, err = memory.complaint(engines.ENGINES["pytorch"], tmp_path / "run", data_dir)
    assert memory.explained(status, err), (status, err)


def test_a_traceback_is_no_explanation() -> None:
    from tests.torture import memory

    assert not memory.explained(1, "RuntimeError: can't allocate memory")
    assert not memory.explained(2, "Traceback\nerror: a batch of 20000 images, --batch-size 10000")
