"""What Keras leaves to TensorFlow: gradients, compilation, the loop over K steps, devices.

The same names in engine_torch.py and engine_jax.py.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from common.config import UserError, recipe_of
from common.quiet import quiet
from common.recipes import Hyper
from keras_impl.correction import bias_corrected

PACKAGE = "tensorflow"
CAN_JIT = True
# Off by default: on a processor XLA takes 176 ms where graph mode takes 110 (2 cores, batch 128).
ALWAYS_JIT = False

Tensor = Any


# ------------------------------------------------------------------ set-up


def find_devices() -> None:
    """Let TensorFlow find its devices, and take a GPU's memory as needed instead of at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # it is in use already
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.list_logical_devices()


def prepare(precision: str) -> None:
    """Settings of the process, before any tensor is made."""
    tf.config.experimental.enable_tensor_float_32_execution(False)  # float32 means float32


def choose_device(name: str, precision: str) -> str:
    """--device in Keras's words, or UserError."""
    gpu = bool(tf.config.list_physical_devices("GPU"))
    if name == "mps":
        raise UserError(
            "--device mps is not available to Keras on tensorflow; use --device auto or cpu, or "
            "set KERAS_BACKEND=torch."
        )
    if name == "cuda" and not gpu:
        raise UserError(
            f"--device cuda is not available to TensorFlow {tf.__version__} on this machine; "
            "use --device auto or cpu."
        )
    return "gpu:0" if gpu and name != "cpu" else "cpu:0"


def describe(device: str) -> str:
    """A device in words."""
    if device.startswith("cpu"):
        return "CPU"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return str(details.get("device_name", "GPU"))


def threads() -> int:
    """How many threads one operation may use on the processor."""
    limit = tf.config.threading.get_intra_op_parallelism_threads()
    return limit or int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or os.cpu_count() or 1


def no_gradients() -> contextlib.AbstractContextManager[Any]:
    """A block without gradients: TensorFlow takes none but of a tape."""
    return contextlib.nullcontext()


# ------------------------------------------------------------------ gradients


def forward(network: Any, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[..., Any]]:
    """function(), and its pullback: a gradient of that value -> the network's gradients."""
    variables = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        value = function()
    return value, lambda gradient: tape.gradient(value, variables, gradient)


def gradients(
    network: Any, objective: Callable[[], tuple[Tensor, Any]]
) -> tuple[Tensor, Any, list[Tensor]]:
    """objective() -> (loss, anything); also the loss's gradients of the network's variables."""
    variables = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        loss, rest = objective()
    return loss, rest, tape.gradient(loss, variables)


def input_gradient(
    network: Any, objective: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Tensor]:
    """objective(x), a scalar through the network, and its gradient of x alone; within an objective
    of gradients(), to be differentiated again."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        loss = objective(x)
    return loss, tape.gradient(loss, x)


# ------------------------------------------------------------------ workers

ONE_PROGRAM = False  # each worker computes its own part of a batch
# Of this process, once it has met the others.
_strategies: list[tf.distribute.Strategy] = []
_tokens: list[tf.Variable] = []
_numbers = itertools.count(1)


def connect(addresses: list[str], rank: int) -> None:
    """Meet the other workers, before TensorFlow looks for devices: a strategy must come first."""
    task = {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    with quiet():
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        _strategies.append(tf.distribute.MultiWorkerMirroredStrategy())
    _tokens.append(tf.Variable(0.0, trainable=False))


def disconnect() -> None:
    """All have finished. TensorFlow leaves as the process ends."""


def workers() -> int:
    """How many there are."""
    return _strategies[0].num_replicas_in_sync


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all workers: the same bits on each. Its gradient is the mean of
    theirs, as each worker's value is in the mean that every worker uses."""
    return _mean(x)


@tf.custom_gradient
def _mean(x: Tensor) -> Any:
    # The op beneath tf.distribute's all_reduce, without its replica context, for which Keras's
    # optimizers and variables would have to be made anew. Every worker traces the same
    # operations in the same order, so a number tells them which of them meet.
    total = tf.raw_ops.CollectiveReduceV2(
        input=x,
        group_size=workers(),
        group_key=1,
        instance_key=next(_numbers),
        ordering_token=[_tokens[0].handle],  # one after the other, as traced
        merge_op="Add",
        final_op="Div",
    )
    return total, mean


# ------------------------------------------------------------------ kernels


BLOCK = 4  # the image's gradient is computed in blocks of 4 x 4 pixels: 16 channels
FEW = 4  # channels of an image: 1, 3 or 4


