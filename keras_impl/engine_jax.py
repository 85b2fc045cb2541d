"""What Keras leaves to JAX: gradients, compilation, the loop over K steps, devices.

The same names in engine_tensorflow.py and engine_torch.py. JAX differentiates and compiles pure
functions only, so Keras's variables are given their values in a StatelessScope, and what was
assigned to them is read off the scope at its end.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from common.config import UserError, recipe_of
from common.environment import instructions
from common.memory import keep_freed_memory
from common.recipes import Hyper
from keras_impl import keep_float64

PACKAGE = "jax"
CAN_JIT = True
# JAX without its compiler runs every operation by itself and keeps nothing in place: a step would
# take several times as long, so jit is not a choice here.
ALWAYS_JIT = True

Tensor = Any


# ------------------------------------------------------------------ set-up


def find_devices() -> None:
    """Let JAX find its devices, and take a GPU's memory as needed instead of at once."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    keep_freed_memory()  # before JAX's threads are there
    _keep_compiled()
    jax.devices()


def _keep_compiled() -> None:
    """Keep what XLA compiles for later processes, which then start in 4 s instead of 14.

    In JAX's own cache, below the user's, unless JAX_COMPILATION_CACHE_DIR names a folder. Code
    compiled for one kind of processor may not run on another, so each kind has its own; see JAX's
    guide to the persistent compilation cache.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):  # a user without a home
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            kept = cache / "dcgan-three-engines" / f"jax-{instructions()}"
            jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # hundreds of small ones
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_compilation_cache_max_size", 2**26)  # bytes; the oldest go


def prepare(precision: str) -> None:
    """Settings of the process, before any tensor is made."""
    jax.config.update("jax_enable_x64", precision == "float64")
    if precision == "float64":
        keep_float64()
    # float32 means float32 on a GPU too. In bfloat16 runs the operands are bfloat16 already.
    jax.config.update("jax_default_matmul_precision", "highest")


def choose_device(name: str, precision: str) -> str:
    """--device in Keras's words, or UserError."""
    gpu = any(device.platform == "gpu" for device in jax.devices())
    if name == "mps" or (name == "cuda" and not gpu):
        raise UserError(
            f"--device {name} is not available to JAX {jax.__version__} on this machine; "
            "use --device auto or cpu."
        )
    platform = "gpu" if gpu and name != "cpu" else "cpu"
    return f"{platform}:{jax.local_devices(backend=platform)[0].id}"  # 0, but for workers


def describe(device: str) -> str:
    """A device in words."""
    return "CPU" if device.startswith("cpu") else jax.devices("gpu")[0].device_kind


def threads() -> int:
    """How many threads one operation may use on the processor: JAX takes all it may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def no_gradients() -> contextlib.AbstractContextManager[Any]:
    """A block without gradients: JAX takes none but of a function given to it."""
    return contextlib.nullcontext()


# ------------------------------------------------------------------ gradients


def _pure(network: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """function(*inputs), which reads the variables of one network, as a pure function:
    (values of the trainable variables, *inputs) -> (its result, new running statistics)."""
    statistics = network.non_trainable_variables
    before = [variable.value for variable in statistics]

    def pure(values: list[Tensor], *inputs: Tensor) -> tuple[Any, list[Tensor]]:
        variables = network.trainable_variables
        mapping = [*zip(variables, values, strict=True), *zip(statistics, before, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            result = function(*inputs)
        return result, [scope.get_current_value(variable) for variable in statistics]

    return pure


def _values(variables: list[Any]) -> list[Tensor]:
    return [variable.value for variable in variables]


def _assign(variables: list[Any], values: list[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def forward(network: Any, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[..., Any]]:
    """function(), and its pullback: a gradient of that value -> the network's gradients."""
    values = _values(network.trainable_variables)
    value, pullback, statistics = jax.vjp(_pure(network, function), values, has_aux=True)
    _assign(network.non_trainable_variables, statistics)
    return value, lambda gradient: pullback(gradient)[0]


def gradients(
    network: Any, objective: Callable[[], tuple[Tensor, Any]]
) -> tuple[Tensor, Any, list[Tensor]]:
    """objective() -> (loss, anything); also the loss's gradients of the network's variables."""
    pure = _pure(network, objective)

    def function(values: list[Tensor]) -> tuple[Tensor, Any]:
        (loss, rest), statistics = pure(values)
        return loss, (rest, statistics)

    values = _values(network.trainable_variables)
    (loss, (rest, statistics)), grads = jax.value_and_grad(function, has_aux=True)(values)
    _assign(network.non_trainable_variables, statistics)
    return loss, rest, grads


