"""One iteration of the training, and K of them in a row. Compilation happens here and only here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common import architecture
from common.config import hyperparameters
from common.recipes import RECIPES, Hyper
from pytorch_impl.losses import batch_mean, discriminator_loss, generator_loss, gradient_penalty
from pytorch_impl.state import TrainState, from_canonical, to_canonical


def scale_images(images: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (B, H, W, C) -> [-1, 1], (B, C, H, W): channels first is PyTorch's order."""
    return (images.to(dtype) / 127.5 - 1).permute(0, 3, 1, 2)  # a view: channels last in memory


def train_step(state: TrainState, images: Tensor, noise: Tensor, hyper: Hyper) -> Tensor:
    """Update D, then G through the updated D, both with the same noise (the published order).

    images uint8 (B, H, W, C); noise (B, Z) in [-1, 1); hyper: the recipe's numbers of this step
    -> (4,): d_loss, g_loss, and the means of D(x) and D(G(z)) in D's update. Changes the state in
    place.
    """
    D, G = state.discriminator, state.generator
    state.set_rates(hyper)
    real = scale_images(images, state.dtype)  # (B, C, H, W)

    # G runs once: the published second run has the same weights and noise, so the same images.
    with state.autocast():
        fake = G(noise.to(state.dtype))  # (B, C, H, W)

    # maximize over D:  E[log D(x)] + E[log(1 - D(G(z)))]
    with state.autocast():
        # One batch of 2B, since D has no batch norm that would mix real with fake.
        logits = D(torch.cat([real, fake.detach()]))  # (2B, 1)
    logits_real, logits_fake = logits.to(state.dtype).chunk(2)
    d_loss = discriminator_loss(logits_real, logits_fake)
    d_loss.backward()  # not into G, which D's update leaves alone
    if hyper.penalty:  # - penalty / 2 E[||grad D(x)||^2]
        with state.autocast():  # D.forward: what torch.compile made has no second derivative
            penalty = hyper.penalty * gradient_penalty(D.forward, real + state.jitter)
        penalty.backward()
    state.d_optimizer.step()
    state.d_optimizer.zero_grad()

    # maximize over G:  E[log D(G(z))], with the D just updated
    D.requires_grad_(False)
    with state.autocast():
        logits = D(fake)  # (B, 1)
    D.requires_grad_(True)
    g_loss = generator_loss(logits.to(state.dtype))
    g_loss.backward()  # through D, without D's weight gradients
    state.g_optimizer.step()
    state.g_optimizer.zero_grad()
    state.update_average(hyper)

    d_real, d_fake = batch_mean(logits_real.sigmoid()), batch_mean(logits_fake.sigmoid())
    return torch.stack([d_loss, g_loss, d_real, d_fake]).detach()  # (4,)


def train_chunk(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> NDArray[np.floating]:
    """K iterations: images (K, B, H, W, C), noise (K, B, Z) -> metrics (K, 4), as train_step's.

    The device gets uint8 and the host waits once, for the metrics at the end.
    """
    images_ = torch.from_numpy(images).to(state.device, non_blocking=True)
    noise_ = torch.from_numpy(noise).to(state.device, non_blocking=True)
    step = state.captured or partial(train_step, state)
    schedule = [hyperparameters(state.config, state.step + k) for k in range(len(images))]
    metrics = torch.stack([step(*batch) for batch in zip(images_, noise_, schedule, strict=True)])
    state.step += len(images)
    return metrics.cpu().numpy()


def compile_step(state: TrainState) -> None:
    """Make the step one dispatch: on CUDA as a graph, elsewhere with torch.compile's networks."""
    if state.device.type == "cuda":
        state.captured = _capture(state)
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
    image = architecture.get(config.architecture, config.noise_size).image_shape
    images = torch.zeros(config.batch_size, *image, dtype=torch.uint8, device=state.device)
    noise = torch.zeros(config.batch_size, config.noise_size, device=state.device)
    d_rate, g_rate, average = torch.zeros(3, dtype=torch.float64, device=state.device)
    before = to_canonical(state)
    graphs = {}
    for penalty in {
        hyperparameters(config, step).penalty
        for step in range(RECIPES[config.recipe].penalty_every)
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


@torch.no_grad()
def generate(state: TrainState, noise: NDArray[np.float32]) -> NDArray[np.floating]:
    """Images of the generator in evaluation mode, of the averaged one where the recipe has one:
    noise (N, Z) -> (N, H, W, C) in (-1, 1).
    """
    z = torch.from_numpy(noise).to(state.device, state.dtype)
    generator = state.average or state.generator
    generator.eval()  # running statistics: an image does not depend on its batch-mates
    try:
        images = generator(z)  # (N, C, H, W)
    finally:
        state.generator.train()
    return images.permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def outputs(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> dict[str, NDArray[np.floating]]:
    """The forward passes alone, to be compared: D's logits (B, 1) on images (B, H, W, C), and G's
    images (B, H, W, C) of noise (B, Z) in training mode, which moves its running statistics, and in
    evaluation mode.
    """
    real = scale_images(torch.from_numpy(images).to(state.device), state.dtype)
    z = torch.from_numpy(noise).to(state.device, state.dtype)
    return {
        "logits": state.discriminator(real).cpu().numpy(),
        "images_training": state.generator(z).permute(0, 2, 3, 1).cpu().numpy(),
        "images_evaluation": generate(state, noise),
    }
