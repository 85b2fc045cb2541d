"""What may start a run, what a run leaves behind, how it goes on and how it stops.

A fake training, without a framework, drives the Run as a backend's train.py does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import batches, checkpoint, commandline, config, datasets, images, training
from common.config import UserError
from common.outputs import read_metrics
from common.plan import Plan, TrainArguments, make_plan
from common.run import Run

pytestmark = pytest.mark.usefixtures("tiny")

IMAGES = datasets.ArrayDataset(np.arange(20 * 784, dtype=np.uint8).reshape(20, 28, 28, 1))
FLAGS = ["--noise-size=4", "--batch-size=4", "--train-images=20"]
FILES = [
    "checkpoint.safetensors",
    "config.json",
    "environment.json",
    "losses.png",
    "metrics.jsonl",
    "result.json",
    "samples",
    "samples.gif",
    "tensorboard",
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, the tiny data set, no plots, and the signal handlers as before.

    A plot takes longer than the rest of such a run.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load", lambda config: IMAGES)
    monkeypatch.setattr(images, "plot_losses", lambda path, *_: path.touch())
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def losses_of(chunk: batches.Chunk) -> np.ndarray:
    """Metrics that depend on a step's images and noise: (K, 4)."""
    steps = zip(chunk.images, chunk.noise, strict=True)
    return np.array([[x.mean() / 255, abs(z.mean()), 0.5, 1 / 3] for x, z in steps])


class Fake:
    """A training that moves one array; `at` is called with the run before each chunk."""

    def __init__(self, at: Callable[[Run, batches.Chunk], None] = lambda run, chunk: None) -> None:
        self.at = at
        self.losses = losses_of

    def __call__(self, run: Run, dataset: batches.Dataset) -> None:
        arrays = dict(run.arrays)
        with run.open("a processor", 1, ("numpy", "no-such-package")):
            if run.step == 0:
                run.show(self.generate(arrays))
            for chunk in run.chunks(dataset, most=3, vary=False):
                self.at(run, chunk)
                run.record(chunk, self.losses(chunk))
                bias = arrays["generator/dense1/bias"] + np.float32(len(chunk.images) / 100)
                arrays |= {"generator/dense1/bias": bias.astype(np.float32)}
                arrays |= dict.fromkeys(checkpoint.COUNTS, np.array(chunk.end))
                if run.shows(chunk.end):
                    run.show(self.generate(arrays))
                if run.saves(chunk.end):
                    run.save(arrays)

    def generate(self, arrays: checkpoint.Arrays) -> np.ndarray:
        return np.full((16, 28, 28, 1), arrays["generator/dense1/bias"][0])


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the training command with flags: its exit status."""

    def call(*argv: str, train: Any = None) -> int:
        monkeypatch.setattr(sys, "argv", ["train", *argv])
        try:
            training.main("pytorch", train or Fake())
        except SystemExit as exit_:
            return int(exit_.code or 0)
        return 0

    return call


Main = Callable[..., int]
PLOT_LOSSES = images.plot_losses


def asked(*argv: str) -> Plan:
    """The plan of a command line."""
    arguments, given = commandline.parse(TrainArguments, argv, prog="train", description="")
    return make_plan(arguments, given, "pytorch")


def refusal(*argv: str) -> str:
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError) as caught:
        asked(*argv)
    assert sorted(Path().rglob("*")) == before  # nothing was created
    assert "\n" not in str(caught.value)
    return str(caught.value)


def disk_is_full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def result(run: str) -> dict[str, Any]:
    return json.loads((Path(run) / "result.json").read_text())


def steps_of(run: str) -> list[int]:
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def samples_of(run: str) -> list[str]:
    return sorted(path.name for path in (Path(run) / "samples").iterdir())


# ------------------------------------------------------------------ plans


def test_a_new_run_has_its_usual_place_and_the_initial_weights() -> None:
    planned = asked(*FLAGS, "--seed", "3")
    assert planned.directory == Path("runs/pytorch-mnist-seed3")
    assert (planned.step, planned.source) == (0, None)
    assert planned.config == config.Config(seed=3, noise_size=4, batch_size=4, train_images=20)
    first = checkpoint.initial(planned.config)
    assert all(np.array_equal(planned.arrays[name], first[name]) for name in first)
    assert list(Path().iterdir()) == []


def test_a_file_as_out_is_refused() -> None:
    Path("x").write_text("")
    assert refusal("--out", "x") == "--out x is a file; a run needs a directory of its own."


@pytest.mark.parametrize("out", ["file/below", "x" * 300])
def test_an_impossible_out_gets_one_sentence(
    main: Main, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    Path("file").write_text("")
    assert main(*FLAGS, "--steps=2", "--out", out) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["file"]


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_directory_that_is_no_run_is_refused_even_with_overwrite(overwrite: list[str]) -> None:
    Path("x").mkdir()
    Path("x/thesis.tex").write_text("")
    sentence = "--out x is not empty and no run directory; choose another."
    assert refusal("--out", "x", *overwrite) == sentence


def test_an_empty_directory_is_welcome() -> None:
    Path("x").mkdir()
    assert asked("--out", "x").directory == Path("x")


def test_an_existing_run_is_refused_without_overwrite(main: Main) -> None:
    assert main(*FLAGS, "--steps=2", "--out=x") == 0
    sentence = refusal("--out", "x")
    assert sentence.startswith("x holds a run already; continue it with --resume x, delete it")
    assert asked("--out", "x", "--overwrite").overwrite


def test_a_resume_of_nothing_is_refused(main: Main) -> None:
    assert refusal("--resume", "no") == (
        "There is no no; give a run directory or a checkpoint file."
    )
    Path("empty").mkdir()
    assert "has no checkpoint yet" in refusal("--resume", "empty")
    Path("text").write_text("hello")
    assert "cannot be read as a safetensors checkpoint" in refusal("--resume", "text")


@pytest.mark.parametrize(
    ("flag", "value", "trained"),
    [
        ("--learning-rate", "0.001", "0.0003"),
        ("--seed", "1", "0"),
        ("--batch-size", "5", "4"),
        ("--precision", "float64", "float32"),
        ("--train-images", "2000", "20"),
        ("--noise-size", "4", "4"),  # the same value, but it was not to be given
    ],
)
def test_a_resume_with_another_training_is_refused(
    main: Main, flag: str, value: str, trained: str
) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    sentence = refusal("--resume", "x", "--steps", "9", flag, value)
    assert sentence.startswith(
        f"{flag} cannot be given with --resume: the checkpoint was trained with {flag} {trained}; "
    )


def test_flags_of_a_resume_are_not_measured_by_the_defaults(main: Main) -> None:
    """100 images are fewer than the default batch, but the run's batch is 4."""
    main(*FLAGS, "--steps=2", "--out=x")
    assert refusal("--resume=x", "--steps=9", "--train-images=100").startswith(
        "--train-images cannot be given with --resume"
    )


