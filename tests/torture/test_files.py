"""Broken files are refused in a sentence: the short version of files.py.

And the counts can go wrong: what a broken reader would let through is lost here, too.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import random
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from common import architecture, checkpoint, config, formats, images
from common.config import Config, UserError
from common.outputs import read_metrics
from compare import runs
from compare.quality import evaluate
from compare.report import build as report
from compare.report import document, records
from tests.tiny import tiny_architecture
from tests.torture import broken, broken_data, broken_runs, cases, files, sound, targets
from tests.torture.cases import SETTINGS, good_run, put
from tests.torture.targets import TARGETS


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny networks, whose checkpoints are small."""
    monkeypatch.setitem(architecture.ARCHITECTURES, "mnist28", tiny_architecture)


# ------------------------------------------------------------------ short versions


def flipped(data: bytes, most: int) -> bytes:
    """What libFuzzer's own mutations are at their simplest, for machines without it."""
    rng = random.Random(data)
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 2, 8))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.choice((most, len(changed), rng.randrange(len(changed) + 1)))])


def pounded(target: targets.Target, inputs: int) -> int:
    """Mutate good inputs and try them; how many were accepted."""
    kept = target.seeds()
    accepted = sum(map(target.one, kept))
    for seed in range(inputs):
        accepted += target.one(target.mutate(kept[seed % len(kept)], seed, flipped))
    return accepted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_takes_or_refuses_whatever_it_gets(name: str, tmp_path: Path) -> None:
    assert pounded(TARGETS[name](tmp_path), 300) > 0


@pytest.mark.slow
def test_libfuzzer_finds_nothing_in_the_loader(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has wheels for Linux on x86-64 alone")
    row = files.fuzz("checkpoint", 500, tmp_path, lambda line: None)
    assert row.lost == 0, row.note
    assert row.tried >= 500


def test_one_in_twenty_of_the_cases_by_hand(tmp_path: Path) -> None:
    said: list[str] = []
    rows = cases.run(broken.all_cases()[::20], tmp_path, said.append)
    assert [row.what for row in rows if row.lost] == [], said
    assert sum(row.tried for row in rows) >= 80


def test_there_are_more_than_500_cases_by_hand() -> None:
    found = broken.all_cases()
    assert len({(case.kind, case.name) for case in found}) == len(found) > 1500


# ------------------------------------------------------------------ the counts can go wrong


def good(tmp_path: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(good_run(tmp_path / "run") / checkpoint.FILE_NAME)


Change = Callable[[dict[str, Any]], Any]
VARIANCE = "generator/norm1/moving_variance"


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop(VARIANCE),
        lambda a: a.update(x=np.zeros(1)),
        lambda a: a.update({VARIANCE: -a[VARIANCE]}),
        lambda a: a.update({VARIANCE: a[VARIANCE] * np.float32("nan")}),
        lambda a: a.update({VARIANCE: a[VARIANCE].astype("f8")}),
        lambda a: a.update({VARIANCE: a[VARIANCE][:2]}),
        lambda a: a.update({"optimizer/generator/count": np.array(3)}),
        lambda a: a.update(step=np.array(3)),
    ],
)
def test_a_state_that_is_not_sound_is_noticed(change: Change, tmp_path: Path) -> None:
    found = good(tmp_path)
    sound.sound(found)
    arrays = dict(found.arrays)
    change(arrays)
    with pytest.raises(AssertionError):
        sound.sound(dataclasses.replace(found, arrays=arrays))


@pytest.mark.parametrize("fields", [{"seed": -1}, {"noise_size": 0}, {"beta1": 1.0}, {"steps": 0}])
def test_settings_that_are_not_sound_are_noticed(fields: dict[str, Any]) -> None:
    sound.require_config(SETTINGS)
    with pytest.raises(AssertionError):
        sound.require_config(dataclasses.replace(SETTINGS, **fields))


