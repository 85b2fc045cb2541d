"""The random streams, and how they are cut into batches and chunks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common import batches
from common.batches import Chunk
from common.config import Config, total_steps
from common.datasets import ArrayDataset

SEEDS = st.integers(0, 2**63 - 1)


def numbered(size: int) -> ArrayDataset:
    """Images of 2x1 pixels that hold their own index."""
    return ArrayDataset(np.arange(size, dtype="<u2").view(np.uint8).reshape(size, 2, 1, 1))


def which(chunk: Chunk) -> NDArray[np.int64]:
    """The indices of numbered() images: (K, B)."""
    flat = np.ascontiguousarray(chunk.images[..., 0, 0])
    return flat.view("<u2")[..., 0].astype(np.int64)


def joined(parts: Iterator[Chunk]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Everything that a run's chunks hold: indices (S, B) and noise (S, B, Z)."""
    held = list(parts)
    return np.concatenate([which(c) for c in held]), np.concatenate([c.noise for c in held])


@st.composite
def runs(draw: st.DrawFn) -> Config:
    """Small runs of every proportion: batches larger and smaller than what is left of an epoch."""
    size = draw(st.integers(2, 40))
    return Config(
        seed=draw(SEEDS),
        steps=draw(st.none() | st.integers(1, 25)),
        epochs=draw(st.integers(1, 3)),
        train_images=size,
        batch_size=draw(st.integers(2, size)),
        noise_size=draw(st.integers(1, 5)),
        show_every=draw(st.integers(1, 9)),
        checkpoint_every=draw(st.integers(1, 9)),
    )


# ------------------------------------------------------------------ golden values


def test_golden_words() -> None:
    assert batches.words(0, batches.NOISE, 0, 3).tolist() == [
        0xD037F8C3F9A1D176,
        0xC057419B4C210765,
        0xABF13115117B0065,
    ]


def test_golden_noise() -> None:
    assert batches.noise(0, 0, 2, 3).tolist() == [
        [0.9502507448196411, 0.6267080307006836, -0.40524208545684814],
        [0.5026627779006958, -0.863433837890625, 0.343298077583313],
    ]
    assert batches.noise(7, 1234, 128, 96)[-1, -3:].tolist() == [
        0.7871747016906738,
        -0.6648029088973999,
        0.3587064743041992,
    ]
    assert batches.noise(2**63 - 1, 10**9, 1, 3).tolist() == [
        [0.9682105779647827, 0.5820902585983276, 0.0738217830657959]
    ]


def test_golden_order() -> None:
    assert batches.order(0, 0, 10).tolist() == [6, 7, 2, 9, 1, 3, 5, 0, 4, 8]
    assert batches.order(0, 1, 10).tolist() == [2, 7, 5, 4, 0, 8, 1, 9, 3, 6]
    assert batches.order(0, 0, 50_000)[:4].tolist() == [44967, 25883, 5727, 36315]
    assert batches.order(3, 4, 50_000)[-4:].tolist() == [6015, 5940, 11618, 6280]


def test_golden_shown_and_sampled_noise() -> None:
    shown, sampled = batches.shown_noise(0, 16, 96), batches.sampled_noise(1, 5, 96)
    assert (shown.shape, sampled.shape) == ((16, 96), (5, 96))
    assert shown[0, :3].tolist() == [0.8096497058868408, -0.14168739318847656, 0.7320685386657715]
    assert shown[-1, -2:].tolist() == [-0.007247805595397949, -0.9044140577316284]
    assert sampled[0, :3].tolist() == [0.9806303977966309, 0.5977100133895874, 0.06254005432128906]


# ------------------------------------------------------------------ streams


@given(SEEDS, st.integers(0, 2**63), st.integers(1, 9), st.integers(1, 9))
def test_noise_lies_in_its_interval_and_on_its_grid(s: int, step: int, b: int, z: int) -> None:
    values = batches.noise(s, step, b, z)
    assert values.shape == (b, z)
    assert values.dtype == np.float32
    assert (values >= -1).all()
    assert (values < 1).all()
    steps = (values.astype(np.float64) + 1) * 2**23
    assert (steps == np.round(steps)).all()


def test_the_extreme_words_give_the_ends_of_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = np.array([0xFFFFFFFF00000000], np.uint64)
    monkeypatch.setattr(batches, "words", lambda *_: ends)
    assert batches.uniform(0, 1, 0, 2).tolist() == [-1.0, 1 - 2**-23]


