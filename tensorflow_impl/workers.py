"""What of a step is global when several workers share each batch: tf.distribute.

The losses stay means over a worker's own share, of equal size everywhere, so the gradients' mean
over workers is the gradient of the whole batch's loss. Batch norm alone is not linear in its
batch's parts: its statistics are means over workers inside the networks, differentiably.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from common import signals
from common.quiet import quiet
from common.workers import Workers

with quiet():
    import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow_impl.state import TrainState

# Of this process, once it has met the others.
_strategies: list[tf.distribute.Strategy] = []
_tokens: list[tf.Variable] = []
_numbers = itertools.count(1)


def connect(workers: Workers) -> None:
    """Meet the others, before TensorFlow looks for devices: a strategy must come first."""
    task = {"type": "worker", "index": workers.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers.addresses}, "task": task})
    with quiet(), signals.kept():
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        _strategies.append(tf.distribute.MultiWorkerMirroredStrategy())
    _tokens.append(tf.Variable(0.0, trainable=False))


def disconnect() -> None:
    """The last thing: all have finished. TensorFlow leaves as the process ends."""


def share(state: TrainState) -> None:
    """Let a state's step be that of the whole batch, of which it is given this worker's part."""
    from tensorflow_impl.layers import BatchNorm  # not before connect(): it looks for devices

    (strategy,) = _strategies
    state.shared, state.mean_over_workers = True, mean
    for optimizer in (state.d_optimizer, state.g_optimizer):
        optimizer.step = partial(average_gradients, optimizer.step)  # type: ignore[method-assign]
    for network in (state.discriminator, state.generator):
        for layer in network.submodules:
            if isinstance(layer, BatchNorm):
                layer.mean_over_workers, layer.workers = mean, strategy.num_replicas_in_sync


def mean(x: tf.Tensor) -> tf.Tensor:
    """The mean of a tensor over all workers: the same bits on each. Its gradient is the mean of
    theirs, as each worker's value is in the mean that every worker uses."""
    return _mean(x)


@tf.custom_gradient
def _mean(x: tf.Tensor) -> Any:
    # The op beneath tf.distribute's all_reduce, without its replica context, for which the
    # variables would have to be made anew. Every worker traces the same
    # operations in the same order, so a number tells them which of them meet.
    total = tf.raw_ops.CollectiveReduceV2(
        input=x,
        group_size=_strategies[0].num_replicas_in_sync,
        group_key=1,
        instance_key=next(_numbers),
        ordering_token=[_tokens[0].handle],  # one after the other, as traced
        merge_op="Add",
        final_op="Div",
    )
    return total, mean


def average_gradients(
    step: Callable[[Sequence[tf.Tensor]], None], gradients: Sequence[tf.Tensor]
) -> None:
    """An optimizer's step with every gradient's mean over workers, in one all-reduce."""
    flat = mean(tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0))
    parts = tf.split(flat, [gradient.shape.num_elements() for gradient in gradients])
    step([tf.reshape(part, g.shape) for part, g in zip(parts, gradients, strict=True)])