def test_a_loader_that_checks_nothing_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGETS["checkpoint"](tmp_path)
    monkeypatch.setattr(checkpoint, "check", lambda arrays, config: None)
    with pytest.raises(AssertionError):
        pounded(target, 3000)


def test_a_reader_that_takes_a_broken_checkpoint_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(c for c in broken.checkpoint_cases() if c.name == f"{VARIANCE} with nan at 0")
    (tmp_path / "sound").mkdir()
    assert case.check(tmp_path / "sound") is None
    monkeypatch.setattr(checkpoint, "check", lambda arrays, config: None)
    assert case.check(tmp_path) == "load took it"


@pytest.mark.parametrize(
    ("status", "log", "tried", "lost"),
    [
        (0, "#9 DONE cov: 7 ft\nstat::number_of_executed_units: 10", 10, 0),
        (0, "#9 DONE cov: 7 ft\nstat::number_of_executed_units: 9", 9, 1),
        (77, "AssertionError: other\nstat::number_of_executed_units: 4", 4, 1),
        (70, "ERROR: libFuzzer: timeout after 5 seconds", 3, 1),
        (1, "ModuleNotFoundError: No module named 'atheris'", 3, 1),
    ],
)
def test_a_fuzzing_that_ends_early_is_lost(status: int, log: str, tried: int, lost: int) -> None:
    row = files.judged("x", 10, status, f"tried 3, accepted 1\n{log}")
    assert (row.tried, row.lost) == (tried, lost)


def test_a_case_that_raises_hangs_or_crashes_is_lost(tmp_path: Path) -> None:
    said: list[str] = []
    found = [
        cases.Case("kind", name, partial(broken_data.taken, call, KeyError, argument))
        for name, call, argument in (
            ("raises", int, "x"),
            ("hangs", time.sleep, 1000),
            ("crashes", os._exit, 0),
            ("survives", {}.__getitem__, "x"),
        )
    ]
    (row,) = cases.run(found, tmp_path, said.append, seconds=2)
    assert (row.tried, row.lost) == (4, 3)
    said = [line for line in said if "LOST" in line]
    assert said[0].startswith("files: LOST kind, raises: ValueError: invalid literal")
    assert said[1] == "files: LOST kind, hangs: it crashed, or hung for 2 s"
    assert said[2] == "files: LOST kind, crashes: it crashed, or hung for 2 s"


# ------------------------------------------------------------------ what they found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    found = []
    for kind in ("fifo", "device", "zeros"):
        (tmp_path / kind).mkdir()
        for read, name, errors in (
            (checkpoint.load, "x", UserError),
            (checkpoint.read_json, "x", (OSError, UserError)),
            (images.read_png, "x", (OSError, UserError)),
            (partial(evaluate.read_images, count=3), "x.npy", UserError),
            (read_metrics, "metrics.jsonl", OSError),
        ):
            path = tmp_path / kind / name
            if not path.is_symlink() and not path.exists():
                put(path, kind)
            path = path.parent if read is read_metrics else path
            check = partial(broken_data.taken, read, errors, path)
            found.append(cases.Case("endless", f"{kind} {name}", check))
    said: list[str] = []
    (row,) = cases.run(found, tmp_path, said.append)
    assert (row.tried, row.lost) == (15, 0), said


def test_counts_that_are_not_the_step_are_refused(tmp_path: Path) -> None:
    """PyTorch and Keras save both counts as the step, TensorFlow as they were."""
    arrays = dict(good(tmp_path).arrays) | {"optimizer/generator/count": np.array(7)}
    with pytest.raises(checkpoint.CheckpointError, match="'optimizer/generator/count' is 7"):
        checkpoint.check(arrays, SETTINGS)


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.save_weights(path, good(tmp_path))
    metadata, arrays = broken.taken_apart(path.read_bytes())
    arrays["generator/dense1/kernel"] = arrays["generator/dense1/kernel"].view(np.int16)
    save_file(arrays, path, metadata)
    with pytest.raises(checkpoint.CheckpointError, match="has type int16 instead of float16"):
        checkpoint.load(path)


