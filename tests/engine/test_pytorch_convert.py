"""PyTorch's own files, both ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common import checkpoint
from common.config import Config, UserError
from pytorch_impl import convert, sample


def test_an_exported_program_is_the_generator(saved: Path, tmp_path: Path, convert_command) -> None:
    convert_command(saved, tmp_path / "g.pt2")
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 20)).astype(np.float32)
    images = torch.export.load(tmp_path / "g.pt2").module()(torch.from_numpy(noise))
    module = convert.to_framework(checkpoint.load(saved), "generator")
    torch.testing.assert_close(images, module(torch.from_numpy(noise)), rtol=0, atol=0)
    ours = sample.load_generator(checkpoint.load(saved), "cpu")(noise)
    # Other kernels round otherwise: the ladder's bound of float32 outputs.
    difference = images.detach().permute(0, 2, 3, 1).numpy() - ours
    assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(ours)


def test_wrong_files_are_refused(saved: Path, tmp_path: Path, convert_command) -> None:
    target = tmp_path / "x.safetensors"
    wrong = tmp_path / "wrong.pth"
    for content, text in (
        ({"fc.0.weight": torch.zeros(2, 2)}, "lacks tensor 'fc.0.bias'"),
        ([1, 2], "no state_dict"),
    ):
        torch.save(content, wrong)
        convert_command(wrong, target, refused=text)
    module = convert.to_framework(checkpoint.load(saved), "generator").state_dict()
    torch.save(module | {"fc.3.weight": torch.zeros(6272, 1000)}, wrong)
    convert_command(wrong, target, refused="(6272, 1000)")
    wrong.write_bytes(b"not a file of PyTorch")
    convert_command(wrong, target, refused="cannot be read")
    assert not target.exists()


# ------------------------------------------------------------------ files of other people's


class View(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 128, 7, 7)


def sequential(network: str) -> nn.Sequential:
    """The tutorial's network as one nn.Sequential of PyTorch's own layers, LeakyReLU first."""
    torch.manual_seed(0)
    if network == "discriminator":
        return nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.LeakyReLU(0.01), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5), nn.LeakyReLU(0.01), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(1024, 1024), nn.LeakyReLU(0.01), nn.Linear(1024, 1),
        )  # fmt: skip
    module = nn.Sequential(
        nn.Linear(20, 1024), nn.ReLU(), nn.BatchNorm1d(1024),
        nn.Linear(1024, 6272), nn.ReLU(), nn.BatchNorm1d(6272), View(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    with torch.no_grad():
        module(torch.rand(8, 20))  # running statistics of its own
    return module


def saved_from(arrays: checkpoint.Arrays) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(arrays, Config(noise_size=20), 0, "pytorch", {})


@pytest.mark.parametrize(
    ("network", "shape"), [("generator", (4, 20)), ("discriminator", (4, 1, 28, 28))]
)
def test_a_plain_sequential_is_the_same_network(network: str, shape, tmp_path: Path) -> None:
    module = sequential(network)
    torch.save(module.state_dict(), tmp_path / "x.pth")
    ours = convert.to_framework(
        saved_from(convert.import_state_dict(network, tmp_path / "x.pth").arrays), network
    )
    theirs = {k: v for k, v in module.state_dict().items() if "tracked" not in k}
    back = {k: v for k, v in ours.state_dict().items() if "tracked" not in k}
    wanted = sorted((tuple(v.shape), v.double().sum().item()) for v in theirs.values())
    assert sorted((tuple(v.shape), v.double().sum().item()) for v in back.values()) == wanted
    x = torch.rand(shape)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), module.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_and_a_dict_of_several(prefix: str, tmp_path: Path) -> None:
    values = sequential("generator").state_dict()
    torch.save(values, tmp_path / "plain.pth")
    prefixed = {prefix + name: value for name, value in values.items()}
    torch.save({"generator": prefixed, "step": 3}, tmp_path / "x.pth")
    wanted = convert.import_state_dict("generator", tmp_path / "plain.pth").arrays
    for name, array in convert.import_state_dict("generator", tmp_path / "x.pth").arrays.items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_keep_every_bit(dtype: torch.dtype, tmp_path: Path, convert_command) -> None:
    module = sequential("generator").to(dtype)
    torch.save(module.state_dict(), tmp_path / "x.pth")
    convert_command(tmp_path / "x.pth", tmp_path / "x.safetensors")
    found = checkpoint.load(tmp_path / "x.safetensors")
    assert found.config.precision == ("float64" if dtype == torch.float64 else "float32")
    kernel = torch.from_numpy(found.arrays["generator/deconv1/kernel"]).permute(3, 2, 0, 1)
    assert torch.equal(kernel.to(dtype), module[7].weight)
    assert torch.equal(kernel, module[7].weight.to(kernel.dtype))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_files_of_other_things_are_named(tmp_path: Path) -> None:
    module = sequential("generator")
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.rand(4, 20)).sum().backward()
    optimizer.step()
    values = module.state_dict()
    path = tmp_path / "x.pth"
    for content, text in (
        (optimizer.state_dict(), "holds an optimizer's state"),
        ({"loss": 1.0, "optimizer": {}}, "holds no state_dict but loss, optimizer"),
        ({"a": values, "b": values}, "holds a, b; name the generator of these with --key"),
        ({"G": values, "netG": values}, "several that may be the generator: G, netG"),
        (module, "holds a pickled object.*weights_only=False"),
        ({"G": values, "loss": np.float64(1)}, r"holds numbers of numpy's.*float\(x\)"),
        (
            values | {"0.weight": torch.zeros(())},
            r"0.weight \(generator/dense1/kernel\) has shape \(\)",
        ),
        (values | {"0.weight": values["0.weight"].int()}, "0.weight holds torch.int32"),
        (values | {"0.weight": values["0.weight"].to_sparse()}, "torch.sparse_coo"),
        (
            values | {"7.weight": torch.zeros(128, 64, 5, 5)},
            r"7.weight .* has shape \(128, 64, 5, 5\)",
        ),
        (sequential("discriminator").state_dict(), "lacks tensor 'fc.0.weight'"),
        (values | {"extra": torch.zeros(1)}, "unknown tensor 'extra'"),
        (
            values | {"11.weight": values["0.weight"], "11.bias": values["0.bias"]},
            "0, 11 are alike",
        ),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=text):
            convert.import_state_dict("generator", path)
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(UserError, match=r"is a TorchScript program.*torch\.jit\.load"):
        convert.import_state_dict("generator", path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=r"is a pointer of Git LFS.*git lfs pull"):
        convert.import_state_dict("generator", path)


class Both(torch.nn.Module):
    """What Lightning trains: a module of both networks, under names of its own."""

    def __init__(self, generator: str, discriminator: str) -> None:
        super().__init__()
        self.add_module(generator, sequential("generator"))
        self.add_module(discriminator, sequential("discriminator"))


def dicts_of_scripts() -> dict[str, dict[str, object]]:
    """What public training scripts save, by whose way it is."""
    g, d = (sequential(network).state_dict() for network in ("generator", "discriminator"))
    optimizer = torch.optim.Adam(sequential("discriminator").parameters()).state_dict()
    beside = {"epoch": 3, "loss": 0.5, "optimizerG": optimizer, "args": {"lr": 2e-4, "name": "x"}}
    lightning = {
        "pytorch-lightning_version": "2.5",
        "global_step": 7,
        "optimizer_states": [optimizer],
    }
    return {
        "PyTorch's recipe": {"model_state_dict": g, "optimizer_state_dict": optimizer, "epoch": 1},
        "one network": {"state_dict": g, "epoch": 1},
        "netG and netD": {"netG": g, "netD": d, **beside},
        "G_state_dict": {"G_state_dict": g, "D_state_dict": d, **beside},
        "full names": {"generator": g, "discriminator": d, **beside},
        "with DataParallel": {"gen": {f"module.{k}": v for k, v in g.items()}, "disc": d},
        "modelG_state": {"modelG_state_dict": g, "modelD_state_dict": d},
        "Lightning": {"state_dict": Both("generator", "discriminator").state_dict(), **lightning},
        "Lightning, short": {"state_dict": Both("G", "D").state_dict(), **lightning},
        "a module of both": dict(Both("netG", "netD").state_dict()),
    }


@pytest.mark.parametrize("script", dicts_of_scripts())
def test_what_training_scripts_save(script: str, tmp_path: Path, convert_command: Callable) -> None:
    """One file then serves both networks, if it has them."""
    saved = dicts_of_scripts()[script]
    path, back = (
        tmp_path / ("x.ckpt" if "Lightning" in script else "x.pth"),
        tmp_path / "x.safetensors",
    )
    torch.save(saved, path)
    said = convert_command(path, back)
    found = checkpoint.load(back)
    both = script not in ("PyTorch's recipe", "one network")
    assert ("; both networks" in said) == both
    assert ("discriminator has its initial weights" in said) == (not both)
    for network, shape in (("generator", (4, 20)), ("discriminator", (4, 1, 28, 28))):
        if network == "generator" or both:
            x = torch.rand(shape)
            with torch.no_grad():
                ours, theirs = (
                    convert.to_framework(found, network)(x),
                    sequential(network).eval()(x),
                )
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_which_of_several_is_said_with_a_flag(tmp_path: Path, convert_command: Callable) -> None:
    values = sequential("generator").state_dict()
    other = {name: tensor + 1 for name, tensor in values.items()}
    torch.save({"G": values, "G_ema": other, "netG": values}, tmp_path / "x.pth")
    back = tmp_path / "x.safetensors"
    convert_command(tmp_path / "x.pth", back, refused="--key G")
    convert_command(tmp_path / "x.pth", back, "--key", "x", refused="has no 'x'; it holds G, G_ema")
    convert_command(tmp_path / "x.pth", back, "--key", "G,D", refused="--key takes a name for each")
    convert_command(tmp_path / "x.pth", back, "--key", "G_ema")
    found = checkpoint.load(back).arrays["generator/norm1/scale"]
    np.testing.assert_array_equal(found, other["2.weight"].numpy())


class OtherNames(torch.nn.Module):
    """The generator's layers under other names, registered in another order."""

    def __init__(self) -> None:
        super().__init__()
        plain = sequential("generator")
        for name, number in (("up", 7), ("last", 10), ("bn_a", 2), ("second", 3), ("bn_b", 5),
                             ("bn_c", 9), ("first", 0)):  # fmt: skip
            self.add_module(name, plain[number])


def test_layers_under_other_names(tmp_path: Path, convert_command: Callable) -> None:
    module = OtherNames()
    torch.save(module.state_dict(), tmp_path / "x.pt")
    said = convert_command(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert "layers by their shapes: first is fc.0, bn_a is fc.2, second is fc.3" in said
    found = checkpoint.load(tmp_path / "x.safetensors")
    x = torch.rand(4, 20)
    with torch.no_grad():
        ours, theirs = (
            convert.to_framework(found, "generator")(x),
            sequential("generator").eval()(x),
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_safetensors_load_as_hubs_have_them(saved: Path, tmp_path: Path, convert_command) -> None:
    import safetensors
    from safetensors.torch import load_file

    convert_command(saved, tmp_path / "g.safetensors")
    with safetensors.safe_open(tmp_path / "g.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"
    module = convert.to_framework(checkpoint.load(saved), "generator")
    module.load_state_dict(load_file(tmp_path / "g.safetensors"))  # strict
    (tmp_path / "bad.safetensors").write_bytes(b"no file of tensors")
    convert_command(
        tmp_path / "bad.safetensors", tmp_path / "x.safetensors", refused="cannot be read as a"
    )
