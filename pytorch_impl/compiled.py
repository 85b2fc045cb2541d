"""K iterations in a row, and their compilation: step.train_step is the same function either way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.config import hyperparameters, recipe_of
from common.recipes import Hyper
from pytorch_impl.canonical import from_canonical, to_canonical
from pytorch_impl.state import TrainState
from pytorch_impl.step import train_step


def train_chunk(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> NDArray[np.floating]:
    """K iterations: images (K, B, H, W, C), noise (K, B, Z) -> metrics (K, 4), as train_step's.

    The device gets uint8 and the host waits once, for the metrics at the end.
    """
    images_ = torch.from_numpy(images).to(state.device, non_blocking=True)
    noise_ = torch.from_numpy(noise).to(state.device, non_blocking=True)
    step = state.compiled_step or partial(train_step, state)
    schedule = [hyperparameters(state.config, state.step + k) for k in range(len(images))]
    metrics = torch.stack([step(*batch) for batch in zip(images_, noise_, schedule, strict=True)])
    state.step += len(images)
    return state.mean_over_workers(metrics).cpu().numpy()


def compile_step(state: TrainState) -> None:
    """Make the step one dispatch: on CUDA as a graph, elsewhere with torch.compile's networks."""
    if state.device.type == "cuda":
        state.compiled_step = _capture(state)
    else:
        state.discriminator.compile()
        state.generator.compile()


def _capture(state: TrainState) -> Callable[[Tensor, Tensor, Hyper], Tensor]:
    """train_step recorded as a CUDA graph: the host starts one graph instead of 200 kernels.

    The graph works on the tensors that were there when it was recorded, so inputs are copied into
    its own and from_canonical into the state's; a step with R1 has a graph of its own. Recording
    needs a few real steps before it, on a stream of their own, which are undone. See PyTorch's
    notes on CUDA graphs.
    """
    config = state.config
    shape = (config.batch_size, *state.table.image_shape)
    images = torch.zeros(shape, dtype=torch.uint8, device=state.device)
    noise = torch.zeros(config.batch_size, config.noise_size, device=state.device)
    d_rate, g_rate, average = torch.zeros(3, dtype=torch.float64, device=state.device)
    before = to_canonical(state)
    graphs = {}
    for penalty in {
        hyperparameters(config, step).penalty for step in range(recipe_of(config).penalty_every)
    }:
        values = Hyper(d_rate, g_rate, penalty, average)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                train_step(state, images, noise, values)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            metrics = train_step(state, images, noise, values)
        graphs[penalty] = graph, metrics
    from_canonical(state, before)

    def captured(x: Tensor, z: Tensor, hyper: Hyper) -> Tensor:
        images.copy_(x)
        noise.copy_(z)
        for tensor, value in (
            (d_rate, hyper.d_rate),
            (g_rate, hyper.g_rate),
            (average, hyper.average),
        ):
            tensor.fill_(value)
        graph, metrics = graphs[hyper.penalty]
        graph.replay()
        return metrics.clone()  # the next replay writes there again

    return captured