def input_gradient(
    network: Any, objective: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Tensor]:
    """objective(x), a scalar through the network, and its gradient of x alone; within an objective
    of gradients(), to be differentiated again."""
    pure, values = _pure(network, objective), _values(network.trainable_variables)
    function = jax.value_and_grad(lambda x: pure(values, x), has_aux=True)
    (loss, statistics), gradient = function(x)
    _assign(network.non_trainable_variables, statistics)
    return loss, gradient


# ------------------------------------------------------------------ workers

ONE_PROGRAM = True  # over all workers' devices


def connect(addresses: list[str], rank: int) -> None:
    """Meet the other workers, before JAX looks for devices: NCCL between GPUs, gloo otherwise."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # A program over all workers that one has kept and the others compile anew waits for ever.
    jax.config.update("jax_enable_compilation_cache", False)
    # Gloo takes the address that this machine's name leads to, which may be no way to the others.
    # JAX has no setting for it: a JAX without this function goes by the name.
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.xla_bridge import _jax

        host = addresses[rank].rsplit(":", 1)[0]
        make = _jax.make_gloo_tcp_collectives
        _jax.make_gloo_tcp_collectives = functools.partial(make, hostname=host)
    jax.distributed.initialize(addresses[0], len(addresses), rank)


def disconnect() -> None:
    """All have finished."""
    jax.distributed.shutdown()


class _Together:
    """Arrays as the one program over all workers takes and gives them."""

    def __init__(self) -> None:
        devices = [jax.local_devices(process)[0] for process in range(jax.process_count())]
        mesh = jax.sharding.Mesh(np.array(devices), ("workers",))
        self.whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self.split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("workers"))

    def take(self, values: list[Tensor], *batches: np.ndarray) -> tuple[list[Tensor], ...]:
        """The state's values, the same on each worker, and steps' batches (K, B / N, ...), of which
        each has its part: (K arrays (B, ...)) of each."""
        whole, split = self.whole, self.split
        make = jax.make_array_from_single_device_arrays
        taken = [make(value.shape, whole, [value]) for value in values]
        parts = [[jax.make_array_from_process_local_data(split, x) for x in b] for b in batches]
        return taken, *parts

    @staticmethod
    def own(values: list[Tensor]) -> list[Tensor]:
        """This worker's copies."""
        return [value.addressable_data(0) for value in values]


# ------------------------------------------------------------------ kernels

# XLA's gradients of convolutions and of pooling are slow on a processor, so there each is written
# as a product of matrices, or as comparisons. Elsewhere they are left to XLA.
#
# On a processor XLA turns bfloat16 values into float32 for each product anew, and rounds each sum
# of a gradient. So a layer widens its inputs once and rounds its outputs once: half the time.