def conv(images: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (kh, kw, C, O) -> (N, H - kh + 1, W - kw + 1, O)."""
    fits = images.shape[1] % BLOCK == images.shape[2] % BLOCK == 0
    if kernel.shape[2] > FEW or not fits or tf.config.get_visible_devices("GPU"):
        return keras.ops.conv(images, kernel)
    return _conv_from_image(images, tf.convert_to_tensor(kernel))  # of a variable its value


@tf.custom_gradient
def _conv_from_image(images: Tensor, kernel: Tensor) -> Any:
    """The same with another gradient of the image: oneDNN works on blocks of 16 channels, and of a
    one-channel image's it wastes 15 of them. tensorflow_impl/kernels.py has it too; implementations
    share no code."""

    def gradients(grad: Tensor) -> tuple[Tensor, Tensor]:  # the unused one is pruned
        kernel_grad = tf.raw_ops.Conv2DBackpropFilter(
            input=images,
            filter_sizes=kernel.shape,
            out_backprop=grad,
            strides=[1, 1, 1, 1],
            padding="VALID",
        )
        return _image_gradient(grad, kernel), kernel_grad

    return tf.nn.conv2d(images, kernel, strides=1, padding="VALID"), gradients


def _image_gradient(grad: Tensor, kernel: Tensor) -> Tensor:
    """The convolution of the padded gradient with the flipped kernel, shifted for each pixel (a, b)
    of a block, so that a block's pixels are the channels of one convolution."""
    size, last = kernel.shape[0], BLOCK - 1
    flipped = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))  # (k, k, O, I)
    shifted = [
        tf.pad(flipped, ((a, last - a), (b, last - b), (0, 0), (0, 0)))
        for a in range(BLOCK)
        for b in range(BLOCK)
    ]
    border = (size - 1, size - 1)
    blocks = tf.nn.conv2d(
        grad, tf.concat(shifted, -1), strides=BLOCK, padding=((0, 0), border, border, (0, 0))
    )  # (N, H / 4, W / 4, 16 * I)
    return tf.nn.depth_to_space(blocks, BLOCK)


def conv_transpose(images: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (4, 4, O, C) -> (N, 2H, 2W, O): stride 2, "same"."""
    return keras.ops.conv_transpose(images, kernel, 2, "same")


def max_pool(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W, C) -> (N, H / size, W / size, C)."""
    return keras.ops.max_pool(images, size)


def leaky_relu(x: Tensor, slope: float) -> Tensor:
    """Values of any shape -> the same, in one pass each way. TensorFlow's kernel holds the slope as
    float32, so in float64 it is layers.LeakyReLU's."""
    if x.dtype == tf.float64:
        return tf.where(x > 0, x, x * slope)
    return tf.nn.leaky_relu(x, slope)


dense = None  # Keras's own


def fused_adam(
    variable: Any,
    m: Any,
    v: Any,
    gradient: Tensor,
    learning_rate: Any,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: Tensor,
) -> None:
    """Update t of layers.Adam in one kernel instead of a dozen.

    The kernel has no epsilon outside the bias corrections, so they are in its step size and
    epsilon, and the powers of beta are 0.
    """
    # The kernel holds the betas in the variable's dtype, and their corrections belong to those.
    beta1, beta2 = (float(t.dtype.as_numpy_dtype(beta)) for beta in (beta1, beta2))
    step_size, epsilon = bias_corrected(learning_rate, beta1, beta2, epsilon, t)
    zero = tf.zeros((), variable.dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=m.value.handle,
        v=v.value.handle,
        beta1_power=zero,
        beta2_power=zero,
        lr=step_size,
        beta1=tf.constant(beta1, variable.dtype),
        beta2=tf.constant(beta2, variable.dtype),
        epsilon=epsilon,
        grad=gradient,
    )


# ------------------------------------------------------------------ the loop, compilation


def make_chunk(state: Any, train_step: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """images (K, B, H, W, C), noise (K, B, Z), K Nows -> metrics (K, 4), in graph mode."""

    def step(images: Tensor, noise: Tensor, numbers: Tensor, penalty: float) -> Tensor:
        d_rate, g_rate, _, average = tf.unstack(tf.cast(numbers, state.dtype))
        with tf.device(state.device):
            return train_step(state, images, noise, Hyper(d_rate, g_rate, penalty, average))

    def any_step(images: Tensor, noise: Tensor, numbers: Tensor) -> Tensor:
        """The step with its penalty or without: both are in the graph, one runs. How TensorFlow
        orders sums in a branch may differ from one trace to the next, in the last bit."""
        with_penalty, without = (
            functools.partial(step, images, noise, numbers, penalty)
            for penalty in (recipe_of(state.config).lazy_penalty, 0.0)
        )
        if not recipe_of(state.config).penalty:
            return without()
        return tf.cond(numbers[2] > 0, with_penalty, without)

    if state.device.startswith("cpu") or state.shared:
        # The loop is on the host: in a graph's loop XLA's convolutions are several times slower.
        # Each penalty has a graph of its own.
        one = tf.function(step, jit_compile=state.jit, autograph=False)

        def chunk(images: np.ndarray, noise: np.ndarray, schedule: list[Hyper]) -> np.ndarray:
            metrics = [
                one(tf.constant(x), tf.constant(z), tf.constant(hyper, tf.float64), hyper.penalty)
                for x, z, hyper in zip(images, noise, schedule, strict=True)
            ]
            rows = tf.stack(metrics)
            return (mean(rows) if state.shared else rows).numpy()

        return chunk

    # One dispatch for K steps. Their order is that of the loop: one iteration at a time.
    many = tf.function(
        lambda *batches: tf.map_fn(
            lambda batch: any_step(*batch),
            batches,
            fn_output_signature=state.dtype,
            parallel_iterations=1,
        ),
        jit_compile=state.jit,
        autograph=False,
    )
    return lambda images, noise, schedule: many(
        tf.constant(images), tf.constant(noise), tf.constant(schedule, tf.float64)
    ).numpy()


def fit_step(model: Any, update: Callable[..., Any], data: Any) -> Any:
    """keras.Model.train_step as TensorFlow's trainer calls it."""
    return update(data)