def test_noise_is_uniform() -> None:
    values = batches.noise(0, 0, 1000, 96).astype(np.float64)
    assert abs(values.mean()) < 5 / np.sqrt(3 * values.size)
    counts, _ = np.histogram(values, bins=16, range=(-1, 1))
    assert np.abs(counts - 6000).max() < 5 * np.sqrt(6000)


@given(SEEDS, st.integers(1, 30), st.integers(1, 30))
def test_fewer_samples_are_the_first_of_more(seed: int, a: int, b: int) -> None:
    few, many = (batches.sampled_noise(seed, n, 3) for n in sorted((a, b)))
    np.testing.assert_array_equal(few, many[: len(few)])


def test_seeds_purposes_and_indices_have_streams_of_their_own() -> None:
    keys = [(s, p, i) for s in (0, 1, 2**62) for p in (1, 2, 3, 4, 5) for i in (0, 1, 10**9)]
    seen = {word for key in keys for word in batches.words(*key, 50).tolist()}
    assert len(seen) == 50 * len(keys)


# ------------------------------------------------------------------ batches


@given(SEEDS, st.integers(0, 100), st.integers(1, 300))
def test_an_epochs_order_is_a_permutation(seed: int, epoch: int, size: int) -> None:
    assert sorted(batches.order(seed, epoch, size).tolist()) == list(range(size))


def test_equal_words_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sort is stable, so that no library's choice of algorithm shows."""
    monkeypatch.setattr(batches, "words", lambda *_: np.arange(1000, dtype=np.uint64) % 2)
    found = batches._sorted_order.__wrapped__(0, 0, 1000)
    assert found.tolist() == [*range(0, 1000, 2), *range(1, 1000, 2)]


