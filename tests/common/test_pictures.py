"""A folder of pictures as a data set: formats, modes, what is broken, and what is kept of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import config, datasets, folder, pictures
from common.config import Config, UserError

ROOT = Path(__file__).parent.parent.parent
ORANGE = (240, 120, 20)


def make(where: Path, name: str, color: object = ORANGE, size: tuple[int, int] = (90, 70)) -> Path:
    path = where / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)  # type: ignore[arg-type]
    return path


def of(path: Path, tmp_path: Path, **given: object) -> Config:
    return Config(dataset=str(path), data_dir=str(tmp_path / "data"), image_size=32, **given)  # type: ignore[arg-type]


def silent(line: str) -> None:
    pass


# ------------------------------------------------------------------ one picture


@pytest.mark.parametrize("ending", pictures.ENDINGS)
def test_every_format_gives_the_same_colour(tmp_path: Path, ending: str) -> None:
    found = pictures.read(make(tmp_path, f"a{ending}"), 32, 3)
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - ORANGE).max() <= 4  # JPEG and GIF may round


@pytest.mark.parametrize(
    ("mode", "color", "grey"),
    [
        ("1", 1, 255),
        ("L", 77, 77),
        ("LA", (0, 0), 255),  # what is transparent becomes white
        ("LA", (77, 255), 77),
        ("RGBA", (0, 0, 0, 0), 255),
        ("RGBA", (0, 0, 0, 128), 127),
        ("I;16", 40_000, 156),  # 16 bits: scaled, not cut off
        ("I;16", 200, 1),
        ("F", 0.5, 128),
        ("F", 128.0, 128),
        ("I;16B", 40_000, 156),
        ("I", 128, 128),
        ("I", 40_000, 156),
        ("I", 10**6, 255),  # of 32 bits the largest value is white
        ("I", -5, 0),
        ("F", float("nan"), 0),
    ],
)
def test_every_mode_keeps_its_brightness(
    tmp_path: Path, mode: str, color: object, grey: int
) -> None:
    path = tmp_path / "a.tiff"
    Image.new(mode, (50, 40), color).save(path)  # type: ignore[arg-type]
    for channels in (1, 3):
        found = pictures.read(path, 32, channels)
        assert found.shape == (32, 32, channels)
        assert abs(int(found.mean()) - grey) <= 1


def test_a_palette_and_its_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 20, 40))
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "hole.png", transparency=0)
    opaque, hole = (pictures.read(tmp_path / f"{n}.png", 40, 3) for n in ("opaque", "hole"))
    assert opaque[5, 5].tolist() == hole[5, 5].tolist() == [200, 100, 50]
    assert opaque[5, 35].tolist() == [10, 20, 30]
    assert hole[5, 35].tolist() == [255, 255, 255]


def test_cmyk_becomes_its_colour(tmp_path: Path) -> None:
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    assert (
        np.abs(pictures.read(tmp_path / "red.jpg", 32, 3)[9, 9].astype(int) - (255, 0, 0)).max() < 9
    )


def test_the_cameras_rotation_is_applied_and_the_middle_is_kept(tmp_path: Path) -> None:
    image = Image.new("RGB", (90, 30), "black")
    image.paste((255, 255, 255), (30, 0, 60, 15))  # the upper half of the middle third
    image.save(tmp_path / "plain.png")
    plain = pictures.read(tmp_path / "plain.png", 30, 1)[..., 0]
    assert plain[:14].min() > 250
    assert plain[16:].max() < 5
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise: its upper half is then on the right
    image.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    found = pictures.read(tmp_path / "turned.jpg", 30, 1)[..., 0]
    assert found[:, 18:].min() > 200
    assert found[:, :12].max() < 50


def test_large_pictures_are_averaged_not_sampled(tmp_path: Path) -> None:
    """A chessboard of single pixels is grey from afar."""
    board = (np.indices((640, 640)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    found = pictures.read(tmp_path / "board.png", 32, 1)
    assert np.abs(found.astype(int) - 127).max() <= 3


def test_large_pictures_are_decoded_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LARGE", 40 * 40)
    large, small = (make(tmp_path, f"{n}.png", size=(n, 40)) for n in (41, 40))
    assert pictures.read(small, 32, 3).shape == pictures.read(large, 32, 3).shape
    with pictures._one_large, ThreadPoolExecutor() as pool:
        waits = pool.submit(pictures.read, large, 32, 3)
        assert pool.submit(pictures.read, small, 32, 3).result().shape == (32, 32, 3)
        assert not waits.done()
        pictures._one_large.release()
        assert waits.result().shape == (32, 32, 3)
        pictures._one_large.acquire()


def test_photographs_with_other_pictures_in_them_and_spoilt_notes(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (40, 40), color) for color in ("red", "blue"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert pictures.read(tmp_path / "a.jpg", 32, 3)[3, 3, 0] > 250
    first.save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*not what it should be")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the folder does
        assert pictures.read(tmp_path / "b.jpg", 32, 3)[3, 3, 0] > 250


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (40, 40), color) for color in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert pictures.read(tmp_path / "a.gif", 32, 3)[3, 3].tolist() == [255, 0, 0]


# ------------------------------------------------------------------ a folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Twelve pictures in class folders, and what lies about in such a folder."""
    here = tmp_path / "my pictures é"
    for i in range(12):
        make(
            here,
            f"{'cats' if i % 2 else 'dogs'}/{i:02d}.{('png', 'jpg', 'webp')[i % 3]}",
            (20 * i, 9, 9),
        )
    make(here, ".hidden/a.png")
    make(here, ".a.png")
    (here / "notes.txt").write_text("no picture")
    (here / "dogs" / "again").symlink_to(here)
    (here / "nowhere.png").symlink_to(here / "absent.png")
    (here / "folder.png").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(here / "pipe.png")  # to be opened by nobody: reading it would never begin
    return here