@pytest.mark.parametrize("versions", ["[]", "3", '{"numpy": 2}', "null"])
def test_versions_are_texts(versions: str, tmp_path: Path) -> None:
    file = good_run(tmp_path / "run") / checkpoint.FILE_NAME
    metadata, arrays = broken.taken_apart(file.read_bytes())
    save_file(arrays, file, metadata | {"versions": versions})
    with pytest.raises(checkpoint.CheckpointError, match="versions are no object of texts"):
        checkpoint.load(file)


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1}',
        '{"step": "1", "d_loss": 1, "g_loss": 1, "d_real": 1, "d_fake": 1}',
        '{"step": 0, "d_loss": 1, "g_loss": 1, "d_real": 1, "d_fake": 1}',
        '{"step": 1, "d_loss": "1", "g_loss": 1, "d_real": 1, "d_fake": 1}',
        '{"step": 1, "d_loss": 1' + "0" * 400 + ', "g_loss": 1, "d_real": 1, "d_fake": 1}',
        '{"step": 1, "d_loss": 1, "g_loss": 1, "d_real": 1, "d_fake": 1, "x": "é"}',
        "[" * 100_000,
    ],
)
def test_metrics_end_before_the_first_line_that_is_none(line: str, tmp_path: Path) -> None:
    run = good_run(tmp_path / "run", step=1)
    first = (run / "metrics.jsonl").read_text()
    last = first.replace('"step": 0', '"step": 2')
    (run / "metrics.jsonl").write_text(first + line + "\n" + last)
    assert read_metrics(run)[0].tolist() == [0]
    assert broken_runs.go_on(run) is None


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-3", "1e308"])
def test_a_clock_that_cannot_be_is_not_gone_on_with(seconds: str, tmp_path: Path) -> None:
    run = good_run(tmp_path / "run")
    text = (run / "result.json").read_text().replace("1.5", seconds)
    (run / "result.json").write_text(text)
    assert broken_runs.go_on(run) is None  # and result.json is JSON without NaN


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '{"seed": -1}'])
def test_a_broken_config_is_a_sentence(content: str, tmp_path: Path) -> None:
    run = good_run(tmp_path / "run")
    (run / "config.json").write_text(content)
    for read in (records.read, lambda path: runs.check_settings(path, SETTINGS)):
        with pytest.raises(UserError, match=r"run/config\.json"):
            read(run)


def test_half_a_character_does_not_spoil_the_page() -> None:
    assert json.loads(document.embedded({"x": "a\ud800b"}).encode()) == {"x": "a?b"}


def test_a_checkpoint_that_is_none_does_not_spoil_the_certificate(tmp_path: Path) -> None:
    run = good_run(tmp_path / "run")
    (run / checkpoint.FILE_NAME).write_bytes(b"\0" * 100)
    assert report.certificate.parameter_counts([records.read(run)])["holds"] is False


def test_several_arrays_are_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.ones(3))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(UserError, match="it holds several arrays"):
        evaluate.read_images(tmp_path / "x.npy", 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [9000, 14_000, 2**31 - 1])
def test_a_picture_that_says_it_is_huge_is_not_unpacked(side: int, tmp_path: Path) -> None:
    """Pillow has a warning and an error of its own for them, at sizes of its own."""
    path = tmp_path / "x.png"
    images.save_png(path, np.zeros((4, 4, 1), np.uint8))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">2I", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="pixels"):
        images.read_png(path)


def test_an_empty_gzip_file_is_none() -> None:
    with pytest.raises(ValueError, match="it is empty"):
        formats.gunzip(b"", 10)


def test_a_value_of_a_config_is_shown_in_a_readable_length() -> None:
    with pytest.raises(UserError) as caught:
        config.from_json(config.to_json(Config()) | {"data_dir": [["x" * 10_000] * 100] * 100})
    assert len(str(caught.value)) < 1000
