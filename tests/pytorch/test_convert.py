"""PyTorch's own files, both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from common import checkpoint
from common.config import Config
from pytorch_impl import convert, sample


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    arrays = checkpoint.initial(Config())
    rng = np.random.default_rng(2)
    for name in arrays:
        if "moving" in name:
            arrays[name] = rng.random(arrays[name].shape, np.float32) + 0.5
    checkpoint.save(path, arrays, Config(), "pytorch", {})
    return path


def test_there_and_back(saved: Path, tmp_path: Path, command) -> None:
    g, d, back = tmp_path / "g.pth", tmp_path / "d.pth", tmp_path / "back.safetensors"
    command("pytorch_impl.convert", saved, g)
    command("pytorch_impl.convert", saved, d, "--network", "discriminator")
    command("pytorch_impl.convert", g, back, "--discriminator", d)
    wanted, found = checkpoint.load(saved).arrays, checkpoint.load(back).arrays
    assert set(wanted) == set(found)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_exported_program_in_a_fresh_process(saved: Path, tmp_path: Path, command) -> None:
    command("pytorch_impl.convert", saved, tmp_path / "g.pt2")
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 96)).astype(np.float32)
    images = torch.export.load(tmp_path / "g.pt2").module()(torch.from_numpy(noise))
    module = convert.to_framework(checkpoint.load(saved), "generator")
    torch.testing.assert_close(images, module(torch.from_numpy(noise)), rtol=0, atol=0)
    ours = sample.load_generator(checkpoint.load(saved), "cpu")(noise)
    # Other kernels round otherwise: the ladder's bound of float32 outputs.
    difference = images.detach().permute(0, 2, 3, 1).numpy() - ours
    assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(ours)


def refused(text: str, done) -> None:
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_wrong_files_are_refused(saved: Path, tmp_path: Path, command) -> None:
    target = tmp_path / "x.safetensors"
    wrong = tmp_path / "wrong.pth"
    for content, text in (
        ({"fc.0.weight": torch.zeros(2, 2)}, "lacks tensor 'conv.0.bias'"),
        ([1, 2], "no state_dict"),
    ):
        torch.save(content, wrong)
        refused(text, command("pytorch_impl.convert", wrong, target, status=2))
    module = convert.to_framework(checkpoint.load(saved), "generator").state_dict()
    torch.save(module | {"fc.3.weight": torch.zeros(6272, 1000)}, wrong)
    refused("(6272, 1000)", command("pytorch_impl.convert", wrong, target, status=2))
    wrong.write_bytes(b"not a file of PyTorch")
    refused("cannot be read", command("pytorch_impl.convert", wrong, target, status=2))
    refused("no known ending", command("pytorch_impl.convert", saved, tmp_path / "g.h5", status=2))
    refused("exists already", command("pytorch_impl.convert", saved, wrong, status=2))
    assert not target.exists()
