"""The measuring: limits, tables, turns, growth, and the GPU check in its mode without one."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import architecture
from common.checkpoint import Arrays
from common.config import Config, UserError
from compare import engines
from compare.engines import ENGINES, Engine
from compare.pages import readme
from compare.parity import rungs
from compare.speed import bench, gpu_check, growth, limits, timing
from compare.speed.baselines import product
from compare.worker import Worker
from tests.conftest import ONE_THREAD, Command

TABLE = architecture.mnist28()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the processes that are started: two threads on a busy machine wait for each other."""
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)


# ------------------------------------------------------------------ limits


def test_multiplications_of_each_layer() -> None:
    assert limits.network(TABLE.discriminator, TABLE.image_shape) == [
        24 * 24 * 25 * 1 * 32,
        8 * 8 * 25 * 32 * 64,
        1024 * 1024,
        1024,
    ]
    assert limits.network(TABLE.generator, (96,)) == [
        96 * 1024,
        1024 * 6272,
        7 * 7 * 16 * 128 * 64,
        14 * 14 * 16 * 64 * 1,
    ]


def test_multiplications_of_the_papers_layers() -> None:
    """Each doubling has half the pixels a side and twice the filters, so equal work."""
    paper = architecture.dcgan()
    middle = [8 * 8 * 16 * 128 * 256] * 3
    image = 32 * 32 * 16 * 64 * 3
    assert limits.network(paper.discriminator, paper.image_shape) == [image, *middle, 16 * 512]
    assert limits.network(paper.generator, (100,)) == [16 * 100 * 512, *middle, image]
    assert limits.arithmetic(paper, 128) / 1e9 == pytest.approx(291.15, abs=0.01)


def test_arithmetic_of_an_iteration() -> None:
    """Counted once more, pass by pass, and the figure that the README gives."""
    d, g = 4_787_200, 13_144_064
    passes = [
        2 * d,  # D forward, two images
        2 * d,  # its kernels' gradients
        2 * (d - 460_800),  # its inputs' gradients, without the first layer's
        g,
        d,
        d,  # down to the image
        g,
        g - 98_304,  # not down to the noise
    ]
    assert limits.arithmetic(TABLE, 128) == 2 * 128 * sum(passes)
    assert limits.arithmetic(TABLE, 128) / 1e9 == pytest.approx(19.6, abs=0.05)
    assert limits.arithmetic(TABLE, 256) == 2 * limits.arithmetic(TABLE, 128)


def test_traffic_of_an_iteration() -> None:
    parameters = 1_102_721 + 6_675_009
    assert limits.traffic(TABLE, 128) == 6 * 4 * parameters + 128 * (784 + 4 * 96)
    assert limits.traffic(TABLE, 128, 8) - limits.traffic(TABLE, 128) == 6 * 4 * parameters


def test_the_longer_of_arithmetic_and_traffic_is_the_limit() -> None:
    work, moved = limits.arithmetic(TABLE, 128), limits.traffic(TABLE, 128)
    assert limits.seconds(TABLE, 128, limits.Rates(work / 2, moved)) == pytest.approx(2)
    assert limits.seconds(TABLE, 128, limits.Rates(work, moved / 3)) == pytest.approx(3)


def test_best_takes_the_fastest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(t) for k in range(product.REPEATS) for t in (100 * k, 100 * k + 20 - k))
    monkeypatch.setattr(product.time, "perf_counter", lambda: next(clock))
    assert product.best(lambda: None) == 20 - (product.REPEATS - 1)


def test_a_gpu_is_not_limited_by_a_processor() -> None:
    slow = {"flops": 9.0, "bandwidth": 9.0, "device": "cpu"}
    fast = {"flops": 5.0, "bandwidth": 4.0, "device": "cuda"}
    assert bench.best_rates({"tensorflow": slow, "torch": fast}) == limits.Rates(5.0, 4.0)


# ------------------------------------------------------------------ the table


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """The published figures."""
    return json.loads((readme.ROOT / "docs/figures/bench.json").read_text())


