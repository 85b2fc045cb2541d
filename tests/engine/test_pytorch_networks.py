"""PyTorch's networks against the tutorial's own classes, and how they hold canonical arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from common import architecture, batches, datasets
from pytorch_impl import backend, canonical, dcgan
from pytorch_impl.architectures import make_discriminator, make_generator
from pytorch_impl.networks import Discriminator, Generator
from tests.engine import example, published

TABLE = architecture.get("mnist28", 96)
PAIRS = [
    (published.Discriminator, Discriminator, (8, 1, 28, 28)),
    (published.Generator, Generator, (8, 96)),
]


def test_layer_shapes_are_the_tables() -> None:
    x = torch.zeros(2, 1, 28, 28)
    wanted = [layer.output_shape for layer in architecture.mnist28().discriminator]
    seen = []
    for layer in Discriminator().conv:
        x = layer(x)
        seen.append((*x.shape[2:], x.shape[1]))
    assert set(wanted[:4]) == set(seen)


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (32, 3), (64, 3), (128, 1)])
def test_the_papers_layer_shapes_are_the_tables(size: int, channels: int) -> None:
    table = architecture.dcgan(20, size, channels, width=4)
    D, G = make_discriminator(table), make_generator(table)
    x, z = torch.zeros(2, channels, size, size), torch.zeros(2, 20)
    for network, layers, module, inputs, wanted in (
        ("discriminator", table.discriminator, D, x, (2, 1)),
        ("generator", table.generator, G, z, x.shape),
    ):
        shapes: dict[str, tuple[int, ...]] = {}
        for name, child in module.main.named_children():
            child.register_forward_hook(partial(keep_shape, shapes, f"main.{name}"))
        assert module(inputs).shape == wanted
        names = canonical.parameter_names(network, table)
        for layer in layers:
            if layer.parameters:
                first = names[f"{network}/{layer.name}/{next(iter(layer.parameters))}"]
                assert shapes[first.rpartition(".")[0]] == layer.output_shape, layer.name


def keep_shape(
    shapes: dict[str, tuple[int, ...]], name: str, layer: nn.Module, x: object, y: torch.Tensor
) -> None:
    """A forward hook; the shape is kept channels-last, without the batch axis."""
    shapes[name] = (*y.shape[2:], y.shape[1])


@pytest.mark.parametrize(("tutorial", "ours", "shape"), PAIRS)
@pytest.mark.parametrize("training", [True, False])
def test_the_tutorials_state_dict_gives_the_same_bits(
    tutorial: type, ours: type, shape: tuple[int, ...], training: bool
) -> None:
    torch.manual_seed(3)
    theirs = tutorial()
    with torch.no_grad():
        for _ in range(2):
            theirs(torch.rand(shape) * 2 - 1)  # moves the running statistics off their start
    network = ours()
    network.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(shape) * 2 - 1
    a, b = theirs.train(training)(x), network.train(training)(x)
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_loading_keeps_the_tensors_themselves(lend_state: Callable, statistics: Callable) -> None:
    state = lend_state()
    before = {name: t.data_ptr() for name, t in canonical.canonical_tensors(state).items()}
    backend.from_canonical(state, statistics(state.config))
    after = {name: t.data_ptr() for name, t in canonical.canonical_tensors(state).items()}
    assert before == after


def test_flatten_order_is_translated() -> None:
    """Unit (h, w, c) of the canonical row order is PyTorch's (c, h, w)."""
    kernel = np.arange(1024 * 3, dtype=np.float32).reshape(1024, 3)
    weight = canonical.from_canonical_layout("discriminator/dense1/kernel", kernel, TABLE)
    h, w, c = 2, 1, 5
    np.testing.assert_array_equal(weight[:, c * 16 + h * 4 + w], kernel[h * 256 + w * 64 + c])
    scale = np.arange(6272, dtype=np.float32)
    theirs = canonical.from_canonical_layout("generator/norm2/scale", scale, TABLE)
    assert theirs[5 * 49 + 3 * 7 + 4] == scale[3 * 7 * 128 + 4 * 128 + 5]


def test_generate_leaves_the_generator_in_training_mode(lend_state: Callable) -> None:
    state = lend_state()
    backend.generate(state, batches.shown_noise(0, 2, 96))
    assert state.generator.training


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_step_in_float32(
    make_state: Callable, lend_state: Callable, advance: Callable, assert_close: Callable
) -> None:
    """Held to the parity ladder's bounds of an iteration: Adam's first update takes the sign of
    gradients that are nothing but rounding, so that what comes after it parts."""
    plain, compiled = lend_state(precision="float32"), make_state(precision="float32")
    backend.compile_step(compiled)
    first = [advance(state, 1) for state in (plain, compiled)]
    np.testing.assert_allclose(first[1], first[0], rtol=1e-5)
    a, b = (
        {k: v for k, v in backend.to_canonical(state).items() if "optimizer/discriminator/" in k}
        for state in (plain, compiled)
    )
    assert_close(b, a, 1e-4)
    noise = batches.shown_noise(0, 16, 96)
    assert backend.generate(compiled, noise).shape == (16, 28, 28, 1)
    assert np.isfinite(advance(compiled, 2)).all()


@pytest.mark.parametrize("split", ["train", "t10k"])
def test_torchvision_reads_the_same_files(split: str, data_dir: str) -> None:
    theirs = torchvision.datasets.MNIST(data_dir, train=split == "train", download=False)
    np.testing.assert_array_equal(
        theirs.data.numpy(), datasets.mnist_images(data_dir, split)[..., 0]
    )
    np.testing.assert_array_equal(theirs.targets.numpy(), datasets.mnist_labels(data_dir, split))


def test_a_state_dict_of_the_example_loads_and_gives_the_same_bits() -> None:
    """PyTorch's DCGAN example, of 32 pixels: D there ends in a sigmoid."""
    torch.manual_seed(0)
    theirs = example.Discriminator(3, 8), example.Generator(100, 3, 8)
    ours = dcgan.Discriminator(32, 3, 8), dcgan.Generator(32, 3, 8)
    z, x = torch.randn(6, 100), torch.rand(6, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        for their, our in zip(theirs, ours, strict=True):
            for tensor in their.state_dict().values():  # running statistics, too
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.dim() == 1 else tensor)
            our.load_state_dict(their.state_dict(), strict=True)
            assert our.state_dict().keys() == their.state_dict().keys()
            for training in (True, False):
                their.train(training)
                our.train(training)
                if isinstance(our, dcgan.Discriminator):
                    assert torch.equal(our(x).sigmoid().view(-1), their(x))
                else:
                    assert torch.equal(our(z), their(z[:, :, None, None]))