@pytest.mark.parametrize("size", [2, 3, 17, 1000, 1024, 4097, 70_001])
def test_a_large_order_is_a_permutation_too(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(batches, "LARGEST_SORTED", 0)
    whole = batches.order(3, 5, size)
    assert sorted(whole.tolist()) == list(range(size))
    np.testing.assert_array_equal(
        batches.order(3, 5, size, 1, size // 2 + 1), whole[1:][: size // 2]
    )
    assert batches.order(3, 5, size, size - 1, size + 9).tolist() == whole[-1:].tolist()
    if size > 16:
        assert (batches.order(3, 6, size) != whole).any()
        assert (batches.order(4, 5, size) != whole).any()


def test_a_large_order_is_as_good_as_a_sorted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images in 16 classes, one after the other as in a folder, each of 16 parts of an epoch
    gets its share: chi-square, 225 degrees of freedom, within five standard deviations."""
    monkeypatch.setattr(batches, "LARGEST_SORTED", 0)
    size = 65_536
    for epoch in range(3):
        classes = batches.order(1, epoch, size) * 16 // size
        counts = np.stack([np.bincount(part, minlength=16) for part in classes.reshape(16, -1)])
        chi_square = ((counts - 256.0) ** 2 / 256).sum()
        assert abs(chi_square - 225) < 5 * np.sqrt(2 * 225)
        neighbours = np.abs(np.diff(batches.order(1, epoch, size))) == 1
        assert neighbours.mean() < 10 / size


def test_large_orders_are_the_same_everywhere_and_need_no_memory() -> None:
    found = batches.indices(0, 5, 4, 10**9)
    assert found.tolist() == [342242734, 17264444, 159456277, 953718916]
    found = batches.indices(2**63 - 1, 7, 4, 2**20 + 1)
    assert found.tolist() == [13892, 643800, 314172, 791845]


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = {tuple(batches.order(s, e, 100).tolist()) for s in range(3) for e in range(3)}
    assert len(orders) == 9


@given(runs(), st.integers(0, 30))
def test_every_batch_is_full_and_the_stream_is_that_of_the_epochs(config: Config, n: int) -> None:
    size, batch = config.train_images, config.batch_size
    stream = np.concatenate([batches.indices(config.seed, s, batch, size) for s in range(n + 1)])
    assert len(stream) == (n + 1) * batch
    for epoch in range(len(stream) // size):
        part = stream[epoch * size : (epoch + 1) * size]
        np.testing.assert_array_equal(part, batches.order(config.seed, epoch, size))


def test_a_batch_may_span_several_epochs() -> None:
    found = batches.indices(0, 0, 25, 10)
    assert np.bincount(found, minlength=10).min() == 2


# ------------------------------------------------------------------ chunks


@settings(max_examples=50)
@given(runs(), st.data())
def test_how_a_run_is_cut_changes_nothing(config: Config, data: st.DataObject) -> None:
    """Any lengths, even ones that vary, give the batches of the definition."""
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    turn = count()
    found, noise = joined(
        batches.chunks(
            numbered(config.train_images),
            config,
            0,
            chunk_steps=lambda: lengths[next(turn) % len(lengths)],
        )
    )
    steps = range(total_steps(config))
    batch, size = config.batch_size, config.train_images
    np.testing.assert_array_equal(
        found, [batches.indices(config.seed, s, batch, size) for s in steps]
    )
    np.testing.assert_array_equal(
        noise, [batches.noise(config.seed, s, batch, config.noise_size) for s in steps]
    )


@settings(max_examples=50)
@given(runs(), st.integers(1, 12))
def test_chunks_end_where_something_is_due(config: Config, most: int) -> None:
    parts = list(batches.chunks(numbered(config.train_images), config, 0, chunk_steps=lambda: most))
    assert [c.step for c in parts] == [0, *(c.end for c in parts[:-1])]
    ends = {c.end for c in parts}
    total = total_steps(config)
    for every in (config.show_every, config.checkpoint_every):
        assert ends >= set(range(every, total + 1, every))
    assert total in ends
    assert max(len(c.images) for c in parts) <= most


@settings(max_examples=50)
@given(runs(), st.data())
def test_a_resumed_run_gets_the_batches_it_would_have_had(
    config: Config, data: st.DataObject
) -> None:
    dataset, total = numbered(config.train_images), total_steps(config)
    start = data.draw(st.integers(0, total - 1))
    found, noise = joined(batches.chunks(dataset, config, start))
    whole, whole_noise = joined(batches.chunks(dataset, config, 0))
    np.testing.assert_array_equal(found, whole[start:])
    np.testing.assert_array_equal(noise, whole_noise[start:])


@settings(max_examples=50)
@given(runs(), st.data())
def test_the_workers_slices_make_up_the_global_batch(config: Config, data: st.DataObject) -> None:
    batch = config.batch_size
    world = data.draw(st.sampled_from([n for n in range(1, batch + 1) if batch % n == 0]))
    dataset = numbered(config.train_images)
    shares = [joined(batches.chunks(dataset, config, 0, rank, world)) for rank in range(world)]
    whole, whole_noise = joined(batches.chunks(dataset, config, 0))
    assert {share.shape[1] for share, _ in shares} == {batch // world}
    np.testing.assert_array_equal(np.concatenate([s for s, _ in shares], axis=1), whole)
    np.testing.assert_array_equal(np.concatenate([z for _, z in shares], axis=1), whole_noise)


@pytest.mark.parametrize(("rank", "world"), [(0, 3), (2, 2), (-1, 2), (0, 0)])
def test_workers_that_cannot_share_the_batch_are_refused(rank: int, world: int) -> None:
    config = Config(batch_size=4, train_images=8)
    with pytest.raises(ValueError, match="cannot be shared"):
        next(batches.chunks(numbered(8), config, 0, rank, world))


def test_a_finished_run_has_no_chunks() -> None:
    config = Config(batch_size=4, train_images=8, steps=5)
    assert list(batches.chunks(numbered(8), config, 5)) == []


def test_chunks_have_the_contracts_shapes_and_types() -> None:
    config = Config(batch_size=4, train_images=8, noise_size=3, steps=25)
    parts = list(batches.chunks(numbered(8), config, 0))
    assert [c.images.shape for c in parts] == [(10, 4, 2, 1, 1), (10, 4, 2, 1, 1), (5, 4, 2, 1, 1)]
    assert [c.noise.shape for c in parts] == [(10, 4, 3), (10, 4, 3), (5, 4, 3)]
    assert {(c.images.dtype.name, c.noise.dtype.name) for c in parts} == {("uint8", "float32")}


def test_a_dataset_that_fails_is_not_silent() -> None:
    class Broken(ArrayDataset):
        def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            raise OSError("disk gone")

    config = Config(batch_size=4, train_images=8, steps=5)
    with pytest.raises(OSError, match="disk gone"):
        list(batches.chunks(Broken(numbered(8).images), config, 0))


def test_the_dataset_alone_gives_the_number_of_images() -> None:
    """A data set smaller than the Config says is never indexed past its end."""
    config = Config(batch_size=4, train_images=50, steps=9)
    found, _ = joined(batches.chunks(numbered(6), config, 0))
    assert found.max() == 5
