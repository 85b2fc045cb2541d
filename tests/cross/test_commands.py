"""What a user types: any backend samples from and continues any other's run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from common import checkpoint
from common.outputs import read_metrics

BACKENDS = ("pytorch", "tensorflow", "keras")
# Once round in the default selection, and the other way in the slow one.
ROUND = [("pytorch", "tensorflow"), ("tensorflow", "keras"), ("keras", "pytorch")]
OTHERS = [*ROUND, *(pytest.param(b, a, marks=pytest.mark.slow) for a, b in ROUND)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data_dir: str, command) -> dict[str, Path]:
    """Each backend's run of 12 steps, all with the same flags."""
    folder = tmp_path_factory.mktemp("runs")
    for backend in BACKENDS:
        command(
            f"{backend}_impl.train", "--steps", 12, "--batch-size", 16, "--show-every", 6,
            "--precision", "float64", "--data-dir", data_dir, "--out", folder / backend,
        )  # fmt: skip
    return {backend: folder / backend for backend in BACKENDS}


def test_same_files_and_records(runs: dict[str, Path]) -> None:
    names = {b: {str(p.relative_to(run)) for p in run.rglob("*.*")} for b, run in runs.items()}
    for backend in BACKENDS[1:]:
        ours = {name for name in names[backend] if "events" not in name}
        assert ours == {name for name in names["pytorch"] if "events" not in name}
    configs = [json.loads((run / "config.json").read_text()) for run in runs.values()]
    assert configs[0] == configs[1] == configs[2]
    wanted = read_metrics(runs["pytorch"])[1]
    for run in runs.values():
        for name, values in read_metrics(run)[1].items():
            np.testing.assert_allclose(values, wanted[name], rtol=1e-10)


def test_same_first_pictures(runs: dict[str, Path]) -> None:
    from common.images import read_png

    for step in (0, 6, 12):
        grids = [read_png(run / f"samples/step-{step:06d}.png") for run in runs.values()]
        for grid in grids[1:]:  # float64: no pixel on the edge between two values is expected
            np.testing.assert_array_equal(grid, grids[0])


@pytest.mark.parametrize(("first", "second"), OTHERS)
def test_continue_in_another_backend(
    first: str, second: str, runs: dict[str, Path], tmp_path: Path, command
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[first], run)
    before = (run / "metrics.jsonl").read_text()
    command(f"{second}_impl.train", "--resume", run, "--steps", 15)
    assert (run / "metrics.jsonl").read_text().startswith(before)
    assert len(read_metrics(run)[0]) == 15
    assert {p.name for p in (run / "samples").iterdir()} == {
        f"step-{step:06d}.png" for step in (0, 6, 12, 15)
    }
    saved = checkpoint.load(run / "checkpoint.safetensors")
    assert (saved.step, saved.backend) == (15, second)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_samples_the_same_images(
    backend: str, runs: dict[str, Path], tmp_path: Path, command
) -> None:
    """From one run, float64: equal pixels, whoever draws them."""
    out, reference = tmp_path / "samples.npy", tmp_path / "reference.npy"
    command(f"{backend}_impl.sample", runs["keras"], "--count", 100, "--out", out)
    command("pytorch_impl.sample", runs["keras"], "--count", 100, "--out", reference)
    np.testing.assert_array_equal(np.load(out), np.load(reference))


def test_help_is_the_same(command) -> None:
    texts = []
    for backend in BACKENDS:
        out = command(f"{backend}_impl.train", "--help").stdout
        texts.append(out.replace(f"{backend}_impl", "X").replace(f"the {backend} backend", "X"))
    assert texts[0].split() == texts[1].split() == texts[2].split()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "arguments",
    [["--batch-size", "1"], ["--precision", "int8"], ["--resume", "no/such/run"], ["--x"]],
)
def test_bad_input_gets_the_same_sentence(backend: str, arguments: list[str], command) -> None:
    done = command(f"{backend}_impl.train", *arguments, status=2)
    wanted = command("pytorch_impl.train", *arguments, status=2)
    assert done.stderr == wanted.stderr
    assert done.stderr.startswith("error: ")
