"""What training changes: two networks, their optimizers, the step. To and from canonical arrays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from common import architecture, batches
from common.checkpoint import AVERAGE, Arrays, parameter_of
from common.config import Config, UserError
from common.memory import keep_freed_memory
from common.recipes import RECIPES, Hyper
from pytorch_impl import layers
from pytorch_impl.networks import Discriminator, Generator

# Canonical layer name -> the child of the network that holds it.
LAYERS = {
    "discriminator": {"conv1": "conv.0", "conv2": "conv.3", "dense1": "fc.0", "dense2": "fc.2"},
    "generator": {
        "dense1": "fc.0",
        "norm1": "fc.2",
        "dense2": "fc.3",
        "norm2": "fc.5",
        "deconv1": "conv.0",
        "norm3": "conv.2",
        "deconv2": "conv.3",
    },
}
# Canonical parameter name -> PyTorch's.
TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "offset": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class TrainState:
    """Both networks with their optimizers, on one device; from_canonical sets their values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = choose_device(config)
        self.dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.step = 0  # updates done
        self.captured: Callable[[Tensor, Tensor, Hyper], Tensor] | None = None  # step.compile_step
        if self.device.type == "cpu":
            keep_freed_memory()
        # Values below 1e-38 cost a processor a hundred times the time and move no result.
        torch.set_flush_denormal(config.precision != "float64")
        self.discriminator = Discriminator().to(self.device, self.dtype).train()
        self.generator = Generator(config.noise_size).to(self.device, self.dtype).train()
        self.average: Generator | None = None  # of G over the steps, if the recipe takes one
        if RECIPES[config.recipe].average:
            self.average = Generator(config.noise_size).to(self.device, self.dtype).eval()
            self.average.requires_grad_(False)
        for network in filter(None, (self.discriminator, self.generator, self.average)):
            layers.prefer_speed(network)
        shape = architecture.get(config.architecture, config.noise_size).image_shape
        jitter = torch.from_numpy(batches.jitter(config.seed, shape))  # (H, W, C)
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
            new = parameter_tensors(self.generator, "generator")
            for name, tensor in parameter_tensors(self.average, "generator").items():
                tensor.lerp_(new[name], hyper.average)

    def autocast(self) -> AbstractContextManager[None]:
        """bfloat16 arithmetic where the run asks for it; weights and losses stay float32."""
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def choose_device(config: Config) -> torch.device:
    """The device of a Config; `auto` takes the GPU if there is one. UserError if it is absent."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and config.precision != "float64",
    }
    name: str = config.device
    if name == "auto":
        name = next((name for name, present in there.items() if present), "cpu")
    if not there.get(name, True):
        raise UserError(
            f"--device {name} is not available to PyTorch {torch.__version__} on this machine; "
            "use --device auto or cpu."
        )
    return torch.device(name)


def describe(device: torch.device) -> str:
    """A device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


# ------------------------------------------------------------------ canonical arrays


def to_canonical(state: TrainState) -> Arrays:
    """The whole state as canonical arrays (common/checkpoint.py); copies on the host."""
    arrays: Arrays = {}
    for name, tensor in canonical_tensors(state).items():
        array = to_canonical_layout(parameter_of(name), tensor.detach().cpu().numpy())
        arrays[name] = np.array(array, order="C")
    count = np.array(state.step, np.int64)
    for name in ("step", "optimizer/discriminator/count", "optimizer/generator/count"):
        arrays[name] = count.copy()
    return arrays


@torch.no_grad()
def from_canonical(state: TrainState, arrays: Arrays) -> None:
    """Copy canonical arrays into the state's existing tensors."""
    for name, tensor in canonical_tensors(state).items():
        array = from_canonical_layout(parameter_of(name), arrays[name])
        tensor.copy_(torch.from_numpy(np.array(array, order="C")))
    for network, optimizer in (
        ("discriminator", state.d_optimizer),
        ("generator", state.g_optimizer),
    ):
        for values in optimizer.state.values():
            values["step"].fill_(float(arrays[f"optimizer/{network}/count"]))
    state.step = int(arrays["step"])


def canonical_tensors(state: TrainState) -> dict[str, Tensor]:
    """Canonical name -> the state's tensor, in PyTorch's layout."""
    tensors: dict[str, Tensor] = {}
    for network, module, optimizer in (
        ("discriminator", state.discriminator, state.d_optimizer),
        ("generator", state.generator, state.g_optimizer),
    ):
        for name, tensor in parameter_tensors(module, network).items():
            tensors[name] = tensor
            if isinstance(tensor, nn.Parameter):
                tensors[f"optimizer/{name}/first_moment"] = optimizer.state[tensor]["exp_avg"]
                tensors[f"optimizer/{name}/second_moment"] = optimizer.state[tensor]["exp_avg_sq"]
    if state.average is not None:
        for name, tensor in parameter_tensors(state.average, "generator").items():
            tensors[AVERAGE + name] = tensor
    return tensors


def parameter_tensors(module: nn.Module, network: str) -> dict[str, Tensor]:
    """Canonical name -> a network's parameter or running statistic."""
    return {
        name: getattr(module.get_submodule(child.rpartition(".")[0]), child.rpartition(".")[2])
        for name, child in parameter_names(network).items()
    }


def parameter_names(network: str) -> dict[str, str]:
    """Canonical name -> the name in a state_dict: generator/norm1/scale -> fc.2.weight."""
    return {
        name: f"{LAYERS[network][name.split('/')[1]]}.{TENSORS[name.split('/')[2]]}"
        for name in architecture.get("mnist28", 96).parameters()
        if name.startswith(network)
    }


def to_canonical_layout(name: str, array: np.ndarray) -> np.ndarray:
    """PyTorch's array of a parameter -> the canonical one, e.g. (out, in, kh, kw) -> HWIO."""
    return _layout(name, array, inverse=False)


def from_canonical_layout(name: str, array: np.ndarray) -> np.ndarray:
    """The canonical array of a parameter -> PyTorch's."""
    return _layout(name, array, inverse=True)


def _layout(name: str, array: np.ndarray, inverse: bool) -> np.ndarray:
    """Reorder axes. PyTorch flattens an image channels-first, the canonical form channels-last."""
    network, layer, _kind, *_ = name.split("/")
    table = architecture.get("mnist28", 96)
    rows = table.flattened_rows().get(f"{network}/{layer}")
    columns = table.flattened_columns().get(f"{network}/{layer}")
    if array.ndim == 4:  # (out, in, kh, kw); of a transposed convolution (in, out, kh, kw)
        return array.transpose((3, 2, 0, 1) if inverse else (2, 3, 1, 0))
    if array.ndim == 2 and not inverse:
        array = array.T  # (in, out)
    if rows is not None and array.ndim == 2:
        array = _reorder(array, rows, inverse)
    if columns is not None:
        array = _reorder(array.T, columns, inverse).T
    return array.T if array.ndim == 2 and inverse else array


def _reorder(array: np.ndarray, image: tuple[int, ...], inverse: bool) -> np.ndarray:
    """Reorder a first axis that runs over an image (H, W, C): from (C, H, W) order, or back."""
    h, w, c = image
    if inverse:
        split = array.reshape(h, w, c, *array.shape[1:])
        return np.moveaxis(split, 2, 0).reshape(array.shape)
    split = array.reshape(c, h, w, *array.shape[1:])
    return np.moveaxis(split, 0, 2).reshape(array.shape)