def test_every_row_of_the_published_table_is_whole(record: dict[str, Any]) -> None:
    assert {"processor", "cores", "versions", "commit", "command", "rates"} <= set(record)
    ours = [row for row in record["rows"] if row["times_baseline"] is not None]
    plain = [row for row in record["rows"] if row["times_baseline"] is None]
    assert {row["engine"] for row in ours} == {row["engine"] for row in plain}
    for row in record["rows"]:
        low, high = row["ms_quartiles"]
        assert 0 < row["limit_ms"] < low <= row["ms"] <= high
        assert row["times_limit"] == pytest.approx(row["ms"] / row["limit_ms"])
        assert row["images_per_second"] == pytest.approx(1000 * row["batch_size"] / row["ms"])


def test_the_table_has_every_figure(record: dict[str, Any]) -> None:
    text = bench.table(record["rows"])
    header, rule, *lines = text.splitlines()
    assert len(lines) == len(record["rows"])
    assert {line.count("|") for line in (header, rule, *lines)} == {10}
    for row, line in zip(record["rows"], lines, strict=True):
        assert line.startswith(f"| {row['name']}")
        assert f" {row['images_per_second']:.0f} " in line
    assert " GFLOP/s in float32" in bench.summary(record)


def test_rows_say_what_tells_them_apart(record: dict[str, Any]) -> None:
    row = record["rows"][0]
    other = row | {"batch_size": 256, "device": "gpu", "compile": True}
    assert bench.title(row, [row]) == row["name"]
    assert bench.title(other, [row, other]) == f"{row['name']}, compiled, gpu, batch 256"