def test_a_resume_takes_the_checkpoints_config_and_the_changes_that_are_allowed(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x", "--seed=8")
    planned = asked(
        *("--resume", "x", "--steps=9", "--show-every=2", "--checkpoint-every=3"),
        *("--device=cpu", "--no-compile", "--data-dir=elsewhere"),
    )
    assert planned.config == config.Config(
        seed=8,
        noise_size=4,
        batch_size=4,
        train_images=20,
        steps=9,
        show_every=2,
        checkpoint_every=3,
        device="cpu",
        compile=False,
        data_dir="elsewhere",
    )
    assert (planned.step, planned.directory, planned.source) == (2, Path("x"), Path("x"))


def test_new_epochs_replace_old_steps(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    assert config.total_steps(asked("--resume", "x", "--epochs", "2").config) == 10


def test_a_resume_past_the_total_is_refused(main: Main) -> None:
    main(*FLAGS, "--steps=5", "--out=x")
    assert "is at step 5 already, past the 4 steps asked for" in refusal("--resume=x", "--steps=4")


def test_a_lone_checkpoint_needs_out(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    shutil.copy("x/checkpoint.safetensors", "lone")
    assert refusal("--resume", "lone", "--steps=4") == (
        "lone lies in no run directory; say with --out where to continue it."
    )
    planned = asked("--resume", "lone", "--steps=4", "--out=y")
    assert (planned.directory, planned.source, planned.step) == (Path("y"), None, 2)


def test_a_resume_never_deletes_what_it_continues(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    for out in ([], ["--out", "x"], ["--out", "./x"]):
        assert "--overwrite would delete" in refusal("--resume=x", "--overwrite", *out)


def test_a_resume_never_deletes_the_directory_around_what_it_continues(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    main(*FLAGS, "--steps=2", "--out=x/y")
    refusal("--resume=x/y", "--steps=4", "--out=x", "--overwrite")


def test_a_resume_from_an_older_copy_that_dies_at_once_leaves_a_whole_run(main: Main) -> None:
    def die(run: Run, chunk: batches.Chunk) -> None:
        raise MemoryError

    assert main(*FLAGS, "--steps=3", "--out=x") == 0
    shutil.copy("x/checkpoint.safetensors", "x/older.safetensors")
    assert main("--resume=x", "--steps=6") == 0
    assert main("--resume=x/older.safetensors", "--steps=6", train=Fake(die)) == 2
    assert steps_of("x") == list(range(asked("--resume=x", "--steps=6").step))
    assert main("--resume=x", "--steps=6") == 0
    assert steps_of("x") == list(range(6))


def test_a_resume_elsewhere_needs_a_free_place(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    main(*FLAGS, "--steps=2", "--out=y")
    assert "y holds a run already" in refusal("--resume=x", "--steps=4", "--out=y")


# ------------------------------------------------------------------ a whole run


def test_a_run_leaves_the_contracts_files(
    main: Main, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "plot_losses", PLOT_LOSSES)
    flags = ["--steps=7", "--show-every=3", "--checkpoint-every=5", "--out=x"]
    assert main(*FLAGS, *flags) == 0
    assert sorted(p.name for p in Path("x").iterdir() if p.name != ".lock") == FILES
    assert samples_of("x") == [f"step-00000{step}.png" for step in (0, 3, 6, 7)]
    assert images.read_png(Path("x/samples/step-000000.png")).shape == (366, 366, 1)
    assert images.read_png(Path("x/losses.png")).size > 0
    assert config.from_json(json.loads(Path("x/config.json").read_text())) == config.Config(
        noise_size=4, batch_size=4, train_images=20, steps=7, show_every=3, checkpoint_every=5
    )
    saved = checkpoint.load(Path("x/checkpoint.safetensors"))
    assert (saved.step, saved.backend) == (7, "pytorch")
    assert saved.versions.keys() == {"numpy"}
    assert any(p.name.startswith("events.out") for p in Path("x/tensorboard").iterdir())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("Iter")] == [
        "Iter: 0",
        "Iter: 3",
        "Iter: 6",
    ]
    assert any(line.startswith("Finished 7 steps") for line in lines)


def test_the_environment_is_written_down(main: Main) -> None:
    main(*FLAGS, "--steps=1", "--out=x")
    found = json.loads(Path("x/environment.json").read_text())
    assert found["versions"] == {"numpy": np.__version__}
    assert (found["device"], found["threads"], found["backend"]) == ("a processor", 1, "pytorch")
    assert found.keys() >= {"python", "system", "processor", "git_commit", "command"}


def test_metrics_have_one_line_a_step_in_full_precision(main: Main) -> None:
    main(*FLAGS, "--steps=7", "--out=x")
    chosen = config.Config(noise_size=4, batch_size=4, train_images=20, steps=7)
    wanted = np.concatenate([losses_of(c) for c in batches.chunks(IMAGES, chosen, 0)])
    rows = [json.loads(line) for line in Path("x/metrics.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["step", "d_loss", "g_loss", "d_real", "d_fake"]] * 7
    assert [list(row.values()) for row in rows] == [
        [i, *row] for i, row in enumerate(wanted.tolist())
    ]
    steps, found = read_metrics(Path("x"))
    assert steps.tolist() == list(range(7))
    np.testing.assert_array_equal(np.stack(list(found.values()), axis=1), wanted)


def test_the_log_line_keeps_the_published_form(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    train = Fake()
    train.losses = lambda chunk: np.array([[0.78214, 1.80749, 0.5, 0.5]] * len(chunk.images))
    main(*FLAGS, "--steps=1", "--out=x", train=train)
    assert "Iter: 0, D: 0.7821, G:1.807\n" in capsys.readouterr().out


def test_a_collapse_is_said_once_and_kept_over_a_resume(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fake generator's images are all the same."""
    main(*FLAGS, "--steps=210", "--show-every=70", "--out=x")
    assert capsys.readouterr().out.count("warning: this training looks collapsed") == 1
    found = result("x")["watch"]
    assert (found["verdict"], found["warned"]["step"]) == ("collapsed", 210)
    main("--resume=x", "--steps=280")
    assert "warning" not in capsys.readouterr().out
    assert result("x")["watch"] == found


def test_the_result_counts_no_first_chunk(main: Main) -> None:
    main(*FLAGS, "--steps=7", "--out=x")
    found = result("x")
    assert list(found) == ["step", "seconds", "images_per_second", "finished", "watch"]
    assert found["watch"] == {"verdict": "not judged", "warned": None}
    assert (found["step"], found["finished"]) == (7, True)
    assert found["images_per_second"] * found["seconds"] == pytest.approx((7 - 3) * 4)
    main(*FLAGS, "--steps=3", "--out=y")  # a first chunk and nothing else
    found = result("y")
    assert (found["step"], found["finished"]) == (3, True)
    assert (found["seconds"], found["images_per_second"]) == (0, None)


def test_overwrite_begins_anew(main: Main) -> None:
    main(*FLAGS, "--steps=7", "--show-every=1", "--out=x")
    Path("x/samples/mine.txt").write_text("")
    assert main(*FLAGS, "--steps=2", "--out=x") == 2
    assert steps_of("x") == list(range(7))
    assert main(*FLAGS, "--steps=2", "--out=x", "--overwrite") == 0
    assert steps_of("x") == [0, 1]
    assert samples_of("x") == ["step-000000.png", "step-000002.png"]


def test_the_animation_follows_the_steps(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also past a million of them, where the names of the samples grow."""
    brightness: list[int] = []

    def save_gif(path: Path, frames: list[np.ndarray], **_: Any) -> None:
        brightness.extend(int(frame[0, 0, 0]) for frame in frames)

    def at(run: Run, chunk: batches.Chunk) -> None:
        for step, value in ((999_750, 100), (1_000_000, 200)):
            picture = np.full((366, 366, 1), value, np.uint8)
            images.save_png(run.directory / "samples" / f"step-{step:06d}.png", picture)

    monkeypatch.setattr(images, "save_gif", save_gif)
    assert main(*FLAGS, "--steps=2", "--out=x", train=Fake(at)) == 0
    assert brightness == [0, 0, 100, 200]


def test_a_picture_that_is_none_does_not_spoil_the_end(main: Main) -> None:
    def at(run: Run, chunk: batches.Chunk) -> None:
        (run.directory / "samples" / "step-000001.png").write_bytes(b"no picture")

    assert main(*FLAGS, "--steps=2", "--out=x", train=Fake(at)) == 0
    assert result("x")["finished"] is True


def test_a_run_whose_pictures_cannot_be_written_finishes(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "save_png", disk_is_full)
    assert main(*FLAGS, "--steps=2", "--out=x") == 0
    assert "warning: the samples of step 2 could not be written" in capsys.readouterr().out
    assert result("x")["finished"] is True


# ------------------------------------------------------------------ going on


def same_records(a: str, b: str) -> None:
    assert Path(a, "metrics.jsonl").read_bytes() == Path(b, "metrics.jsonl").read_bytes()
    assert samples_of(a) == samples_of(b)
    for name in samples_of(a):
        assert Path(a, "samples", name).read_bytes() == Path(b, "samples", name).read_bytes()


def killed_after(step: int) -> Fake:
    """A training that a power cut ends: nothing is saved any more."""

    def at(run: Run, chunk: batches.Chunk) -> None:
        if chunk.step >= step:
            raise RuntimeError("power cut")

    return Fake(at)


EVERY = ["--show-every=3", "--checkpoint-every=4"]


@pytest.mark.parametrize("out", [[], ["--out=elsewhere"]])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(main: Main, out: list[str]) -> None:
    """Metrics and samples after the checkpoint are dropped, and made again."""
    main(*FLAGS, *EVERY, "--steps=11", "--out=whole")
    with pytest.raises(RuntimeError, match="power cut"):
        main(*FLAGS, *EVERY, "--steps=11", "--out=x", train=killed_after(6))
    assert steps_of("x") == [0, 1, 2, 3, 4, 5]
    assert checkpoint.load(Path("x/checkpoint.safetensors")).step == 4
    assert result("x")["finished"] is False
    seen = []
    assert main("--resume=x", *out, train=Fake(lambda run, chunk: seen.append(chunk.step))) == 0
    assert seen[0] == 4
    same_records("elsewhere" if out else "x", "whole")
    if out:  # the run that was continued is left alone
        assert steps_of("x") == [0, 1, 2, 3, 4, 5]
        assert result("x")["finished"] is False


def test_pictures_after_the_checkpoint_are_dropped(main: Main) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        main(*FLAGS, *EVERY, "--steps=11", "--out=x", train=killed_after(6))
    assert samples_of("x") == [f"step-00000{step}.png" for step in (0, 3, 6)]
    main("--resume=x", "--show-every=100")
    assert samples_of("x") == [f"step-0000{step}.png" for step in ("00", "03", "11")]


def test_a_run_goes_on_from_its_checkpoint_file_too(main: Main) -> None:
    main(*FLAGS, *EVERY, "--steps=4", "--out=x")
    assert main("--resume=x/checkpoint.safetensors", "--steps=6") == 0
    assert steps_of("x") == [0, 1, 2, 3, 4, 5]
    assert result("x")["step"] == 6


def test_a_lone_checkpoint_goes_on_without_records(main: Main) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    shutil.copy("x/checkpoint.safetensors", "lone")
    assert main("--resume=lone", "--steps=5", "--out=y") == 0
    assert steps_of("y") == [2, 3, 4]
    assert sorted(p.name for p in Path("y").iterdir() if p.name != ".lock") == FILES


def test_a_finished_run_says_so(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    before = Path("x/result.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main("--resume=x") == 0
    assert "x is finished: all 2 steps are done." in capsys.readouterr().out
    assert Path("x/result.json").stat().st_mtime_ns == before


# ------------------------------------------------------------------ how it stops


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_stops_and_the_run_goes_on_later(
    main: Main, capsys: pytest.CaptureFixture[str], number: int, status: int
) -> None:
    def at(run: Run, chunk: batches.Chunk) -> None:
        if chunk.step == 3:
            os.kill(os.getpid(), number)

    flags = ["--steps=11", "--show-every=100"]
    assert main(*FLAGS, *flags, "--out=x", train=Fake(at)) == status
    assert "Stopped after step 6 of 11; continue with --resume x" in capsys.readouterr().out
    assert checkpoint.load(Path("x/checkpoint.safetensors")).step == 6
    assert (result("x")["step"], result("x")["finished"]) == (6, False)
    assert main("--resume=x") == 0
    main(*FLAGS, *flags, "--out=whole")
    same_records("x", "whole")


def test_a_signal_in_the_last_chunk_loses_nothing(main: Main) -> None:
    """Whether the run ends at once or a resume ends it, its summary gets written."""

    def at(run: Run, chunk: batches.Chunk) -> None:
        if chunk.end == run.total:
            os.kill(os.getpid(), signal.SIGINT)

    main(*FLAGS, "--steps=7", "--out=x", train=Fake(at))
    assert main("--resume=x") == 0
    assert result("x")["finished"] is True
    assert sorted(p.name for p in Path("x").iterdir() if p.name != ".lock") == FILES


def test_a_signal_before_the_training_stops_at_once(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    def importing(run: Run, dataset: batches.Dataset) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    assert main(*FLAGS, "--out=x", train=importing) == 130
    assert "nothing was saved" in capsys.readouterr().out
    assert not Path("x").exists()


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_run_with_status_1(
    main: Main, capsys: pytest.CaptureFixture[str], column: int, value: float
) -> None:
    def losses(chunk: batches.Chunk) -> np.ndarray:
        found = losses_of(chunk)
        if chunk.step <= 7 < chunk.end:
            found[7 - chunk.step, column] = value
        return found

    train = Fake()
    train.losses = losses
    assert main(*FLAGS, *EVERY, "--steps=20", "--out=x", train=train) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: The losses of step 7 are not finite")
    assert "the last good checkpoint is x/checkpoint.safetensors" in error
    assert steps_of("x") == list(range(7))  # what was good is kept
    assert checkpoint.load(Path("x/checkpoint.safetensors")).step == 4
    assert result("x")["finished"] is False


def test_a_state_that_is_not_finite_is_not_saved(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    def at(run: Run, chunk: batches.Chunk) -> None:
        if chunk.step == 3:
            run.arrays["generator/dense1/kernel"][0, 0] = np.nan  # the array that is saved

    assert main(*FLAGS, "--steps=9", "--checkpoint-every=3", "--out=x", train=Fake(at)) == 1
    assert "is no longer usable" in capsys.readouterr().err
    assert checkpoint.load(Path("x/checkpoint.safetensors")).step == 3


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_in_the_same_directory_is_refused(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    main(*FLAGS, "--steps=2", "--out=x")
    command = [sys.executable, "-c", HOLDER, "x/.lock"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert main("--resume=x", "--steps=5") == 2
        holder.communicate("")
    assert capsys.readouterr().err == "error: Another process is training in x.\n"
    assert steps_of("x") == [0, 1]
    assert main("--resume=x", "--steps=5") == 0  # the lock died with its holder


def test_a_disk_that_refuses_one_checkpoint_is_asked_again(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save, refused = checkpoint.save, []

    def full_once(*arguments: Any) -> None:
        if not refused:
            refused.append(int(arguments[1]["step"]))
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", full_once)
    assert main(*FLAGS, "--steps=9", "--checkpoint-every=4", "--out=x") == 0
    assert refused == [4]
    out = capsys.readouterr().out
    assert "warning: the checkpoint of step 4 could not be written" in out
    assert checkpoint.load(Path("x/checkpoint.safetensors")).step == 9


def test_a_disk_that_refuses_the_last_checkpoint_is_an_error(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "save", disk_is_full)
    assert main(*FLAGS, "--steps=2", "--out=x") == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_full_disk_at_the_start_is_an_error_of_one_sentence(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "write_atomically", disk_is_full)
    assert main(*FLAGS, "--steps=2", "--out=x") == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert error.count("\n") == 1


def test_a_mistake_on_the_command_line_creates_nothing(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("--seed", "x") == 2
    assert capsys.readouterr().err == (
        "error: --seed takes a whole number from 0 to 2**63 - 1, not 'x'.\n"
    )
    assert list(Path().iterdir()) == []


# ------------------------------------------------------------------ reading metrics


@pytest.mark.parametrize("tail", ['{"step": 2, "d_lo', "{}", "[]", "null", '{"step": 2', "\0\0\0"])
def test_a_last_line_cut_short_is_left_out(tail: str) -> None:
    lines = [
        json.dumps({"step": i, "d_loss": 1.5, "g_loss": i, "d_real": 0.5, "d_fake": 0.5})
        for i in range(2)
    ]
    Path("metrics.jsonl").write_text("\n".join([*lines, tail]))
    steps, found = read_metrics(Path())
    assert steps.tolist() == [0, 1]
    assert found["g_loss"].tolist() == [0.0, 1.0]


def test_metrics_are_read_up_to_an_end(main: Main) -> None:
    main(*FLAGS, "--steps=5", "--out=x")
    steps, found = read_metrics(Path("x"), end=3)
    assert steps.tolist() == [0, 1, 2]
    assert {len(values) for values in found.values()} == {3}


def test_a_run_without_metrics_has_none() -> None:
    steps, found = read_metrics(Path())
    assert steps.shape == (0,)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
        ("d_loss", "g_loss", "d_real", "d_fake"), (0,)
    )


def test_a_run_imports_no_framework_of_its_own(tmp_path: Path) -> None:
    """Neither may the packages that common/ uses: two frameworks in one process disagree."""
    code = (
        "import contextlib, sys\n"
        "from pathlib import Path\n"
        "from common import checkpoint, config, run\n"
        "chosen = config.Config(steps=1)\n"
        "planned = run.Plan(chosen, Path(sys.argv[1]), checkpoint.initial(chosen))\n"
        "training = run.Run(planned, 'pytorch', run.Signals())\n"
        "with contextlib.suppress(KeyError), training.open('', 1, ()):\n"
        "    print(sorted({'torch', 'tensorflow', 'keras', 'jax'} & sys.modules.keys()))\n"
        "    raise KeyError\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# ------------------------------------------------------------------ the same command again


def test_resume_auto_begins_a_run_and_then_goes_on(main: Main) -> None:
    flags = [*FLAGS, "--resume=auto", "--out=x"]
    assert main(*flags, "--steps=2") == 0
    planned = asked(*flags, "--steps", "5")
    assert (planned.step, planned.directory) == (2, Path("x"))
    assert planned.config.steps == 5
    assert "--seed cannot be given with --resume" in refusal(*flags, "--seed", "9")
    assert "--overwrite would delete the run" in refusal(*flags, "--overwrite")


def test_a_restart_goes_on_where_the_command_was_saved(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(*FLAGS, "--steps=2", "--out=x") == 0
    assert main("--resume=x", "--out=y", "--steps=4") == 0
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = asked(*FLAGS, "--steps", "6", "--out", "x", "--overwrite")
    assert (again.step, again.overwrite) == (2, False)
    assert asked("--resume", "x", "--out", "y", "--steps", "9").step == 4
    assert asked("--resume", "x", "--steps", "9").step == 2
    assert asked(*FLAGS, "--out", "new").step == 0
    Path("y/checkpoint.safetensors").unlink()  # ended before its first
    assert asked("--resume", "x", "--out", "y", "--steps", "9").step == 2
    begun = asked(*FLAGS, "--steps", "6", "--out", "y")
    assert (begun.step, begun.overwrite) == (0, True)
