"""The named data sets besides MNIST: found, fetched from a mirror on this machine, refused."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common import datasets, formats, named
from common.config import Config, UserError
from tests.python2 import python2_pickle

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "test")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def written(count: int) -> NDArray[np.uint8]:
    """SVHN's labels as its files have them: (N, 1), 10 for the digit 0."""
    return (np.arange(count, dtype=np.uint8) * 3 % 10 + 8)[:, None].clip(1, 10)


def pixels(count: int, *shape: int) -> NDArray[np.uint8]:
    return (np.arange(count * int(np.prod(shape))) * 7 % 251).astype(np.uint8).reshape(-1, *shape)


# ------------------------------------------------------------------ small files of each format


def batch_of(rows: NDArray[np.uint8]) -> bytes:
    """A file of CIFAR: (n, 3072) uint8, pickled by Python 2."""
    labels = [int(row[0]) % 10 for row in rows]
    return python2_pickle({b"batch_label": b"x", b"labels": labels, b"data": rows})


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(name: str, array: NDArray[np.uint8]) -> bytes:
    """An array of a MATLAB 5 file; names of four letters at most are packed into the header."""
    text = name.encode()
    named_ = struct.pack("<HH4s", 1, len(text), text) if len(text) <= 4 else element(1, text)
    return element(
        14,
        element(6, struct.pack("<II", 9, 0))
        + element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        + named_
        + element(2, array.tobytes(order="F")),
    )


