"""Scaling, grids, pictures and animations."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from common import images

EVERY_BYTE = np.arange(256, dtype=np.uint8)


def some(*shape: int) -> np.ndarray:
    """Reproducible uint8 images."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# ------------------------------------------------------------------ scaling


def test_preprocess_is_the_tutorials() -> None:
    found = images.preprocess_img(EVERY_BYTE)
    assert found.dtype == np.float32
    assert (found[0], found[255]) == (-1, 1)
    np.testing.assert_allclose(found, (EVERY_BYTE / 255 - 0.5) / 0.5, rtol=0, atol=1.2e-7)


def test_every_byte_survives_the_way_there_and_back() -> None:
    scaled = images.preprocess_img(EVERY_BYTE)
    np.testing.assert_array_equal(images.to_uint8(scaled), EVERY_BYTE)
    np.testing.assert_allclose(images.deprocess_img(scaled), EVERY_BYTE / 255, atol=1e-7)


@given(hnp.arrays(np.float64, 5, elements=st.floats(-1, 1)))
def test_deprocess_undoes_the_tutorials_scaling(x: np.ndarray) -> None:
    shown = images.deprocess_img(x)
    assert ((shown >= 0) & (shown <= 1)).all()
    np.testing.assert_allclose((shown - 0.5) / 0.5, x, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_to_uint8_rounds_to_nearest_and_clips(dtype: type) -> None:
    x = np.array([-5, -1, -0.9975, -0.995, 0.995, 1, 5, np.inf], dtype)
    assert images.to_uint8(x).tolist() == [0, 0, 0, 1, 254, 255, 255, 255]


@given(hnp.arrays(np.float32, 4, elements=st.floats(-1, 1, width=32)))
def test_to_uint8_is_off_by_half_a_level_at_most(x: np.ndarray) -> None:
    exact = (x.astype(np.float64) + 1) * 127.5
    assert np.abs(images.to_uint8(x) - exact).max() <= 0.5


# ------------------------------------------------------------------ grids


@pytest.mark.parametrize(
    ("n", "columns", "size"),
    [
        (1, None, (9, 12)),  # 2 + 5 + 2, 2 + 8 + 2
        (16, None, (30, 42)),  # 4 rows of 4
        (5, None, (16, 32)),  # 2 rows of 3
        (7, None, (23, 32)),  # 3 rows of 3
        (5, 5, (9, 52)),
        (5, 1, (37, 12)),
    ],
)
def test_a_grid_is_as_square_as_it_comes(
    n: int, columns: int | None, size: tuple[int, int]
) -> None:
    assert images.grid(some(n, 5, 8, 3), columns).shape == (*size, 3)


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 3), st.sampled_from([1, 3]))
def test_a_grid_holds_each_image_in_reading_order_and_else_black(
    n: int, columns: int, gap: int, channels: int
) -> None:
    pictures = some(n, 3, 2, channels) | 1  # no black pixel
    canvas = images.grid(pictures, columns, gap)
    for i, picture in enumerate(pictures):
        y, x = gap + (i // columns) * (3 + gap), gap + (i % columns) * (2 + gap)
        np.testing.assert_array_equal(canvas[y : y + 3, x : x + 2], picture)
    assert np.count_nonzero(canvas) == pictures.size


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(tmp_path: Path, channels: int) -> None:
    picture = some(7, 5, channels)
    images.save_png(tmp_path / "x.png", picture)
    np.testing.assert_array_equal(images.read_png(tmp_path / "x.png"), picture)
    images.save_png(tmp_path / "x.png", picture, zoom=3)
    found = images.read_png(tmp_path / "x.png")
    np.testing.assert_array_equal(found, picture.repeat(3, 0).repeat(3, 1))
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_a_grid_is_enlarged_for_people_and_read_back_as_it_was(tmp_path: Path) -> None:
    for side, channels, zoom in ((28, 1, 3), (32, 3, 3), (64, 1, 2), (128, 3, 1)):
        pictures = some(5, side, side, channels)
        images.save_grid(tmp_path / "x.png", pictures)
        wanted = images.grid(pictures)
        assert images.read_png(tmp_path / "x.png").shape[0] == zoom * wanted.shape[0]
        np.testing.assert_array_equal(images.read_grid(tmp_path / "x.png", side), wanted)


def durations(path: Path) -> list[int]:
    """Milliseconds of each frame of an animation."""
    with Image.open(path) as picture:
        found = []
        for i in range(getattr(picture, "n_frames", 1)):
            picture.seek(i)
            found.append(picture.info["duration"])
        return found


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_has_every_frame_and_holds_the_last(tmp_path: Path, channels: int) -> None:
    images.save_gif(tmp_path / "x.gif", list(some(5, 8, 8, channels)), seconds=2.5, zoom=2)
    assert durations(tmp_path / "x.gif") == [500, 500, 500, 500, 1500]
    with Image.open(tmp_path / "x.gif") as picture:
        assert picture.size == (16, 16)
        assert picture.info["loop"] == 0  # for ever


def test_a_gifs_frames_are_not_shorter_than_browsers_show(tmp_path: Path) -> None:
    images.save_gif(tmp_path / "x.gif", list(some(3, 4, 4, 1)), seconds=0.001)
    assert durations(tmp_path / "x.gif") == [20, 20, 1500]


def test_gray_frames_keep_their_values(tmp_path: Path) -> None:
    frames = some(3, 6, 6, 1)
    images.save_gif(tmp_path / "x.gif", list(frames), seconds=1)
    with Image.open(tmp_path / "x.gif") as picture:
        for i, frame in enumerate(frames):
            picture.seek(i)
            np.testing.assert_array_equal(np.asarray(picture.convert("L")), frame[..., 0])


# ------------------------------------------------------------------ show_images


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((16, 28, 28), 1),
        ((16, 28, 28, 1), 1),
        ((16, 28, 28, 3), 3),
        ((16, 1, 28, 28), 1),
        ((16, 3, 28, 28), 3),
        ((16, 784), 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_show_images_saves_every_layout(
    tmp_path: Path, shape: tuple[int, ...], channels: int, dtype: type
) -> None:
    pictures = some(*shape)
    shown = pictures if dtype is np.uint8 else (pictures / 255).astype(dtype)
    path = images.show_images(shown, tmp_path / "x.png")
    assert path == tmp_path / "x.png"
    if channels == 3 and shape[1] == 3:
        pictures = np.moveaxis(pictures, 1, -1)
    wanted = images.grid(pictures.reshape(16, 28, 28, channels)).repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(images.read_png(path), wanted)


def test_show_images_saves_where_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert images.show_images(np.zeros((4, 4, 4))) == Path("images.png")
    assert os.listdir() == ["images.png"]  # noqa: PTH208


def test_in_a_notebook_images_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    appeared: list[tuple[int, ...]] = []

    def show() -> None:
        appeared.append(pyplot.gca().images[0].get_array().shape)

    monkeypatch.setattr(images, "_in_notebook", lambda: True)
    monkeypatch.setattr(pyplot, "show", show)
    for channels in (1, 3):
        assert images.show_images(np.zeros((4, 4, 4, channels)), tmp_path / "x.png") is None
    pyplot.close("all")
    assert appeared == [(14, 14), (14, 14, 3)]
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ walks and plots


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 4)),
        elements=st.floats(-1, 1, width=32),
    ),
    st.integers(1, 9),
)
def test_a_latent_walk_meets_its_ends_and_stays_in_the_cube(z: np.ndarray, frames: int) -> None:
    walk = images.latent_walk(z, frames)
    assert walk.shape == ((len(z) - 1) * frames + 1, z.shape[1])
    assert walk.dtype == np.float32
    np.testing.assert_array_equal(walk[::frames], z)
    assert np.abs(walk).max() <= 1


def test_a_latent_walk_is_straight_and_even() -> None:
    walk = images.latent_walk(np.array([[0, 1], [1, -1]], np.float32), 4)
    assert walk.tolist() == [[0, 1], [0.25, 0.5], [0.5, 0], [0.75, -0.5], [1, -1]]


@pytest.mark.parametrize("count", [1, 30, 200])
def test_plot_losses_makes_a_readable_picture(tmp_path: Path, count: int) -> None:
    steps = np.arange(count)
    names = ("d_loss", "g_loss", "d_real", "d_fake")
    losses = {name: np.random.default_rng(0).random(count) for name in names}
    images.plot_losses(tmp_path / "x.png", steps, losses)
    picture = images.read_png(tmp_path / "x.png")
    assert picture.shape == (660, 880, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50  # lines, not a blank sheet


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=150))
def test_the_bold_line_is_the_mean_of_the_last_50(values: list[float]) -> None:
    found = images._smooth(np.array(values))
    wanted = [np.mean(values[max(0, i - 49) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(found, wanted, atol=1e-10)
