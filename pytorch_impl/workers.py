"""What of a step is global when several workers share each batch: torch.distributed.

The losses stay means over a worker's own share, of equal size everywhere, so the gradients' mean
over workers is the gradient of the whole batch's loss. Batch norm alone is not linear in its
batch's parts: its statistics are means over workers inside the networks, differentiably.

DistributedDataParallel would do none of it: it leaves batch norm to each worker, and D's second
forward pass with batch norm fails under it (pytorch issue 175024). SyncBatchNorm refuses
processors.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.workers import Workers
from pytorch_impl.state import TrainState


def connect(workers: Workers) -> None:
    """Meet the others, before anything is computed: NCCL between GPUs, gloo between processors."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    address = f"tcp://{workers.addresses[0]}"
    dist.init_process_group(backend, address, rank=workers.rank, world_size=workers.world)


def disconnect() -> None:
    """The last thing: all have finished."""
    dist.destroy_process_group()


def share(state: TrainState) -> None:
    """Let a state's step be that of the whole batch, of which it is given this worker's part."""
    state.mean_over_workers = mean
    for optimizer in (state.d_optimizer, state.g_optimizer):
        optimizer.register_step_pre_hook(average_gradients)
    for network in (state.discriminator, state.generator):
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.forward = partial(batch_norm, layer)  # type: ignore[method-assign]


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all workers: the same bits on each."""
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def average_gradients(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
    """Every gradient of an optimizer becomes its mean over workers, in one all-reduce."""
    (group,) = optimizer.param_groups
    gradients = [parameter.grad for parameter in group["params"]]
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


class _Mean(torch.autograd.Function):
    """mean(), to be differentiated: each worker's value is in the mean that every worker uses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return mean(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # differentiable again
        return _Mean.apply(grad)


def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """nn.BatchNorm with the statistics of the whole batch: (N, C) or (N, C, H, W) -> the same."""
    if not layer.training:
        return type(layer).forward(layer, x)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.momentum is not None
    wide = x.to(layer.weight.dtype)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    average = _Mean.apply(wide.mean(axes))  # (C,)
    centred = wide - average.view(shape)
    variance = _Mean.apply(centred.square().mean(axes))  # (C,)
    n = x.numel() // x.shape[1] * dist.get_world_size()  # values per channel
    with torch.no_grad():
        layer.running_mean.lerp_(average, layer.momentum)
        layer.running_var.lerp_(variance * (n / (n - 1)), layer.momentum)
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
    scale = layer.weight * (variance + layer.eps).rsqrt()
    return (centred * scale.view(shape) + layer.bias.view(shape)).to(x.dtype)