def test_plots(record: dict[str, Any], tmp_path: Path) -> None:
    bench.plot(record, tmp_path / "bench.png")
    grown = json.loads((readme.ROOT / "docs/figures/growth.json").read_text())
    growth.plot(grown, tmp_path / "growth.png")
    for name in ("bench.png", "growth.png"):
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_ratio_is_the_median_of_the_turns_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn in which the whole machine was slow moves no ratio."""
    times = {"pytorch": [1.0, 10.0, 1.0], "plain": [2.0, 20.0, 2.0]}

    class Fake(timing.Timed):
        def __init__(self, engine: Engine, settings: Config, *baseline: str, **_: bool) -> None:
            self.coming = iter(times["plain" if baseline else engine.name])
            self.on_cpu, self.first_seconds, self.start_seconds = True, 1.5, 2.0
            self.seconds, self.memory = [], {"peak_mib": 1.0, "peak_gpu_mib": None}

        def turn(self, warm: int, steps: int) -> None:
            assert (warm, steps) == (1, 10)
            self.seconds.append(next(self.coming))

        def close(self) -> None:
            pass

    monkeypatch.setattr(bench, "Timed", Fake)
    ours, plain = bench.measure_pair(ENGINES["pytorch"], Config(), rounds=3, turn=0)
    assert ours["times_baseline"] == 2
    assert (ours["ms"], plain["ms"]) == (1000, 2000)
    assert ours["compile_seconds"] == 0.5
    merged = bench.merge_baselines([ours, plain, ours, plain | {"ms_all": [8000.0]}])
    assert len(merged) == 3
    assert merged[-1]["ms_all"] == [2000, 20000, 2000, 8000]
    assert merged[-1]["ms"] == 5000


# ------------------------------------------------------------------ real turns


PAPER = {"dataset": "random", "train_images": 64, "image_size": 32, "width": 8}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("tensorflow", {}),
        pytest.param("keras", {}, marks=pytest.mark.slow),
        pytest.param("keras-torch", {}, marks=pytest.mark.slow),
        pytest.param("keras-jax", {}, marks=pytest.mark.slow),
        *(
            pytest.param(name, PAPER, marks=pytest.mark.slow)
            for name in ("pytorch", "tensorflow", "keras", "keras-torch", "keras-jax")
        ),
    ],
)
def test_a_baseline_serves_turns(name: str, shape: dict[str, Any]) -> None:
    engine = ENGINES[name]
    settings = Config(device="cpu", batch_size=4, **shape)
    with timing.Timed(
        engine, settings, timing.baseline_of(engine, settings), random_images=True
    ) as timed:
        for _ in range(2):
            timed.turn(1, 2)
    assert timed.first_seconds < timed.start_seconds
    assert all(0 < seconds < 60 for seconds in timed.seconds)
    assert len(timed.seconds) == 2
    assert timed.memory["peak_mib"] > 50


def test_the_command(
    data_dir: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench, "FRAMEWORKS", ("torch",))  # each product costs its start-up
    out = tmp_path / "bench.json"
    flags = ["--engines", "pytorch", "--precisions", "float32", "--devices", "cpu"]
    flags += ["--batch-sizes", "2", "--rounds", "2", "--turn", "1"]
    flags += ["--data-dir", data_dir, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["bench.py", *flags])
    bench.main()
    written = json.loads(out.read_text())
    assert [row["name"] for row in written["rows"]] == ["pytorch", bench.BASELINES["pytorch"]]
    assert bench.table(written["rows"]) in capsys.readouterr().out
    assert written["command"][:3] == ["python", "-m", "compare.bench"]
    assert out.with_suffix(".png").exists()
    for row in written["rows"]:
        assert len(row["ms_all"]) == 2
        assert all(0 < ms < 60_000 for ms in row["ms_all"])
        assert row["peak_mib"] > 50
        assert row["compile_seconds"] < row["start_seconds"]
    assert [rate["framework"] for rate in written["rates"]] == ["torch"]
    assert all(rate["flops"] > 1e9 and rate["bandwidth"] > 1e8 for rate in written["rates"])


def test_a_process_that_fails_is_named() -> None:
    with pytest.raises(UserError, match=r"The process of pytorch ended with 1: .*No module named"):
        timing.Timed(ENGINES["pytorch"], Config(), "compare.speed.baselines.none")


def test_batches_do_not_repeat() -> None:
    settings = Config(batch_size=4, noise_size=3, train_images=64)
    stream = timing.Stream(settings, timing.RandomImages(settings))
    first, second = stream.next(2), stream.next(2)
    assert first[0].shape == (2, 4, 28, 28, 1)
    assert first[0].dtype == np.uint8
    assert first[1].shape == (2, 4, 3)
    batches = [*first[0], *second[0]]
    assert len({batch.tobytes() for batch in batches}) == 4
    assert len({noise.tobytes() for noise in [*first[1], *second[1]]}) == 4


# ------------------------------------------------------------------ growth


def test_growth(tmp_path: Path, data_dir: str) -> None:
    path = tmp_path / "images.npy"
    digits = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2, 1)
    growth.make_dataset(path, 7, digits)
    made = np.load(path)
    assert made.shape == (7, 2, 2, 1)
    assert np.array_equal(made[3:6], digits)
    assert np.array_equal(made[6], digits[0])


@pytest.mark.slow
def test_growth_is_measured(data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Config(device="cpu", batch_size=2, data_dir=data_dir)
    chosen = engines.choose("pytorch")
    (row,) = growth.against_batch_size(chosen, settings, [512], rounds=1)
    assert row["us_per_image"] == pytest.approx(1000 * row["ms"] / 512)
    (row,) = growth.against_dataset_size(chosen, settings, [200])
    assert row["pipeline_times_step"] == pytest.approx(
        row["us_per_image"] / row["pipeline_us_per_image"]
    )
    assert 0 < row["order_us_per_image"] < row["pipeline_us_per_image"]
    written = {"batch_sizes": [], "dataset_sizes": [row]}
    assert "| pytorch | 200 |" in growth.tables(written)


# ------------------------------------------------------------------ the check of a GPU

BARE = """
import sys
from compare.speed import gpu_check, timing
from compare.speed.baselines import pytorch, product
from compare import gpu_check as command
from pytorch_impl import backend
wanted = {"safetensors", "tyro", "PIL", "pooch", "matplotlib", "filelock", "keras"}
print(sorted(wanted & set(sys.modules)))
"""


def test_the_check_needs_torch_and_numpy_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE], cwd=readme.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_check_compares_calls_of_any_length(tmp_path: Path) -> None:
    settings = Config(device="cpu", precision="float64", batch_size=2)
    runs = []
    with Worker(ENGINES["pytorch"], "compare.speed.gpu_check", settings) as worker:
        for chunk, resume in ((8, False), (3, True)):
            out = tmp_path / f"{chunk}.npz"
            worker.ask(
                "train",
                package="pytorch_impl", steps=8, chunk=chunk, resume=resume, out=str(out),
            )  # fmt: skip
            with np.load(out) as file:
                runs.append(dict(file))
    whole, cut = runs
    assert whole["losses"].shape == (8, 4)
    for prefix in ("outputs/", "first/", "last/", "losses"):
        far, where = rungs.worst(rungs.part(cut, prefix), rungs.part(whole, prefix))
        assert far <= gpu_check.LOSSES, where
    name = "generator/dense1/kernel"
    assert rungs.difference(whole[f"last/{name}"], whole[f"first/{name}"]) > 1e-4  # it did train


@pytest.mark.slow
def test_the_check_on_a_processor(command: Command) -> None:
    flags = ["--device", "cpu", "--no-keras", "--turns", "1", "--turn", "2", "--batch-size", "2"]
    done = command("compare.gpu_check", *flags)
    assert done.stdout.count("| holds |") == 8
    assert "BROKEN" not in done.stdout
    assert "failed" not in done.stdout
    assert done.stdout.count("| pytorch: ") == 5


def test_a_broken_bound_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(engine: Any, settings: Config, folder: Path, **rest: object) -> Arrays:
        far = 1.0 if settings.device == "cpu" else 1.0 + 1e-9
        return {name: np.full(2, far) for name in ("outputs/x", "first/x", "last/x", "losses")}

    monkeypatch.setattr(gpu_check, "run", run)
    base = dataclasses.replace(Config(), device="cuda")
    assert not gpu_check.check(ENGINES["pytorch"], base, tmp_path, can_compile=True)
    said = capsys.readouterr().out
    assert said.count("| BROKEN |") == 10
    assert " inf " not in said
    assert said.count("| holds |") == 1  # float32's


# ------------------------------------------------------------------ flags


@pytest.mark.parametrize(
    ("module", "flags", "said"),
    [
        ("bench", ["--engines", "theano"], "--engines takes names from pytorch"),
        ("bench", ["--precisions", "float16"], "--precisions takes names from float32, bfloat16"),
        ("bench", ["--devices", "tpu"], "--devices takes names from auto, cpu, cuda"),
        ("bench", ["--batch-sizes", "1"], "--batch-sizes takes whole numbers from 2 to"),
        ("bench", ["--batch-sizes", "8,"], "--batch-sizes takes whole numbers from 2 to"),
        ("bench", ["--architecture", "dcgan", "--image-size", "50"], "--image-size takes 32, 64"),
        ("bench", ["--rounds", "0"], "--rounds takes a whole number from 1"),
        ("bench", ["--turn", "-1"], "--turn takes a whole number from 0"),
        ("bench", ["--growth", "--rounds", "0"], "--rounds takes a whole number from 1"),
        ("bench", ["--quick"], "There is no flag --quick"),
        ("growth", ["--dataset-sizes", "many"], "--dataset-sizes takes whole numbers from 128"),
        ("growth", ["--batch-sizes", "1"], "--batch-sizes takes whole numbers from 2"),
        ("gpu_check", ["--device", "tpu"], "argument --device: invalid choice"),
        ("gpu_check", ["--turns", "0"], "--turns takes a number from 1"),
        ("gpu_check", ["--quick"], "unrecognized arguments: --quick"),
    ],
)
def test_a_mistake_is_one_sentence(
    module: str,
    flags: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"compare.{module}", *flags])
    main = {
        "bench": bench.main,
        "growth": lambda: growth.main(sys.argv[1:]),
        "gpu_check": lambda: gpu_check.main(sys.argv[1:]),
    }[module]
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {said}")
    assert captured.err.count("\n") == 1
