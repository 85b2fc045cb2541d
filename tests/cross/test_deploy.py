"""The generator in a browser: its ONNX file, run by onnxruntime-web in docs/browser.html."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.cross.browser import Browser, find

pytestmark = pytest.mark.slow


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A folder as docs/running.md makes it, served: its address."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here to fetch onnxruntime-web with")
    done = subprocess.run(
        [npm, "pack", "--silent", "onnxruntime-web"], cwd=tmp_path, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("npm cannot fetch onnxruntime-web here")
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    weights = "pretrained/mnist28-tuned.safetensors"
    command = [
        sys.executable,
        "-m",
        "pytorch_impl.convert",
        weights,
        str(tmp_path / "generator.onnx"),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    shutil.copy(ROOT / "docs" / "browser.html", tmp_path / "index.html")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_digits_are_drawn_in_a_browser(served: str) -> None:
    program = find()
    if program is None:
        pytest.skip("no Chromium here; install one (apt-get install chromium)")
    with Browser(program) as page:
        page.open(served)
        text = "document.getElementById('said').textContent"
        page.until(f"/images in|cannot/.test({text})")
        assert page.run(text).startswith("64 images in ")
        assert page.complaints == []
        pixels = page.run(
            "(c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data))"
            "(document.getElementById('grid'))"
        )
        grey = pixels[::4]
        assert 0.05 < sum(value > 128 for value in grey) / len(grey) < 0.4  # strokes on black
