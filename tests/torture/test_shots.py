"""Trainings that are killed and signalled end as if nothing had happened; what differs is seen."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import checkpoint, directory
from common.config import Config
from common.early import NOTHING_SAVED
from common.plan import Plan, check_directory
from compare.engines import ENGINES, ROOT
from tests.torture import shots
from tests.torture.shots import Shot
from tests.torture.trainings import CHECKPOINT, Reference, Training, differences, picture

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="where a process is, is read from /proc"
)


@pytest.fixture(scope="module")
def training(data_dir: str) -> Training:
    return Training(ENGINES["pytorch"], data_dir, steps=9, every=3)


@pytest.fixture(scope="module")
def reference(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference.of(training, tmp_path_factory.mktemp("whole") / "run")


SHOTS = [
    # Within the first checkpoint's write, and a step after one: its metrics must go.
    Shot("save", 0.13),
    Shot("step", 0.0),
]
MORE = [
    Shot("import", 0.05, signal.SIGTERM),
    Shot("compile", 0.3, signal.SIGINT),
    Shot("saved", 0.0),
    Shot("ready", 0.0, signal.SIGINT),
    Shot("saved", 0.0, signal.SIGTERM, second=0.01),
]


@needs_proc
@pytest.mark.parametrize("found", [SHOTS, pytest.param(MORE, marks=pytest.mark.slow)])
def test_a_training_that_is_shot_ends_as_if_nothing_had_happened(
    found: list[Shot], training: Training, reference: Reference, tmp_path: Path
) -> None:
    tally = shots.shoot(training, found, tmp_path, print, reference)
    assert tally.wrong == []
    assert (tally.tried, tally.survived) == (len(found), len(found))


# ------------------------------------------------------------------ the counts can go wrong


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's directory, made without a training."""
    folder = tmp_path_factory.mktemp("made") / "run"
    (folder / "samples").mkdir(parents=True)
    settings = Config(steps=1, batch_size=2)
    arrays = checkpoint.initial(settings)
    arrays |= {name: arrays[name] + 1 for name in checkpoint.COUNTS}
    checkpoint.save(folder / CHECKPOINT, arrays, settings, "pytorch", {})
    for name in ("config.json", "metrics.jsonl\n", "samples.gif", "losses.png", "samples/a.png"):
        (folder / name.strip()).write_text(name)
    (folder / "result.json").write_text('{"step": 1, "finished": true}')
    return folder


def _fails(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        (CHECKPOINT, "unreadable"),
        ("metrics.jsonl", "metrics.jsonl"),
        ("samples.gif", "samples.gif"),
        ("samples/a.png", "samples/a.png"),
        ("result.json", "unreadable"),
        (".result.json.tmp", "left over"),
    ],
)
def test_one_byte_of_any_file_is_a_difference(
    made: Path, name: str, seen: str, tmp_path: Path
) -> None:
    wanted = picture(made)
    copy = tmp_path / "run"
    shutil.copytree(made, copy)
    assert differences(copy, wanted) == []
    if not (copy / name).exists():
        (copy / name).write_text("torn")
    _fails(copy / name)
    found = differences(copy, wanted)
    assert len(found) == 1
    assert found[0].startswith(seen)


@pytest.mark.parametrize(
    ("status", "out", "err", "seen"),
    [
        (130, "Stopped after step 1 of 9; continue with --resume {run}", "", ""),
        (130, "Stopped after step 2 of 9; continue with --resume {run}", "", "said"),
        (130, "Stopped after step 1 of 9; continue with --resume elsewhere", "", "said"),
        (130, NOTHING_SAVED, "", "said that nothing was saved"),
        (130, "Iter: 0", "", "last line"),
        (0, "Finished 9 steps", "", "status 0"),
        (-2, "", "", "status -2"),
        (130, "", "Traceback\nStopped", "stderr: Stopped"),
    ],
)
def test_a_signal_badly_answered_is_a_fault(
    made: Path, status: int, out: str, err: str, seen: str
) -> None:
    watched = SimpleNamespace(run=made, training=SimpleNamespace(steps=9), new=lambda path: True)
    found = shots.fault(watched, 2, 0, status, out.format(run=made), err, False)
    assert found.startswith(seen)
    assert bool(found) == bool(seen)


# ------------------------------------------------------------------ defects that the lottery met


class Killed(BaseException):
    """Nothing more is done."""


@pytest.mark.parametrize("after", range(7))
def test_a_run_that_is_killed_while_it_replaces_another_can_be_begun_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """No half of the old run can be continued, and --overwrite still takes the folder."""
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    names = {path.name for path in folder.rglob("*")}
    left = iter(range(after))

    def counted(function):  # type: ignore[no-untyped-def]
        def call(*arguments: object, **more: object) -> object:
            if next(left, None) is None:
                raise Killed
            return function(*arguments, **more)

        return call

    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(directory.shutil, "rmtree", counted(shutil.rmtree))
    monkeypatch.setattr(checkpoint, "write_json", counted(checkpoint.write_json))
    settings = Config(steps=1, batch_size=2)
    planned = Plan(settings, folder, checkpoint.initial(settings), overwrite=True)
    with pytest.raises(Killed):
        directory.RunDirectory(planned).prepare()
    monkeypatch.undo()
    check_directory(folder, True)
    assert not (folder / CHECKPOINT).exists() or names <= {p.name for p in folder.rglob("*")}


def test_a_run_that_was_killed_as_it_began_is_no_obstacle(tmp_path: Path) -> None:
    for name in (".lock", ".config.json.tmp"):
        (tmp_path / name).touch()
    check_directory(tmp_path, False)


@pytest.mark.parametrize("result", [None, {"step": 0, "finished": False, "seconds": 2.0}])
def test_a_kill_after_the_last_checkpoint_loses_no_summary(
    made: Path, tmp_path: Path, result: dict[str, object] | None
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder, ignore=lambda *_: ["samples", "result.json", "metrics.jsonl"])
    if result is not None:  # of the checkpoint before
        (folder / "result.json").write_text(json.dumps(result))
    saved = checkpoint.load(folder / CHECKPOINT)
    directory.complete(Plan(saved.config, folder, saved.arrays, folder))
    written = json.loads((folder / "result.json").read_text())
    assert (written["step"], written["finished"]) == (1, True)
    assert written["seconds"] == (0.0 if result is None else 2.0)
    assert (folder / "losses.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_is_answered_before_anything_is_loaded(number: int, status: int) -> None:
    code = "import os, sys; from common import early; early.install()\n"
    code += "assert 'numpy' not in sys.modules\n"
    code += f"os.kill(os.getpid(), {int(number)})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (status, f"\n{NOTHING_SAVED}\n", "")


def test_ctrl_c_shows_nothing_of_what_a_start_holds_back() -> None:
    code = "import os; from common.quiet import quiet; from common.signals import Stopped\n"
    code += "try:\n with quiet():\n  os.write(2, b'noise'); raise Stopped\nexcept Stopped: pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
