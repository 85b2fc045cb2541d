"""The only source of randomness: noise and batch order, as pure functions of seed and step.

Everything drawn is made from raw 64-bit words of numpy's Philox (Salmon et al. 2011), whose raw
stream is fixed across numpy versions; that of Generator's methods is not (NEP 19).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.config import Config, total_steps

# The purpose is half of Philox's key, so streams of different purposes never meet.
NOISE, ORDER, WEIGHTS, SHOWN, SAMPLED, JITTER, STACKED = 1, 2, 3, 4, 5, 6, 7


LARGEST_SORTED = 2**20  # images of an epoch whose order is sorted; 50 million take 10 s and 1 GB
ROUNDS = 8  # of the permutation that orders more


class Dataset(Protocol):
    """Images to train on; not necessarily an array in memory."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[np.uint8]: ...

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at these indices: (n,) int64 -> (n, H, W, C) uint8."""


@dataclass(frozen=True)
class Chunk:
    """K consecutive steps, ready to be sent to the device."""

    step: int  # 0-based number of the first of them
    images: NDArray[np.uint8]  # (K, B, H, W, C)
    noise: NDArray[np.float32]  # (K, B, Z), in [-1, 1)

    @property
    def end(self) -> int:
        """The step after the last one: the number of updates done once the chunk is."""
        return self.step + len(self.images)


def words(seed: int, purpose: int, index: int, count: int) -> NDArray[np.uint64]:
    """`count` raw 64-bit words of the stream (seed, purpose, index)."""
    key = np.array([seed, purpose], dtype=np.uint64)
    counter = np.array([0, 0, 0, index], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def uniform(seed: int, purpose: int, index: int, count: int) -> NDArray[np.float32]:
    """`count` float32 values, uniform in [-1, 1): multiples of 2**-23, without rounding."""
    raw = words(seed, purpose, index, (count + 1) // 2).astype("<u8").view("<u4")[:count]
    return (raw >> 8).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def noise(seed: int, step: int, batch_size: int, noise_size: int) -> NDArray[np.float32]:
    """The noise batch of one step, (B, Z) in [-1, 1): used by D's update and by G's."""
    return uniform(seed, NOISE, step, batch_size * noise_size).reshape(batch_size, noise_size)


def shown_noise(seed: int, count: int, noise_size: int) -> NDArray[np.float32]:
    """The fixed noise behind a run's sample grids, (count, Z)."""
    return uniform(seed, SHOWN, 0, count * noise_size).reshape(count, noise_size)


def sampled_noise(seed: int, count: int, noise_size: int) -> NDArray[np.float32]:
    """The noise of `sample --seed`, (count, Z). A smaller count gives a larger one's first rows."""
    return uniform(seed, SAMPLED, 0, count * noise_size).reshape(count, noise_size)


def jitter(seed: int, image_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Half a grey level of noise at most, in [-1/255, 1/255): (H, W, C), the same at every step.

    D's gradient penalty is taken at real images plus this. Digits have a flat background, where
    the values that a max pooling compares are equal but for rounding: which of them the gradient
    goes to would be each library's accident.
    """
    count = int(np.prod(image_shape))
    return uniform(seed, JITTER, 0, count).reshape(image_shape) / np.float32(255)


def order(
    seed: int, epoch: int, size: int, start: int = 0, stop: int | None = None
) -> NDArray[np.int64]:
    """From place `start` to `stop` of the permutation of range(size) that epoch `epoch` follows."""
    if size <= LARGEST_SORTED:
        return _sorted_order(seed, epoch, size)[start:stop]
    places = np.arange(start, min(size if stop is None else stop, size), dtype=np.uint64)
    return _permuted(places, words(seed, ORDER, epoch, ROUNDS), size)


@lru_cache(maxsize=2)
def _sorted_order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.argsort(words(seed, ORDER, epoch, size), kind="stable").astype(np.int64)


def _permuted(places: NDArray[np.uint64], keys: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Where a permutation of range(size) takes each place, in constant memory.

    A Feistel network (Luby and Rackoff 1988) permutes the numbers of 2k bits, whatever its round
    function: here the finalizer of SplitMix64 (Steele et al. 2014) of one half and the round's key.
    What falls outside of range(size) goes through again, until it falls within.
    """
    half = np.uint64(((size - 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = places.copy()
    left = np.arange(len(values))  # those that still have to go through
    while len(left):
        high, low = values[left] >> half, values[left] & mask
        for key in keys:
            mixed = low ^ key
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            high, low = low, high ^ ((mixed ^ (mixed >> np.uint64(31))) & mask)
        values[left] = (high << half) | low
        left = left[values[left] >= size]
    return values.astype(np.int64)


def indices(seed: int, step: int, batch_size: int, size: int) -> NDArray[np.int64]:
    """The images of one step, (B,). The epochs' orders are concatenated, then cut into batches."""
    first, parts = step * batch_size, []
    while batch_size:
        epoch, offset = divmod(first, size)
        part = order(seed, epoch, size, offset, offset + batch_size)
        parts.append(part)
        first, batch_size = first + len(part), batch_size - len(part)
    return np.concatenate(parts)


def chunk_end(config: Config, step: int, chunk_steps: int) -> int:
    """Where the chunk from `step` on ends: at the latest where something is shown or saved."""
    every = (chunk_steps, config.show_every, config.checkpoint_every)
    return min(total_steps(config), *((step // n + 1) * n for n in every))


def data_of(
    dataset: Dataset, config: Config, steps: range, mine: slice = slice(None)
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The steps' images (K, B, H, W, C) and noise (K, B, Z). mine: the part of each batch."""
    seed, batch, size = config.seed, config.batch_size, dataset.shape[0]
    which = np.stack([indices(seed, s, batch, size)[mine] for s in steps])
    images = dataset.gather(which.ravel())
    z = np.stack([noise(seed, s, batch, config.noise_size)[mine] for s in steps])
    return images.reshape(*which.shape, *images.shape[1:]), z


def chunks(
    dataset: Dataset,
    config: Config,
    start_step: int,
    rank: int = 0,
    world: int = 1,
    chunk_steps: Callable[[], int] = lambda: 10,
) -> Iterator[Chunk]:
    """The run's batches from `start_step` to its end, gathered by a thread one chunk ahead.

    A worker gets its slice of every global batch: images (K, B / world, H, W, C). chunk_steps is
    asked for the most steps as a chunk is begun to be gathered, by the caller's thread; how a run
    is cut changes no batch. Raises ValueError if world does not divide the batch.
    """
    if not 0 <= rank < world or config.batch_size % world:
        raise ValueError(f"batch {config.batch_size} cannot be shared by {world}, rank {rank}")
    share = config.batch_size // world
    mine = slice(rank * share, (rank + 1) * share)

    def make(step: int, most: int) -> Chunk:
        steps = range(step, chunk_end(config, step, most))
        return Chunk(step, *data_of(dataset, config, steps, mine))

    end = total_steps(config)
    if start_step >= end:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(make, start_step, chunk_steps())
        while True:
            chunk = coming.result()
            if chunk.end < end:
                coming = pool.submit(make, chunk.end, chunk_steps())
            yield chunk
            if chunk.end >= end:
                return