def test_the_order_is_that_of_the_names(mixed: Path, tmp_path: Path) -> None:
    counted = datasets.counted(of(mixed, tmp_path), silent)
    assert counted.train_images == 12
    data = datasets.load(counted, silent)
    assert data.shape == (12, 32, 32, 3)
    assert data.dtype == np.uint8
    assert type(data.gather(np.arange(2))) is np.ndarray
    reds = data.gather(np.arange(12))[:, 16, 16, 0].astype(int)
    wanted = [20 * i for i in (1, 3, 5, 7, 9, 11, 0, 2, 4, 6, 8, 10)]  # cats, then dogs
    assert np.abs(reds - wanted).max() <= 3
    np.testing.assert_array_equal(
        data.gather(np.array([3, 3, 0]))[0], data.gather(np.array([3]))[0]
    )


def test_it_is_decoded_once_and_known_wherever_it_lies(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = datasets.counted(of(mixed, tmp_path), silent)
    before = sorted(path.name for path in mixed.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "read", None)  # not needed again
        assert datasets.counted(of(mixed, tmp_path), silent) == first
        datasets.load(first, silent)
    assert sorted(path.name for path in mixed.rglob("*")) == before
    moved = mixed.rename(tmp_path / "moved")
    again = datasets.counted(of(moved, tmp_path), silent)
    assert again.pictures_digest == first.pictures_digest
    assert config.experiment_key(again) == config.experiment_key(first)


def test_other_sizes_and_channels_are_other_images(mixed: Path, tmp_path: Path) -> None:
    grey = datasets.counted(of(mixed, tmp_path, channels=1), silent)
    assert datasets.load(grey, silent).shape == (12, 32, 32, 1)
    digits = Config(dataset=str(mixed), architecture="mnist28", data_dir=str(tmp_path / "data"))
    assert datasets.load(datasets.counted(digits, silent), silent).shape == (12, 28, 28, 1)


def test_fewer_pictures_are_the_first_and_more_are_refused(mixed: Path, tmp_path: Path) -> None:
    few = datasets.counted(of(mixed, tmp_path, train_images=5), silent)
    assert datasets.load(few, silent).shape[0] == few.train_images == 5
    with pytest.raises(UserError, match="--train-images 13 is more than the 12 pictures in "):
        datasets.counted(of(mixed, tmp_path, train_images=13), silent)


def test_changed_pictures_are_not_what_a_run_goes_on_with(mixed: Path, tmp_path: Path) -> None:
    trained = datasets.counted(of(mixed, tmp_path), silent)
    make(mixed, "dogs/10.jpg", (1, 2, 3))
    with pytest.raises(UserError, match="are no longer those that the run was trained on"):
        datasets.load(trained, silent)


NASTY = {
    "empty.jpg": b"",
    "text.png": b"no picture",
    "cut.jpg": None,
    "html.gif": b"<html>404 not found</html>",
    "zeros.webp": bytes(1000),
    "bomb.bmp": b"BM"
    + bytes(12)
    + (40).to_bytes(4, "little")
    + (60_000).to_bytes(4, "little") * 2
    + b"\x01\0\x18\0"
    + bytes(24),
}


def test_what_cannot_be_read_is_named_and_left_out(mixed: Path, tmp_path: Path) -> None:
    whole = make(mixed, "whole.jpg", size=(400, 300)).read_bytes()
    for name, content in NASTY.items():
        (mixed / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    said: list[str] = []
    counted = datasets.counted(of(mixed, tmp_path), said.append)
    assert counted.train_images == 13
    assert "decoding 19 pictures to 32 x 32 pixels" in said[0]
    for _ in range(2):  # the second time it is remembered
        said.clear()
        datasets.load(counted, said.append)
        (line,) = said
        assert "6 of 19 files cannot be read and are left out: bomb.bmp (" in line
        assert line.count("; ") == folder.NAMED - 1
        assert line.endswith(", and 3 more.")


def test_more_broken_than_good_is_no_data_set(tmp_path: Path) -> None:
    here = tmp_path / "here"
    make(here, "a.png")
    for name in ("b.png", "c.png"):
        (here / name).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"More than half of the pictures in .* \(2 of 3, b.png"
        ):
            datasets.counted(of(here, tmp_path), silent)


def test_no_folder_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name, sentence in (
        ("empty", "has no pictures, also in folders within it: their names end in .jpg"),
        ("file", "or the path of a folder of pictures; '.*' is a file"),
        ("absent", "or the path of a folder of pictures; '.*' is no folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            datasets.counted(of(tmp_path / name, tmp_path), silent)
    with pytest.raises(UserError, match=r"'cifer10' is no folder; did you mean cifar10\?"):
        datasets.counted(Config(dataset="cifer10"), silent)


def test_a_data_folder_that_cannot_be_written_is_said(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot take the decoded pictures .*--data-dir"):
        datasets.counted(of(mixed, tmp_path), silent)


def test_a_disk_that_is_full_is_said_and_keeps_nothing(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_json", refuse)
        with pytest.raises(UserError, match=r"cannot take the decoded pictures \(No space left"):
            datasets.counted(of(mixed, tmp_path), silent)
    assert {path.suffix for path in (tmp_path / "data" / "decoded").iterdir()} == {".lock"}
    free = shutil.disk_usage(tmp_path)._replace(free=30_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: free)
        with pytest.raises(UserError, match=r"pictures in .* take 0 MB .* a smaller --image-size"):
            datasets.counted(of(mixed, tmp_path), silent)
    assert datasets.counted(of(mixed, tmp_path), silent).train_images == 12


def test_the_folder_of_pictures_is_never_written_to(mixed: Path) -> None:
    before = sorted(mixed.rglob("*"))
    for data in (mixed, mixed / "data", mixed / "dogs"):
        with pytest.raises(UserError, match="lies within the folder of pictures"):
            datasets.counted(Config(dataset=str(mixed), data_dir=str(data)), silent)
    assert sorted(mixed.rglob("*")) == before


def test_a_folder_within_that_cannot_be_read_is_named(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, closed = os.scandir, str(mixed / "dogs")

    def refuse(place: str) -> object:
        if Path(place) == Path(closed):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"dogs/ cannot be read \(Permission denied\); make it"):
        datasets.counted(of(mixed, tmp_path), silent)


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    make(tmp_path / "here", "a.png")
    with pytest.raises(UserError, match="has one picture, and a batch takes at least 2; add more"):
        datasets.counted(of(tmp_path / "here", tmp_path), silent)


def test_what_may_be_read_at_last_is_read(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions alone change neither a file's size nor its time."""
    read, denied = pictures.read, mixed / "dogs" / "10.jpg"

    def refuse(path: Path, size: int, channels: int) -> np.ndarray:
        if path == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, size, channels)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "read", refuse)
        patch.setattr(os, "access", lambda path, mode: Path(path) != denied)
        assert datasets.counted(of(mixed, tmp_path), silent).train_images == 11
    assert datasets.counted(of(mixed, tmp_path), silent).train_images == 12


def test_ctrl_c_does_not_wait_for_all(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was decoded before is kept."""
    seen = []

    def interrupt(path: Path, size: int, channels: int) -> np.ndarray:
        seen.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            datasets.counted(of(mixed, tmp_path), silent)
    assert len(seen) < 12
    assert datasets.counted(of(mixed, tmp_path), silent).train_images == 12


# ------------------------------------------------------------------ killed on the way

DECODE = """
import sys, time
from common import datasets, folder, pictures
from common.config import Config

folder.BLOCK, read = 8, pictures.read
def slowly(*arguments):
    time.sleep(float(sys.argv[3]))
    return read(*arguments)
pictures.read = slowly
said = []
config = Config(dataset=sys.argv[1], data_dir=sys.argv[2], image_size=32)
found = datasets.counted(config, said.append)
print(found.train_images, found.pictures_digest, said)
"""


def start(here: Path, data: Path, seconds: float = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DECODE, str(here), str(data), str(seconds)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_killed_halfway_it_goes_on_and_two_may_start_at_once(tmp_path: Path) -> None:
    here = tmp_path / "here"
    for i in range(120):
        make(here, f"{i:03d}.png", (i, 2 * i, 0))
        if i % 10 == 0:
            (here / f"{i:03d}.jpg").write_bytes(b"broken")
    alone = start(here, tmp_path / "alone")
    wanted = alone.communicate()[0].split()[:2]
    assert wanted[0] == "120"

    killed = start(here, tmp_path / "data", 0.05)
    notes = tmp_path / "data" / "decoded"
    while not list(notes.glob("*.part.json")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not list(notes.glob("*x3.json"))
    both = [start(here, tmp_path / "data") for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [line.split()[:2] for line in said] == [wanted, wanted]
    assert sum("th on ..." in line for line in said) == 1  # one went on, the other found it done
    left = {path.suffix for path in notes.iterdir()}
    assert left == {".u8", ".json", ".lock"}
    files = [next((tmp_path / d / "decoded").glob("*.u8")) for d in ("alone", "data")]
    assert len({hashlib.sha256(file.read_bytes()).digest() for file in files}) == 1
    os.truncate(files[1], 1000)  # a store that is not whole is made anew
    assert start(here, tmp_path / "data").communicate()[0].split()[:2] == wanted
