"""What Keras leaves to PyTorch: gradients, compilation, the loop over K steps, devices.

The same names in engine_tensorflow.py and engine_jax.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional

from common.config import UserError
from common.memory import keep_freed_memory
from common.recipes import Hyper
from keras_impl import keep_float64

PACKAGE = "torch"
CAN_JIT = False  # torch.compile cannot take Keras's variables
ALWAYS_JIT = False

Tensor = Any


# ------------------------------------------------------------------ set-up


def find_devices() -> None:
    """Nothing to do: PyTorch finds its devices when it is asked for them."""


def prepare(precision: str) -> None:
    """Settings of the process, before any tensor is made."""
    if precision == "float64":
        keep_float64()
    keep_freed_memory()
    # Values below 1e-38 cost a processor a hundred times the time and move no result.
    torch.set_flush_denormal(precision != "float64")
    torch.set_float32_matmul_precision("highest")  # float32 means float32, not TF32
    torch.backends.cudnn.allow_tf32 = False  # of convolutions; on by default


def choose_device(name: str, precision: str) -> str:
    """--device in Keras's words, or UserError."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and precision != "float64",
        "cpu": True,
    }
    if name == "auto":
        name = next(name for name, present in there.items() if present)
    if not there[name]:
        raise UserError(
            f"--device {name} is not available to PyTorch {torch.__version__} on this machine; "
            "use --device auto or cpu."
        )
    return {"cuda": "gpu:0", "mps": "mps", "cpu": "cpu"}[name]


def describe(device: str) -> str:
    """A device in words."""
    return torch.cuda.get_device_name() if device.startswith("gpu") else device.upper()


def threads() -> int:
    """How many threads one operation may use on the processor."""
    return torch.get_num_threads()


def no_gradients() -> contextlib.AbstractContextManager[Any]:
    """A block without gradients."""
    return torch.no_grad()


# ------------------------------------------------------------------ gradients


def forward(network: Any, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[..., Any]]:
    """function(), and its pullback: a gradient of that value -> the network's gradients."""
    variables = [variable.value for variable in network.trainable_variables]
    with torch.enable_grad():
        value = function()
    return value.detach(), lambda gradient: torch.autograd.grad(value, variables, gradient)


def gradients(
    network: Any, objective: Callable[[], tuple[Tensor, Any]]
) -> tuple[Tensor, Any, list[Tensor]]:
    """objective() -> (loss, anything); also the loss's gradients of the network's variables."""
    variables = [variable.value for variable in network.trainable_variables]
    with torch.enable_grad():
        loss, rest = objective()
    return loss.detach(), rest, list(torch.autograd.grad(loss, variables))


def input_gradient(
    network: Any, objective: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Tensor]:
    """objective(x), a scalar through the network, and its gradient of x alone; within an objective
    of gradients(), to be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = objective(x)
    return loss.detach(), torch.autograd.grad(loss, x, create_graph=again)[0]


# ------------------------------------------------------------------ workers

ONE_PROGRAM = False  # each worker computes its own part of a batch


def connect(addresses: list[str], rank: int) -> None:
    """Meet the other workers: NCCL between GPUs, gloo between processors."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, f"tcp://{addresses[0]}", rank=rank, world_size=len(addresses))


def disconnect() -> None:
    """All have finished."""
    dist.destroy_process_group()


def workers() -> int:
    """How many there are."""
    return dist.get_world_size()


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # differentiable again
        return _Mean.apply(grad)


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all workers: the same bits on each. Its gradient is the mean of
    theirs, as each worker's value is in the mean that every worker uses."""
    return _Mean.apply(x)


# ------------------------------------------------------------------ kernels

# Keras copies images to channels-first memory before each of these, where PyTorch's pooling and
# transposed convolution are slower: what they ask for is the order of the axes.


def conv(images: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (kh, kw, C, O) -> (N, H - kh + 1, W - kw + 1, O)."""
    x, weight = images.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    if len(weight) == 1:  # of one filter PyTorch takes no other order of the axes in float64
        weight = weight.contiguous()
    return functional.conv2d(x, weight).permute(0, 2, 3, 1)


def conv_transpose(images: Tensor, kernel: Tensor) -> Tensor:
    """(N, H, W, C), (4, 4, O, C) -> (N, 2H, 2W, O): stride 2, "same"."""
    x, weight = images.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    return functional.conv_transpose2d(x, weight, stride=2, padding=1).permute(0, 2, 3, 1)


def max_pool(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W, C) -> (N, H / size, W / size, C)."""
    return functional.max_pool2d(images.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


# Made for torch.compile and not public; not in every build.
_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def dense(values: Tensor, kernel: Tensor) -> Tensor:
    """(N, I), (I, O) -> (N, O)."""
    on_processor = values.device.type == "cpu" and not torch.compiler.is_compiling()
    # To a single unit MKL is as fast; float64 oneDNN does not know, and bfloat16 goes there anyway.
    if on_processor and values.dtype is torch.float32 and kernel.shape[1] > 1 and _onednn:
        return _Product.apply(values, kernel)
    return values @ kernel


class _Product(torch.autograd.Function):
    """A product in float32 by oneDNN: PyTorch's own goes to MKL, which is slower on AMD."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _onednn(a, b.t(), None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # differentiable again
        a, b = ctx.saved_tensors
        a_grad = _Product.apply(grad, b.t()) if ctx.needs_input_grad[0] else None
        return a_grad, _Product.apply(a.t(), grad) if ctx.needs_input_grad[1] else None


leaky_relu = functional.leaky_relu  # one pass each way, where layers.LeakyReLU's own takes five


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
    """Update t of layers.Adam in one kernel instead of a dozen: torch.optim.Adam's own."""
    torch._fused_adam_(
        [variable.value.detach()],
        [gradient.contiguous()],  # the kernel takes all four as rows of numbers
        [m.value],
        [v.value],
        [],
        [t.float()],
        lr=learning_rate,
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )


# ------------------------------------------------------------------ the loop, compilation


def make_chunk(state: Any, train_step: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """images (K, B, H, W, C), noise (K, B, Z), K Nows -> metrics (K, 4); the host waits once."""

    @torch.no_grad()  # gradients are taken in the functions above, and nowhere else
    def chunk(images: np.ndarray, noise: np.ndarray, schedule: list[Hyper]) -> np.ndarray:
        xs, zs = keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(noise)
        metrics = [train_step(state, *batch) for batch in zip(xs, zs, schedule, strict=True)]
        rows = torch.stack(metrics)
        return (mean(rows) if state.shared else rows).cpu().numpy()

    return chunk


@torch.no_grad()
def fit_step(model: Any, update: Callable[..., Any], data: Any) -> Any:
    """keras.Model.train_step as PyTorch's trainer calls it."""
    return update(data)
