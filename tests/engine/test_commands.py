"""Whole commands on real MNIST: files, resume after every kind of end, silence, bad input."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common import checkpoint, sampling
from common.outputs import read_metrics
from tests.conftest import ONE_THREAD, ROOT

ARGUMENTS = ("--steps", 80, "--batch-size", 16, "--show-every", 40, "--checkpoint-every", 20)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, package: str, data_dir: str, command: Callable
) -> tuple[Path, str]:
    """A run that nobody stopped, and what its command printed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = command(f"{package}.train", *ARGUMENTS, "--data-dir", data_dir, "--out", run)
    assert done.stderr == ""  # the bar is for terminals, and a framework keeps its log to itself
    return run, done.stdout


@pytest.mark.whole_run
def test_what_a_run_leaves(
    finished: tuple[Path, str], name: str, backend: Any, request: pytest.FixtureRequest
) -> None:
    run, printed = finished
    assert re.search(r"^Iter: 40, D: \d\.\d+, G:\d", printed, re.M)
    assert "Finished 80 steps" in printed
    assert {path.name for path in run.iterdir()} - {".lock"} == {
        "config.json", "environment.json", "metrics.jsonl", "result.json", "samples",
        "samples.gif", "losses.png", "checkpoint.safetensors", "tensorboard",
    }  # fmt: skip
    assert [p.stem for p in sorted((run / "samples").iterdir())] == [
        "step-000000", "step-000040", "step-000080",
    ]  # fmt: skip
    steps, metrics = read_metrics(run)
    np.testing.assert_array_equal(steps, np.arange(80))
    assert metrics["d_loss"][0] == pytest.approx(2 * np.log(2), abs=0.05)
    assert metrics["d_loss"][-10:].mean() < 1  # D has learnt something
    assert metrics["d_real"][-10:].mean() > metrics["d_fake"][-10:].mean()
    result = json.loads((run / "result.json").read_text())
    assert (result["step"], result["finished"]) == (80, True)
    assert result["images_per_second"] > 0
    with Image.open(run / "samples.gif") as gif:
        assert gif.n_frames == 3
    saved = checkpoint.load(run / "checkpoint.safetensors")
    assert (saved.step, saved.backend) == (80, name)
    environment = json.loads((run / "environment.json").read_text())
    assert set(backend.PACKAGES) <= set(environment["versions"])
    if request.config.getoption("--engine") != "keras-jax":  # which knows all threads or one
        assert environment["threads"] == 1


