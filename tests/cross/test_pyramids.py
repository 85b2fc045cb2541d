"""The sliced Wasserstein distance of image pyramids: against a slow second implementation that
follows the paper's words, then what it must and must not notice."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from compare.quality import pyramids

COUNT = 100


def pictures(seed: int, count: int = COUNT, side: int = 32, channels: int = 3) -> np.ndarray:
    """Soft blots and short fine strokes on a coloured ground, (N, S, S, C) uint8."""
    raw = np.random.Philox(key=np.array([seed, 7], np.uint64))
    words = raw.random_raw(count * channels * (12 + side * side)) >> np.uint64(40)
    values = words.reshape(count, channels, -1) / 2**24
    grid = np.arange(side) / side
    found = np.zeros((count, side, side, channels))
    for c in range(channels):
        ground, *blots = np.split(values[:, c, :12], 4, axis=1)
        found[..., c] = 0.3 * ground[:, :1, None]
        for blot in blots:
            y, x, size = (v[:, None, None] for v in blot.T)
            far = (grid[:, None] - y) ** 2 + (grid - x) ** 2
            found[..., c] += 0.3 / (1 + far / (0.002 + 0.05 * size))
        strokes = values[:, c, 12:].reshape(count, side, side)[..., ::2].repeat(2, axis=2)
        found[..., c] += 0.2 * (strokes - 0.5)
    return np.rint(255 * found.clip(0, 1)).astype(np.uint8)


GOLDEN = {32: 16.935, 16: 50.480}  # of A and B, as first found

A, B = pictures(1), pictures(2)


@pytest.fixture(scope="module")
def floor() -> dict[int, float]:
    return pyramids.distances(A, B)


# ------------------------------------------------------------------ a second implementation

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def slow_down(image: np.ndarray) -> np.ndarray:
    """(S, S) -> (S / 2, S / 2)."""
    return scipy.ndimage.convolve(image, FILTER, mode="mirror")[::2, ::2]


def slow_up(image: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * image.shape[0], 2 * image.shape[1]))
    wide[::2, ::2] = image
    return scipy.ndimage.convolve(wide, 4 * FILTER, mode="mirror")


def slow_pyramid(image: np.ndarray) -> list[np.ndarray]:
    levels = [image]
    while len(levels[-1]) >= 32:
        levels.append(slow_down(levels[-1]))
    lost = [fine - slow_up(coarse) for fine, coarse in itertools.pairwise(levels)]
    return [*lost, levels[-1]]


def slow_distances(a: np.ndarray, b: np.ndarray) -> list[float]:
    clouds = [[], []]
    for images, cloud in zip((a, b), clouds, strict=True):
        images = sorted(images, key=lambda image: hashlib.sha256(image.tobytes()).digest())
        stacks = [[slow_pyramid(c) for c in np.moveaxis(i / 255, 2, 0)] for i in images]
        for level in range(len(stacks[0][0])):
            rows, columns = pyramids.places(len(images), len(stacks[0][0][level]), level)
            points = [
                [channel[level][y : y + 7, x : x + 7] for channel in stack]
                for n, stack in enumerate(stacks)
                for y, x in zip(rows[n], columns[n], strict=True)
            ]
            found = np.array(points)  # (points, C, 7, 7)
            found -= found.mean((0, 2, 3), keepdims=True)
            found /= found.std((0, 2, 3), keepdims=True)
            cloud.append(np.moveaxis(found, 1, 3).reshape(len(found), -1))
    return [
        1000
        * np.mean([scipy.stats.wasserstein_distance(x @ axis, y @ axis) for axis in directions])
        for x, y in zip(*clouds, strict=True)
        for directions in [pyramids.directions(x.shape[1])]
    ]


@pytest.mark.parametrize(
    ("side", "channels", "levels"), [(28, 1, [28]), (32, 3, [32, 16]), (64, 1, [64, 32, 16])]
)
def test_against_the_papers_words_one_by_one(side: int, channels: int, levels: list[int]) -> None:
    a, b = (pictures(seed, 6, side, channels) for seed in (3, 4))
    found = pyramids.distances(a, b)
    assert list(found) == levels
    assert list(found.values()) == pytest.approx(slow_distances(a, b), rel=1e-5)


def test_a_pyramid_adds_up_to_its_image() -> None:
    images = pictures(5, 2, 128).astype(np.float32) / 255
    found = pyramids.laplacian(images, 3)
    for level in (2, 1, 0):
        found = pyramids.up(found) + pyramids.laplacian(images, level)
    np.testing.assert_allclose(found, images, atol=1e-6)


def test_places_and_directions_are_spread_evenly() -> None:
    rows, columns = pyramids.places(COUNT, 32, 0)
    for drawn in (rows, columns):
        assert scipy.stats.chisquare(np.bincount(drawn.ravel(), minlength=26)).pvalue > 0.001
    assert (rows.max(), columns.max()) == (25, 25)
    assert abs(np.corrcoef(rows.ravel(), columns.ravel())[0, 1]) < 0.02
    axes = pyramids.directions(147)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1, rtol=1e-6)
    assert np.abs(axes.mean(0)).max() < 5 / np.sqrt(147 * len(axes))


# ------------------------------------------------------------------ what it must notice


def test_the_figures_are_these(floor: dict[int, float]) -> None:
    assert floor == pytest.approx(GOLDEN, rel=1e-4)
    assert pyramids.distances(A, B) == floor


@pytest.mark.slow
def test_a_set_against_itself_and_in_another_order(floor: dict[int, float]) -> None:
    assert set(pyramids.distances(A, A).values()) == {0.0}
    assert pyramids.distances(B, A) == pytest.approx(floor, rel=1e-6)
    assert pyramids.distances(A[::-1], np.roll(B, 9, axis=0)) == pytest.approx(floor, rel=1e-6)


def blurred(images: np.ndarray) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(images, (0, 0.7, 0.7, 0))


def noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.Generator(np.random.Philox(3)).normal(0, 30, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


def lighter(images: np.ndarray) -> np.ndarray:
    """Half of them far lighter on one side: nothing fine changes."""
    ramp = (
        np.linspace(0, 90, images.shape[2])[:, None]
        * (np.arange(len(images)) % 2 > 0)[:, None, None, None]
    )
    return (images + ramp).clip(0, 255).astype(np.uint8)


def collapsed(images: np.ndarray) -> np.ndarray:
    return images[np.arange(len(images)) % 4]


@pytest.mark.parametrize(
    ("change", "where"), [(blurred, 32), (noisy, 32), (lighter, 16), (collapsed, 16)]
)
def test_worse_pictures_are_farther_and_at_the_size_that_changed(
    change, where: int, floor: dict[int, float]
) -> None:
    found = pyramids.distances(A, change(B))
    assert found[where] > 1.5 * floor[where]
    others = [found[side] / floor[side] for side in floor if side != where]
    assert found[where] / floor[where] > max(others)


@pytest.mark.slow
def test_sets_of_one_colour_have_a_distance() -> None:
    grey = np.full_like(A, 128)
    assert all(0 < value < 10_000 for value in pyramids.distances(A, grey).values())
    assert set(pyramids.distances(grey, grey // 2).values()) == {0.0}


def test_sets_of_other_shapes_are_no_pair() -> None:
    for other in (B[:-1], B[:, :16, :16]):
        with pytest.raises(ValueError):
            pyramids.distances(A, other)