def mat(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(elements)


def compressed(content: bytes) -> bytes:
    content = zlib.compress(content)
    return struct.pack("<II", 15, len(content)) + content  # these are not padded


CIFAR = {
    name: pixels(2, 3072) + i
    for i, name in enumerate(name for split in SPLITS for name in named.CIFAR_BATCHES[split])
}
CIFAR_FILES = {name: batch_of(rows) for name, rows in CIFAR.items()}


def archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in CIFAR_FILES.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


SVHN = {"train": pixels(32, 32, 3, 5), "test": pixels(32, 32, 3, 2)}
FILES = {  # the content of the file of each split, and its pictures
    ("fashion-mnist", split): (gzip.compress(formats.idx(pixels(n, 28, 28)), mtime=0), n)
    for split, n in (("train", 5), ("test", 3))
}
LABEL_FILES = {  # and of the labels where they have one of their own
    split: gzip.compress(formats.idx((np.arange(n) * 3 % 10).astype(np.uint8)), mtime=0)
    for split, n in (("train", 5), ("test", 3))
}
FILES |= {("cifar10", "train"): (archive(), 10)}
FILES |= {("cifar10", "test"): (FILES["cifar10", "train"][0], 2)}
FILES |= {
    ("svhn", split): (mat(compressed(matrix("X", x)), compressed(matrix("y", written(n)))), n)
    for (split, x), n in zip(SVHN.items(), (5, 2), strict=True)
}
ALL = pytest.mark.parametrize(("dataset", "split"), list(FILES))


# ------------------------------------------------------------------ the mirror


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves `files`, and ranges of them unless told; `cut` bytes before the end it hangs up."""

    files: dict[str, bytes]
    ranges: bool
    cut: int
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        name, wanted = self.path.removeprefix("/"), self.headers.get("Range")
        self.asked.append((name, wanted))
        if name not in self.files:
            return self.send_error(404)
        content, start = self.files[name], 0
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) - self.cut])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Mirror]]:
    """A mirror of FILES, whose addresses and sums stand in the place of the official ones."""

    class Here(Mirror):
        files = {source.path: b"" for source in named.SOURCES["kmnist"].values()}  # noqa: RUF012
        ranges, cut, asked = True, 0, []

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        for (dataset, split), (content, count) in FILES.items():
            source = named.SOURCES[dataset][split]
            name = Path(source.path).name
            Here.files[name] = content
            small = dataclasses.replace(
                source,
                url=f"http://127.0.0.1:{server.server_port}/{name}",
                md5=md5(content),
                shape=(count, *source.shape[1:]),
                unpacked={
                    path: sum_ and md5(CIFAR_FILES[Path(path).name])
                    for path, sum_ in source.unpacked.items()
                },
            )
            monkeypatch.setitem(named.SOURCES[dataset], split, small)
            labels = named.LABELS[dataset][split]
            changes: dict[str, Any] = {"url": small.url, "md5": small.md5, "shape": (count,)}
            if dataset == "fashion-mnist":
                name = Path(labels.path).name
                Here.files[name] = LABEL_FILES[split]
                changes |= {
                    "url": f"http://127.0.0.1:{server.server_port}/{name}",
                    "md5": md5(LABEL_FILES[split]),
                }
            else:
                changes["unpacked"] = small.unpacked
            labels = dataclasses.replace(labels, **changes)
            monkeypatch.setitem(named.LABELS[dataset], split, labels)
        yield Here
        server.shutdown()
        thread.join()


def wanted_of(dataset: str, split: str) -> NDArray[np.uint8]:
    if dataset == "fashion-mnist":
        return pixels(FILES[dataset, split][1], 28, 28)[..., None]
    if dataset == "svhn":
        return np.moveaxis(SVHN[split], 3, 0)
    rows = np.concatenate([CIFAR[name] for name in named.CIFAR_BATCHES[split]])
    return np.moveaxis(rows.reshape(-1, 3, 32, 32), 1, 3)


def file_of(dataset: str, split: str, data_dir: Path) -> Path:
    return data_dir / named.SOURCES[dataset][split].path


# ------------------------------------------------------------------ found and fetched


@ALL
def test_it_is_fetched_once_where_torchvision_has_it(
    tmp_path: Path, mirror: type[Mirror], dataset: str, split: str
) -> None:
    said: list[str] = []
    assert not named.is_there(dataset, split, str(tmp_path))
    for _ in range(2):
        found = named.images(dataset, split, str(tmp_path), said.append)
        assert named.is_there(dataset, split, str(tmp_path))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted_of(dataset, split))
    source = named.SOURCES[dataset][split]
    assert said == [f"{dataset}: fetching {source.url} ..."]
    path = file_of(dataset, split, tmp_path)
    assert md5(path.read_bytes()) == source.md5
    assert {file.name for file in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


@pytest.mark.parametrize("split", SPLITS)
def test_what_torchvision_unpacked_is_enough(
    tmp_path: Path, mirror: type[Mirror], split: str
) -> None:
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name, content in CIFAR_FILES.items():
        (batches / name).write_bytes(content)
    (raw := tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    for part, name in (("train", "train-images-idx3-ubyte"), ("test", "t10k-images-idx3-ubyte")):
        (raw / name).write_bytes(gzip.decompress(FILES["fashion-mnist", part][0]))
    for dataset in ("cifar10", "fashion-mnist"):
        assert named.is_there(dataset, split, str(tmp_path))
        found = named.images(dataset, split, str(tmp_path))
        np.testing.assert_array_equal(found, wanted_of(dataset, split))
    assert mirror.asked == []


def test_a_run_gets_its_images_with_a_margin_and_what_is_held_out(
    tmp_path: Path, mirror: type[Mirror]
) -> None:
    for dataset in ("fashion-mnist", "cifar10", "svhn"):
        config = Config(
            dataset=dataset, data_dir=str(tmp_path), train_images=4, architecture="dcgan"
        )
        said: list[str] = []
        wanted = wanted_of(dataset, "train")[:4]
        if dataset == "fashion-mnist":
            wanted = np.pad(wanted, ((0, 0), (2, 2), (2, 2), (0, 0)))
        data = datasets.load(config, said.append)
        assert data.shape == wanted.shape
        np.testing.assert_array_equal(data.gather(np.arange(4)), wanted)
        assert ("a black margin to 32 x 32" in said[-1]) == (dataset == "fashion-mnist")
        held_out = datasets.held_out(config, 2, said.append)
        assert held_out is not None
        assert held_out.shape == (2, *wanted.shape[1:])


@ALL
def test_labels_lie_in_the_same_file_or_beside_it(
    tmp_path: Path, mirror: type[Mirror], dataset: str, split: str
) -> None:
    count = FILES[dataset, split][1]
    wanted = np.arange(count) * 3 % 10
    if dataset == "svhn":
        wanted = written(count)[:, 0] % 10
        assert (written(count) == 10).any()  # which is the digit 0
    elif dataset == "cifar10":
        wanted = np.array([row[0] % 10 for n in named.CIFAR_BATCHES[split] for row in CIFAR[n]])
    named.images(dataset, split, str(tmp_path))
    found = named.labels(dataset, split, str(tmp_path))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)
    assert len(mirror.asked) == (2 if dataset == "fashion-mnist" else 1)
    config = Config(dataset=dataset, data_dir=str(tmp_path), train_images=2, architecture="dcgan")
    which: datasets.Split = "train" if split == "train" else "test"
    np.testing.assert_array_equal(
        datasets.labels(config, which), wanted[:2] if split == "train" else wanted
    )


def test_labels_of_unpacked_files(tmp_path: Path, mirror: type[Mirror]) -> None:
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name, content in CIFAR_FILES.items():
        (batches / name).write_bytes(content)
    (raw := tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(gzip.decompress(LABEL_FILES["train"]))
    found = named.labels("cifar10", "train", str(tmp_path))
    assert found.tolist() == [row[0] % 10 for n in named.CIFAR_BATCHES["train"] for row in CIFAR[n]]
    assert named.labels("fashion-mnist", "train", str(tmp_path)).tolist() == [0, 3, 6, 9, 2]
    assert mirror.asked == []


# ------------------------------------------------------------------ interrupted


def begin(dataset: str, data_dir: Path, content: bytes) -> Path:
    path = file_of(dataset, "train", data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    return part


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", ["half", "whole", "wrong", "too much"])
def test_a_download_is_gone_on_with(
    tmp_path: Path, mirror: type[Mirror], kind: str, ranges: bool
) -> None:
    """Whatever lies there, and whether the mirror can send the rest or only all of it."""
    content = FILES["svhn", "train"][0]
    half = len(content) // 2
    there = {
        "half": content[:half],
        "whole": content,
        "wrong": bytes(half),
        "too much": content + b"?",
    }[kind]
    part = begin("svhn", tmp_path, there)
    mirror.ranges = ranges
    said: list[str] = []
    found = named.images("svhn", "train", str(tmp_path), said.append)
    np.testing.assert_array_equal(found, wanted_of("svhn", "train"))
    name = "train_32x32.mat"
    assert mirror.asked[0] == (name, f"bytes={len(there)}-")
    assert f"from byte {len(there)} on" in said[0]
    again = ranges and kind in ("wrong", "too much")
    assert mirror.asked[1:] == ([(name, None)] if again else [])
    assert not part.exists()


def test_a_connection_that_breaks_leaves_what_came(tmp_path: Path, mirror: type[Mirror]) -> None:
    mirror.cut = 100
    with pytest.raises(UserError, match=r"svhn could not be fetched from .*, or try again\.$"):
        named.images("svhn", "train", str(tmp_path), lambda line: None)
    part = file_of("svhn", "train", tmp_path).with_name("train_32x32.mat.part")
    content = FILES["svhn", "train"][0]
    assert content.startswith(part.read_bytes())
    mirror.cut = 0
    found = named.images("svhn", "train", str(tmp_path), lambda line: None)
    np.testing.assert_array_equal(found, wanted_of("svhn", "train"))


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize("kind", ["changed", "missing", "refused"])
def test_without_luck_one_is_told_which_file_to_put_where(
    tmp_path: Path, mirror: type[Mirror], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = named.SOURCES["svhn"]["train"]
    if kind == "changed":
        mirror.files["train_32x32.mat"] += b"?"
    elif kind == "missing":
        del mirror.files["train_32x32.mat"]
    else:
        nowhere = dataclasses.replace(source, url="http://127.0.0.1:1/train_32x32.mat")
        monkeypatch.setitem(named.SOURCES["svhn"], "train", nowhere)
    with pytest.raises(UserError) as caught:
        named.images("svhn", "train", str(tmp_path), lambda line: None)
    said = str(caught.value)
    path = tmp_path / "train_32x32.mat"
    assert f"put the file yourself at {path} (its MD5 sum is {source.md5})" in said
    assert "\n" not in said
    reason = {
        "changed": "what came does not have the file's MD5 sum",
        "missing": "404 Client Error",
        "refused": "no connection",
    }[kind]
    assert f"({reason}" in said
    assert [file.name for file in tmp_path.iterdir()] == [".train_32x32.mat.lock"]


@ALL
def test_another_file_of_that_name_is_refused_and_left(
    tmp_path: Path, mirror: type[Mirror], dataset: str, split: str
) -> None:
    path = file_of(dataset, split, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a person's")
    with pytest.raises(UserError, match=f"is not {dataset}'s file of that name .*move it away"):
        named.images(dataset, split, str(tmp_path))
    assert path.read_bytes() == b"a person's"
    assert mirror.asked == []


@pytest.mark.parametrize("content", [b"", b"no IDX", formats.idx(pixels(4, 28, 28)), bytes(99)])
def test_an_unpacked_file_without_a_sum_must_hold_what_the_data_set_has(
    tmp_path: Path, mirror: type[Mirror], content: bytes
) -> None:
    (raw := tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UserError, match=r"ubyte cannot be read as fashion-mnist \(.*; move it"):
        named.images("fashion-mnist", "train", str(tmp_path))


def test_a_changed_batch_is_refused_and_a_missing_one_fetched(
    tmp_path: Path, mirror: type[Mirror]
) -> None:
    (batches := tmp_path / "cifar-10-batches-py").mkdir()
    for name, content in CIFAR_FILES.items():
        (batches / name).write_bytes(content)
    (batches / "data_batch_3").write_bytes(b"?")
    with pytest.raises(UserError, match="data_batch_3 is not cifar10's file of that name"):
        named.images("cifar10", "train", str(tmp_path))
    (batches / "data_batch_3").unlink()
    found = named.images("cifar10", "train", str(tmp_path), lambda line: None)
    np.testing.assert_array_equal(found, wanted_of("cifar10", "train"))


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_an_unusable_data_folder_is_explained(
    tmp_path: Path, mirror: type[Mirror], name: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be used .*; choose another with --data-dir\.$"):
        named.images("svhn", "train", str(tmp_path / name), lambda line: None)


def test_the_command_fetches_by_name(
    tmp_path: Path,
    mirror: type[Mirror],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "--dataset", "svhn"])
    datasets.main()
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"svhn: 5 and 2 verified images in {tmp_path}."
    )


# ------------------------------------------------------------------ formats


@pytest.mark.parametrize("pack", [compressed, bytes])
@pytest.mark.parametrize("name", ["X", "pictures"])
def test_an_array_of_a_matlab_file(pack: object, name: str) -> None:
    wanted = pixels(2, 3, 4, 5)
    content = mat(*(pack(matrix(n, a)) for n, a in (("other", pixels(3)), (name, wanted))))  # type: ignore[operator]
    np.testing.assert_array_equal(formats.parse_mat(content, name), wanted)
    with pytest.raises(ValueError, match="there is no array Y"):
        formats.parse_mat(content, "Y")


def test_matlabs_format_as_scipy_writes_it() -> None:
    scipy_io = pytest.importorskip("scipy.io")
    wanted = np.asfortranarray(pixels(32, 32, 3, 4))
    for do_compression in (True, False):
        stream = io.BytesIO()
        scipy_io.savemat(stream, {"y": [[1]], "X": wanted}, do_compression=do_compression)
        np.testing.assert_array_equal(formats.parse_mat(stream.getvalue(), "X"), wanted)


def test_a_broken_matlab_file_is_a_value_error() -> None:
    whole = mat(compressed(matrix("X", pixels(2, 3))))
    plain = mat(matrix("X", pixels(2, 3)))
    for content in (b"", b"x" * 200, *(c[:n] for c in (whole, plain) for n in range(len(c)))):
        with pytest.raises(ValueError):
            formats.parse_mat(content, "X")


@given(st.data())
def test_a_changed_matlab_file_is_an_array_or_a_value_error(data: st.DataObject) -> None:
    pack = data.draw(st.sampled_from([compressed, bytes]))
    content = bytearray(mat(pack(matrix("X", pixels(2, 3)))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert formats.parse_mat(bytes(content), "X").dtype == np.uint8


def test_no_code_runs_from_a_batch() -> None:
    content = b"cos\nsystem\n(S'true'\ntR."
    with pytest.raises(ValueError, match="no pickle of arrays"):
        formats.unpickle_arrays(io.BytesIO(content))


PROCESS = """
import sys
from common import named
from dataclasses import replace
named.SOURCES["svhn"]["train"] = replace(
    named.SOURCES["svhn"]["train"], url=sys.argv[2], md5=sys.argv[3], shape=(5, 32, 32, 3))
print(named.images("svhn", "train", sys.argv[1], say=lambda line: None).shape)
"""


def test_two_processes_at_once_fetch_once(tmp_path: Path, mirror: type[Mirror]) -> None:
    source = named.SOURCES["svhn"]["train"]
    command = [sys.executable, "-c", PROCESS, str(tmp_path), source.url, source.md5]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [p.communicate(timeout=60)[0] for p in both] == ["(5, 32, 32, 3)\n"] * 2
    assert len(mirror.asked) == 1
