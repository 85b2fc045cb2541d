"""What training changes: two networks, their optimizers, the step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from common import architecture, batches
from common.checkpoint import Arrays
from common.config import Config, recipe_of
from common.recipes import Hyper
from pytorch_impl import device, kernels
from pytorch_impl.architectures import make_discriminator, make_generator
from pytorch_impl.canonical import from_canonical, parameter_tensors


class TrainState:
    """Both networks with their optimizers, on one device; from_canonical sets their values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.table = architecture.of(config)
        self.device = device.choose_device(config)
        self.dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.step = 0  # updates done
        self.compiled_step: Callable[[Tensor, Tensor, Hyper], Tensor] | None = None  # compiled.py
        # Of metrics; with several workers, workers.py makes it one.
        self.mean_over_workers: Callable[[Tensor], Tensor] = lambda metrics: metrics
        self.discriminator = make_discriminator(self.table).to(self.device, self.dtype).train()
        self.generator = make_generator(self.table).to(self.device, self.dtype).train()
        self.average: nn.Module | None = None  # of G over the steps, if the recipe takes one
        if recipe_of(config).average:
            self.average = make_generator(self.table).to(self.device, self.dtype).eval()
            self.average.requires_grad_(False)
        for network in filter(None, (self.discriminator, self.generator, self.average)):
            kernels.prefer_speed(network)
        jitter = torch.from_numpy(batches.jitter(config.seed, self.table.image_shape))  # (H, W, C)
        self.jitter = jitter.permute(2, 0, 1).to(self.device, self.dtype)  # for R1
        self.d_optimizer = self._adam(self.discriminator)
        self.g_optimizer = self._adam(self.generator)

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        """Kingma & Ba 2015, algorithm 1: epsilon is added to the corrected sqrt(v)."""
        config, cuda = self.config, self.device.type == "cuda"
        optimizer = torch.optim.Adam(
            network.parameters(),
            # On CUDA a tensor, so that a captured step reads the rate of the moment.
            lr=torch.tensor(config.learning_rate, device=self.device)
            if cuda
            else config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=1e-8,
            fused=cuda or self.device.type == "cpu",  # one kernel instead of eight a parameter
            capturable=cuda,  # its count stays on the device
        )
        # PyTorch makes the moments in the first step; made here, they can be loaded into.
        for parameter in network.parameters():
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=self.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return optimizer

    def set_rates(self, hyper: Hyper) -> None:
        """The learning rates of one step."""
        for optimizer, rate in ((self.d_optimizer, hyper.d_rate), (self.g_optimizer, hyper.g_rate)):
            (group,) = optimizer.param_groups
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @torch.no_grad()
    def update_average(self, hyper: Hyper) -> None:
        """Move the averaged generator, running statistics too, towards the generator."""
        if self.average is not None:
            new = parameter_tensors(self.generator, "generator", self.table)
            averaged = parameter_tensors(self.average, "generator", self.table)
            for name, tensor in averaged.items():
                tensor.lerp_(new[name], hyper.average)

    def autocast(self) -> AbstractContextManager[None]:
        """bfloat16 arithmetic where the run asks for it; weights and losses stay float32."""
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def make_state(config: Config, arrays: Arrays) -> TrainState:
    """The state with the values of canonical arrays, in a process whose switches are set for it."""
    device.prepare(config)
    state = TrainState(config)
    from_canonical(state, arrays)
    return state
