"""Whole commands on real MNIST: files, resume after every kind of end, bad input."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from common import checkpoint, datasets
from common.outputs import read_metrics

TRAIN = "pytorch_impl.train"


def test_sixty_steps_from_the_command_line(tmp_path: Path, data_dir: str, command) -> None:
    run = tmp_path / "run"
    done = command(
        TRAIN, "--steps", 60, "--batch-size", 32, "--show-every", 25, "--data-dir", data_dir,
        "--out", run,
    )  # fmt: skip
    assert re.search(r"^Iter: 25, D: \d\.\d+, G:\d", done.stdout, re.M)
    assert "Finished 60 steps" in done.stdout
    assert done.stderr == ""  # the bar is for terminals
    names = {path.name for path in run.iterdir()} - {".lock"}
    assert names == {
        "config.json", "environment.json", "metrics.jsonl", "result.json", "samples",
        "samples.gif", "losses.png", "checkpoint.safetensors", "tensorboard",
    }  # fmt: skip
    assert [p.stem for p in sorted((run / "samples").iterdir())] == [
        "step-000000", "step-000025", "step-000050", "step-000060",
    ]  # fmt: skip
    steps, metrics = read_metrics(run)
    np.testing.assert_array_equal(steps, np.arange(60))
    assert metrics["d_loss"][0] == pytest.approx(2 * np.log(2), abs=0.05)
    assert metrics["d_loss"][-10:].mean() < 1  # D has learnt something
    assert metrics["d_real"][-10:].mean() > metrics["d_fake"][-10:].mean()
    result = json.loads((run / "result.json").read_text())
    assert (result["step"], result["finished"]) == (60, True)
    assert result["images_per_second"] > 0
    with Image.open(run / "samples.gif") as gif:
        assert gif.n_frames == 4
    saved = checkpoint.load(run / "checkpoint.safetensors")
    assert (saved.step, saved.backend) == (60, "pytorch")
    assert "torch" in json.loads((run / "environment.json").read_text())["versions"]

    again = command(TRAIN, "--resume", run)
    assert "is finished" in again.stdout
    refused = command(TRAIN, "--out", run, status=2)
    assert "--overwrite" in refused.stderr

    out = tmp_path / "samples.npy"
    for seed in (1, 1, 2):
        before = np.load(out) if out.exists() else None
        command("pytorch_impl.sample", run, "--count", 20, "--seed", seed, "--out", out)
        images = np.load(out)
        assert images.shape == (20, 28, 28)
        assert images.dtype == np.uint8
        if before is not None:
            assert np.array_equal(images, before) == (seed == 1)
    walk = tmp_path / "walk.gif"
    command("pytorch_impl.sample", run, "--count", 3, "--walk", 5, "--out", walk)
    with Image.open(walk) as gif:
        assert gif.n_frames == 11
    command("pytorch_impl.sample", run, "--count", 3, "--walk", 5, "--out", tmp_path / "strip.png")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, data_dir: str, command) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    command(TRAIN, *ARGUMENTS, "--data-dir", data_dir, "--out", run)
    return run


ARGUMENTS = ("--steps", 80, "--batch-size", 16, "--show-every", 40, "--checkpoint-every", 20)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_ends_as_the_uninterrupted_one(
    number: int, status: int, uninterrupted: Path, tmp_path: Path, data_dir: str, starter, command
) -> None:
    run = tmp_path / "run"
    process = starter(TRAIN, *ARGUMENTS, "--data-dir", data_dir, "--out", run)
    file = run / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, out + err
    if number != signal.SIGKILL:
        assert "Stopped after step" in out
        assert err == ""
    assert checkpoint.load(file).step < 80
    command(TRAIN, "--resume", run)
    wanted, found = (checkpoint.load(r / file.name).arrays for r in (uninterrupted, run))
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    for name in ("metrics.jsonl", "samples/step-000040.png", "samples/step-000080.png"):
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--batch-size", "0"], "--batch-size takes"),
        (["--learning-rate", "nan"], "--learning-rate takes"),
        (["--precision", "float16"], "--precision takes one of"),
        (["--bach-size", "4"], "did you mean --batch-size?"),
        (["--resume", "nowhere"], "nowhere"),
        (["--precision", "float64", "--device", "mps"], "mps"),
        (["--batch-size", "64", "--train-images", "32"], "--train-images"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], text: str, tmp_path: Path, command
) -> None:
    run = tmp_path / "run"
    done = command(TRAIN, *arguments, "--out", run, status=2)
    assert text in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not run.exists()


def test_a_mistake_is_answered_before_torch_is_imported(command) -> None:
    code = "import sys; sys.argv = ['x', '--seed', '-1']; import runpy\n"
    code += "try: runpy.run_module('pytorch_impl.train', run_name='__main__')\n"
    code += "except SystemExit as e: print(e.code, 'torch' in sys.modules)"
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


@pytest.mark.parametrize("split", ["train", "t10k"])
def test_torchvision_reads_the_same_files(split: str, data_dir: str) -> None:
    theirs = torchvision.datasets.MNIST(data_dir, train=split == "train", download=False)
    np.testing.assert_array_equal(
        theirs.data.numpy(), datasets.mnist_images(data_dir, split)[..., 0]
    )
    np.testing.assert_array_equal(theirs.targets.numpy(), datasets.mnist_labels(data_dir, split))
