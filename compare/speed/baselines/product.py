"""How fast a framework multiplies and copies large arrays here: what the limits are made of.

A worker (compare/worker.py) whose task is `rates`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from compare.worker import serve

REPEATS = 12


def torch(precision: str, device: str) -> tuple[str, Callable[[Any], Any], Callable[..., Any]]:
    """Where it computes, how to multiply a square (n, n) of ones, how to copy n float32 values."""
    import torch

    gpu = torch.cuda.is_available() and device != "cpu"
    where = torch.device("cuda" if gpu else "cpu")
    dtype = getattr(torch, precision)

    def done(x: Any) -> None:
        if gpu:
            torch.cuda.synchronize()

    def product(n: int) -> Callable[[], None]:
        a = torch.ones(n, n, dtype=dtype, device=where)
        out = torch.empty_like(a)
        return lambda: done(torch.mm(a, a, out=out))

    def copy(n: int) -> Callable[[], None]:
        a = torch.ones(n, device=where)
        out = torch.zeros_like(a)
        return lambda: done(out.copy_(a))

    return where.type, product, copy


def tensorflow(precision: str, device: str) -> tuple[str, Callable[[Any], Any], Callable[..., Any]]:
    """The same; a copy adds in place, since TensorFlow shares an array that is merely copied."""
    from common.quiet import quiet

    with quiet():
        import tensorflow as tf

        gpu = bool(tf.config.list_physical_devices("GPU")) and device != "cpu"
    where = "GPU:0" if gpu else "CPU:0"

    def done(x: Any) -> None:
        tf.test.experimental.sync_devices()

    def product(n: int) -> Callable[[], None]:
        with tf.device(where):
            a = tf.ones((n, n), getattr(tf, precision))
            return lambda: done(tf.matmul(a, a))

    def copy(n: int) -> Callable[[], None]:
        with tf.device(where):
            a = tf.Variable(tf.ones((n,)))
            return lambda: done(a.assign_add(a, read_value=False))

    return "cuda" if gpu else "cpu", product, copy


def jax(precision: str, device: str) -> tuple[str, Callable[[Any], Any], Callable[..., Any]]:
    """The same; a copy adds in place, for the same reason."""
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    if precision == "float64":
        os.environ["JAX_ENABLE_X64"] = "1"
    import jax
    import jax.numpy as jnp

    def product(n: int) -> Callable[[], None]:
        a = jnp.ones((n, n), precision)
        function = jax.jit(lambda a: a @ a)
        return lambda: function(a).block_until_ready()

    def copy(n: int) -> Callable[[], None]:
        arrays = [jnp.ones((n,), "float32")]
        function = jax.jit(lambda a: a + 1, donate_argnums=0)
        return lambda: arrays.append(function(arrays.pop()).block_until_ready())

    return "cpu" if jax.default_backend() == "cpu" else "cuda", product, copy


def best(work: Callable[[], None]) -> float:
    """The least seconds of one run, after one that warms up."""
    work()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def rates(framework: str, precision: str, device: str) -> dict[str, Any]:
    """{"flops", "bandwidth", "device"} of torch, tensorflow or jax: the best of several runs each,
    per second; the device is cpu or cuda."""
    there, product, copy = {"torch": torch, "tensorflow": tensorflow, "jax": jax}[framework](
        precision, device
    )
    n, values = (2048, 2**26) if there == "cpu" else (8192, 2**28)
    return {
        "flops": 2 * n**3 / best(product(n)),
        "bandwidth": 2 * 4 * values / best(copy(values)),  # each value is read and written
        "device": there,
    }


if __name__ == "__main__":
    serve(lambda: {"rates": rates})
