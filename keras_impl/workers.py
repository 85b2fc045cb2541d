"""What of a step is global when several workers share each batch.

On JAX nothing changes: the compiled step is one program over all workers' devices, which is given
arrays that are split over them (engine_jax.py). Elsewhere each worker computes its own part. The
losses stay means over a worker's own share, of equal size everywhere, so the gradients' mean over
workers is the gradient of the whole batch's loss. Batch norm alone is not linear in its batch's
parts: its statistics are means over workers inside the networks, differentiably.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from common import signals
from common.quiet import quiet
from common.workers import Workers
from keras_impl import check_engine

if TYPE_CHECKING:
    from keras_impl.state import TrainState

Tensor = Any  # the engine's own


def _engine() -> Any:
    """The engine's module; unlike load_engine, which has it look for devices."""
    check_engine()
    with quiet():
        return importlib.import_module(f"keras_impl.engine_{os.environ['KERAS_BACKEND']}")


def connect(workers: Workers) -> None:
    """Meet the others, before the engine looks for devices."""
    with signals.kept():
        _engine().connect(workers.addresses, workers.rank)


def disconnect() -> None:
    """The last thing: all have finished."""
    _engine().disconnect()


def share(state: TrainState) -> None:
    """Let a state's step be that of the whole batch, of which it is given this worker's part."""
    from keras_impl.layers import BatchNormalization

    engine = _engine()
    state.shared = True
    if engine.ONE_PROGRAM:
        return
    for optimizer in (state.d_optimizer, state.g_optimizer):
        optimizer.apply = partial(average_gradients, optimizer.apply)
    for network in (state.discriminator, state.generator):
        for layer in network.layers:
            if isinstance(layer, BatchNormalization):
                layer.mean_over_workers, layer.workers = engine.mean, engine.workers()


def average_gradients(apply: Callable[[list[Tensor]], None], gradients: list[Tensor]) -> None:
    """An optimizer's apply with every gradient's mean over workers, in one all-reduce."""
    from keras import ops

    flat = _engine().mean(ops.concatenate([ops.reshape(g, (-1,)) for g in gradients]))
    means, first = [], 0
    for gradient in gradients:
        size = 1
        for side in gradient.shape:
            size *= side
        means.append(ops.reshape(flat[first : first + size], gradient.shape))
        first += size
    apply(means)