@pytest.mark.whole_run
@pytest.mark.skipif(os.name == "nt", reason="the shell is another one")
def test_what_the_program_says_to_run_runs(
    package: str, data_dir: str, tmp_path: Path, command: Callable
) -> None:
    """Pasted into a shell, whatever the run directory is called."""
    run = tmp_path / "run é 1; 'two'"
    flags = ("--batch-size", 16, "--data-dir", data_dir, "--out", run, "--device", "cpu")
    printed = command(f"{package}.train", *flags, "--steps", 2).stdout

    def shell(line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = dict(re.findall(r"^  (\w[\w ]*?)  +(.*)$", printed, re.M))
    assert "d_loss" in shell(f"{said['curves']} --inspect")  # and does not stay to serve pages
    picture = f"'{tmp_path / 'a b.png'}'"
    shell(said["more images"].replace("samples.png", picture))
    assert (tmp_path / "a b.png").exists()
    refused = command(f"{package}.train", *flags, status=2).stderr
    go_on = re.search(r"continue it with (--resume .*?), delete it", refused)
    assert go_on is not None
    more = shell(f"{shlex.quote(sys.executable)} -m {package}.train {go_on[1]} --steps 3")
    assert "Finished 3 steps" in more


@pytest.mark.whole_run
def test_a_finished_run_stays(finished: tuple[Path, str], package: str, command: Callable) -> None:
    again = command(f"{package}.train", "--resume", finished[0])
    assert "is finished" in again.stdout
    refused = command(f"{package}.train", "--out", finished[0], status=2)
    assert "--overwrite" in refused.stderr


@pytest.mark.whole_run
def test_samples_of_a_run(
    finished: tuple[Path, str], name: str, package: str, tmp_path: Path, command: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    load = importlib.import_module(f"{package}.sample").load_generator

    def sample(*arguments: object) -> None:
        """The command in this process."""
        monkeypatch.setattr(sys, "argv", ["sample", *map(str, (finished[0], *arguments))])
        sampling.main(name, load)

    out = [tmp_path / f"{i}.npy" for i in range(3)]
    command(f"{package}.sample", finished[0], "--count", 20, "--seed", 1, "--out", out[0])
    sample("--count", 20, "--seed", 1, "--out", out[1])
    sample("--count", 20, "--seed", 2, "--out", out[2])
    first, same, other = map(np.load, out)
    assert first.shape == (20, 28, 28)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(same, first)
    assert not np.array_equal(other, first)
    sample("--count", 3, "--walk", 5, "--out", tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.n_frames == 11
    sample("--count", 3, "--walk", 5, "--out", tmp_path / "strip.png")
    assert (tmp_path / "strip.png").exists()


def assert_same_run(found: Path, wanted: Path, *names: str) -> None:
    """Bit for bit."""
    a, b = (checkpoint.load(run / "checkpoint.safetensors").arrays for run in (found, wanted))
    assert a.keys() == b.keys()
    for name in b:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in ("metrics.jsonl", *names):
        assert (found / name).read_bytes() == (wanted / name).read_bytes(), name


@pytest.mark.slow  # tests/torture shoots at PyTorch's runs in the default selection
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_ends_as_the_uninterrupted_one(
    number: int, status: int, finished: tuple[Path, str], package: str, tmp_path: Path,
    data_dir: str, starter: Callable, command: Callable,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    process = starter(f"{package}.train", *ARGUMENTS, "--data-dir", data_dir, "--out", run)
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
    command(f"{package}.train", "--resume", run)
    assert_same_run(run, finished[0], "samples/step-000040.png", "samples/step-000080.png")


@pytest.mark.slow
def test_a_lengthened_run_ends_as_the_uninterrupted_one(
    flags: tuple[str, ...], package: str, tmp_path: Path, data_dir: str, command: Callable
) -> None:
    common = ("--batch-size", 16, "--show-every", 4, "--data-dir", data_dir, *flags)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = command(f"{package}.train", "--steps", 8, *common, "--out", whole)
    assert done.stderr == ""
    command(f"{package}.train", "--steps", 4, *common, "--out", parts)
    command(f"{package}.train", "--resume", parts, "--steps", 8)
    assert_same_run(parts, whole, "samples/step-000004.png", "samples/step-000008.png")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--batch-size", "0"], "--batch-size takes"),
        (["--learning-rate", "nan"], "--learning-rate takes"),
        (["--precision", "float16"], "--precision takes one of"),
        (["--bach-size", "4"], "did you mean --batch-size?"),
        (["--resume", "nowhere"], "nowhere"),
        (["--precision", "float64", "--device", "mps"], "--device mps"),
        (["--batch-size", "64", "--train-images", "32"], "--train-images"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], text: str, package: str, tmp_path: Path, data_dir: str, command: Callable
) -> None:
    run = tmp_path / "run"
    data = () if "--resume" in arguments else ("--data-dir", data_dir)
    done = command(f"{package}.train", *arguments, *data, "--out", run, status=2)
    assert text in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not run.exists()


@pytest.mark.parametrize("mistake", [("--seed", "-1"), ("--precision", "float23")])
def test_a_mistake_is_answered_before_a_framework_is_imported(
    mistake: tuple[str, str], package: str
) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['x', *{mistake}]\n"
        f"try: runpy.run_module('{package}.train', run_name='__main__')\n"
        "except SystemExit as e:\n"
        "    print(e.code, {'torch', 'tensorflow', 'keras', 'jax'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"