def _widened(layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A layer's function of inputs and kernel or size, which takes and gives bfloat16 values and
    computes on them in float32."""

    def wide(x: Any) -> Any:
        return x.astype(jnp.float32) if getattr(x, "dtype", None) == jnp.bfloat16 else x

    @functools.wraps(layer)
    def widened(inputs: Tensor, other: Any) -> Tensor:
        if not _on_processor():
            return layer(inputs, other)
        return layer(wide(inputs), wide(other)).astype(inputs.dtype)

    return widened


@_widened
def dense(values: Tensor, kernel: Tensor) -> Tensor:
    """(N, I), (I, O) -> (N, O)."""
    return values @ kernel


@_widened
def conv(images: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (kh, kw, C, O) -> (N, H - kh + 1, W - kw + 1, O)."""
    if not _on_processor():
        return keras.ops.conv(images, kernel)
    rows, columns, _, out = kernel.shape
    n, height, width = images.shape[0], images.shape[1] - rows + 1, images.shape[2] - columns + 1
    # What each output pixel sees, side by side.
    seen = [images[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    patches = jnp.stack(seen, axis=3).reshape(n * height * width, -1)
    return (patches @ kernel.reshape(-1, out)).reshape(n, height, width, out)


@_widened
def conv_transpose(images: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (4, 4, O, C) -> (N, 2H, 2W, O): stride 2, "same"."""
    if not _on_processor():
        return keras.ops.conv_transpose(images, kernel, 2, "same")
    # By its definition: each pixel adds its multiple of the kernel to the output.
    n, height, width, channels = images.shape
    out = kernel.shape[2]
    multiples = images.reshape(-1, channels) @ kernel.reshape(-1, channels).T
    # Of the kernel's 4 rows two fall on the pixel's own two rows of the output, two on the next
    # pixel's; its columns likewise.
    x = multiples.reshape(n, height, width, 2, 2, 2, 2, out)
    x = _add_to_next(x[:, :, :, 0], x[:, :, :, 1], 1)  # (N, H + 1, W, 2, 2, 2, O)
    x = _add_to_next(x[:, :, :, :, 0], x[:, :, :, :, 1], 2)  # (N, H + 1, W + 1, 2, 2, O)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height + 2, 2 * width + 2, out)
    return x[:, 1:-1, 1:-1]


def _add_to_next(own: Tensor, following: Tensor, axis: int) -> Tensor:
    """own[i] + following[i - 1] along an axis, which grows by one."""

    def pad(x: Tensor, before: int, after: int) -> Tensor:
        return jnp.pad(x, [(before, after) if i == axis else (0, 0) for i in range(x.ndim)])

    return pad(own, 0, 1) + pad(following, 1, 0)


@_widened
def max_pool(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W, C) -> (N, H / size, W / size, C). Of equal values the first in reading order has
    the gradient, as everywhere."""
    if not _on_processor():
        return keras.ops.max_pool(images, size)
    n, height, width, channels = images.shape
    rows, columns = size
    x = images.reshape(n, height // rows, rows, width // columns, columns, channels)
    row = functools.reduce(_first_largest, [x[:, :, :, :, j] for j in range(columns)])
    return functools.reduce(_first_largest, [row[:, :, i] for i in range(rows)])


def _first_largest(a: Tensor, b: Tensor) -> Tensor:
    return jnp.where(a >= b, a, b)


def _on_processor() -> bool:
    """Whether what is traced now is for a processor: keras.device says so."""
    device = jax.config.jax_default_device or jax.devices()[0]  # type: ignore[attr-defined]
    return getattr(device, "platform", device) == "cpu"


# The compiler fuses them.
leaky_relu = fused_adam = None


# ------------------------------------------------------------------ the loop, compilation


def make_chunk(state: Any, train_step: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """images (K, B, H, W, C), noise (K, B, Z), K Nows -> metrics (K, 4), compiled."""
    variables = state.variables
    lazy_penalty = recipe_of(state.config).lazy_penalty

    def step(
        penalty: float, values: list[Tensor], batch: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        images, noise, (d_rate, g_rate, _, average) = batch
        with keras.StatelessScope(zip(variables, values, strict=True)) as scope:
            metrics = train_step(state, images, noise, Hyper(d_rate, g_rate, penalty, average))
        return [scope.get_current_value(variable) for variable in variables], metrics

    def any_step(values: list[Tensor], batch: tuple[Tensor, Tensor, Tensor]) -> Any:
        with_penalty, without = functools.partial(step, lazy_penalty), functools.partial(step, 0.0)
        if not lazy_penalty:
            return without(values, batch)
        return jax.lax.cond(batch[2][2] > 0, with_penalty, without, values, batch)

    together = _Together() if state.shared else None
    # The old values' memory is given to the new ones.
    one = jax.jit(
        step,
        static_argnums=0,
        donate_argnums=1,
        out_shardings=None if together is None else together.whole,
    )
    many = jax.jit(functools.partial(jax.lax.scan, any_step), donate_argnums=0)

    def chunk(images: Any, noise: Any, schedule: list[Hyper]) -> np.ndarray:
        values = _values(variables)
        numbers = np.array(schedule, state.dtype)  # (K, 4)
        if together:
            values, images, noise = together.take(values, images, noise)
        if together or state.device.startswith("cpu"):
            # A scan is compiled anew for every length, for seconds, and here gains nothing.
            metrics = []
            for hyper, *batch in zip(schedule, images, noise, numbers, strict=True):
                values, row = one(hyper.penalty, values, tuple(batch))
                metrics.append(row)
        else:
            values, metrics = many(values, (images, noise, numbers))
        _assign(variables, together.own(values) if together else values)
        return np.array(metrics)

    return chunk


def fit_step(model: Any, update: Callable[..., Any], state: Any, data: Any) -> Any:
    """keras.Model.train_step as JAX's trainer calls it: (state, data) -> (logs, new state)."""
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    mapping = [
        pair for group in zip(groups, state, strict=True) for pair in zip(*group, strict=True)
    ]
    with keras.StatelessScope(mapping) as scope:
        logs = update(data)
    new = tuple([scope.get_current_value(variable) for variable in group] for group in groups)
    return logs, new
