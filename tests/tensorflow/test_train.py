"""Whole commands on real MNIST: files, resume, silence, bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import checkpoint
from common import run as runs
from common.batches import Dataset
from common.outputs import read_metrics

TRAIN = "tensorflow_impl.train"


def test_sixty_steps_from_the_command_line(tmp_path: Path, data_dir: str, command) -> None:
    run = tmp_path / "run"
    done = command(
        TRAIN, "--steps", 60, "--batch-size", 32, "--show-every", 25, "--data-dir", data_dir,
        "--out", run,
    )  # fmt: skip
    assert re.search(r"^Iter: 25, D: \d\.\d+, G:\d", done.stdout, re.M)
    assert "Finished 60 steps" in done.stdout
    assert done.stderr == ""  # the bar is for terminals, and TensorFlow keeps its log to itself
    names = {path.name for path in run.iterdir()} - {".lock"}
    assert names == {
        "config.json", "environment.json", "metrics.jsonl", "result.json", "samples",
        "samples.gif", "losses.png", "checkpoint.safetensors", "tensorboard",
    }  # fmt: skip
    steps, metrics = read_metrics(run)
    np.testing.assert_array_equal(steps, np.arange(60))
    assert metrics["d_loss"][0] == pytest.approx(2 * np.log(2), abs=0.05)
    assert metrics["d_loss"][-10:].mean() < 1  # D has learnt something
    assert metrics["d_real"][-10:].mean() > metrics["d_fake"][-10:].mean()
    saved = checkpoint.load(run / "checkpoint.safetensors")
    assert (saved.step, saved.backend) == (60, "tensorflow")
    environment = json.loads((run / "environment.json").read_text())
    assert "tensorflow" in environment["versions"]
    assert environment["threads"] == 1

    out = tmp_path / "samples.npy"
    for seed in (1, 1, 2):
        before = np.load(out) if out.exists() else None
        command("tensorflow_impl.sample", run, "--count", 20, "--seed", seed, "--out", out)
        images = np.load(out)
        assert images.shape == (20, 28, 28)
        assert images.dtype == np.uint8
        if before is not None:
            assert np.array_equal(images, before) == (seed == 1)


@pytest.mark.parametrize("arguments", [(), ("--precision", "float64"), ("--compile",)])
def test_a_resumed_run_ends_as_the_uninterrupted_one(
    arguments: tuple[str, ...], tmp_path: Path, data_dir: str, command
) -> None:
    common = ("--batch-size", 16, "--show-every", 4, "--data-dir", data_dir, *arguments)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = command(TRAIN, "--steps", 8, *common, "--out", whole)
    assert done.stderr == ""
    command(TRAIN, "--steps", 4, *common, "--out", parts)
    command(TRAIN, "--resume", parts, "--steps", 8)
    a, b = (checkpoint.load(run / "checkpoint.safetensors").arrays for run in (whole, parts))
    for name in a:
        np.testing.assert_array_equal(b[name], a[name], err_msg=name)
    for name in ("metrics.jsonl", "samples/step-000004.png", "samples/step-000008.png"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--batch-size", "0"], "--batch-size takes"),
        (["--bach-size", "4"], "did you mean --batch-size?"),
        (["--resume", "nowhere"], "nowhere"),
        (["--device", "mps"], "--device mps does not exist for TensorFlow"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], text: str, tmp_path: Path, data_dir: str, command
) -> None:
    run = tmp_path / "run"
    done = command(TRAIN, *arguments, "--data-dir", data_dir, "--out", run, status=2)
    assert text in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not run.exists()


def test_a_mistake_is_answered_before_tensorflow_is_imported() -> None:
    code = "import sys; sys.argv = ['x', '--seed', '-1']; import runpy\n"
    code += "try: runpy.run_module('tensorflow_impl.train', run_name='__main__')\n"
    code += "except SystemExit as e: print(e.code, 'tensorflow' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.split() == ["2", "False"]


def test_an_allocation_that_fails_is_explained(
    data_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import tensorflow as tf

    def train(run: runs.Run, dataset: Dataset) -> None:
        tf.zeros([10**12, 1000])  # four petabytes

    arguments = ["train", "--batch-size=64", f"--data-dir={data_dir}", f"--out={tmp_path / 'x'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        runs.main("tensorflow", train)
    assert ended.value.code == 2
    sentence = capsys.readouterr().err
    assert "a batch of 64 images does not fit" in sentence
    assert "--batch-size 32" in sentence
