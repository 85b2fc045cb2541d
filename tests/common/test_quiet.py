"""Start-up noise is held back, a failure's explanation is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_what_was_held_back_is_replayed_when_a_start_fails() -> None:
    code = """
import os
from common.quiet import quiet
with quiet():
    os.write(2, b"hidden")
try:
    with quiet():
        os.write(2, b"shown")
        raise ImportError
except ImportError:
    os.write(2, b" and after")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stderr == "shown and after"
