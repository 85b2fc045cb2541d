"""Checkpoint files: exact, atomic, and never trusted."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from common import checkpoint
from common.architecture import Architecture
from common.checkpoint import Arrays, CheckpointError
from common.config import Config, UserError, to_json

pytestmark = pytest.mark.usefixtures("tiny")

CONFIG = Config(noise_size=4, seed=5)


def state(config: Config = CONFIG, step: int = 7) -> Arrays:
    """A state in which no two arrays are alike."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {}
    for name, (shape, dtype) in checkpoint.expected(config).items():
        if dtype == "int64":
            arrays[name] = np.array(step, np.int64)
        else:
            arrays[name] = rng.random(shape).astype(dtype)
    return arrays


def metadata(**changes: str) -> dict[str, str]:
    return {
        "format_version": "1",
        "architecture": "mnist28",
        "backend": "pytorch",
        "step": "7",
        "config": json.dumps(to_json(CONFIG)),
        "versions": "{}",
    } | changes


def refusal(path: Path) -> str:
    """What load says about a bad file: always one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


# ------------------------------------------------------------------ good files


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_round_trip_bit_for_bit(tmp_path: Path, precision: Any) -> None:
    config = Config(noise_size=4, precision=precision, steps=9)
    arrays = state(config)
    checkpoint.save(tmp_path / "x", arrays, config, "keras", {"keras": "3"})
    found = checkpoint.load(tmp_path / "x")
    assert (found.config, found.step, found.backend) == (config, 7, "keras")
    assert found.versions == {"keras": "3"}
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    wide = found.arrays["generator/dense1/kernel"].dtype
    assert wide == ("float64" if precision == "float64" else "float32")


def test_values_at_the_edge_survive(tmp_path: Path) -> None:
    arrays = state()
    edge = np.array([-0.0, 1e-45, np.finfo(np.float32).max], np.float32)
    arrays["generator/dense1/bias"] = edge
    checkpoint.save(tmp_path / "x", arrays, CONFIG, "pytorch", {})
    assert (
        checkpoint.load(tmp_path / "x").arrays["generator/dense1/bias"].tobytes() == edge.tobytes()
    )


def test_views_are_saved_as_what_they_show(tmp_path: Path) -> None:
    arrays = state()
    kernel = arrays["generator/dense1/kernel"]
    arrays["generator/dense1/kernel"] = np.asfortranarray(kernel)
    checkpoint.save(tmp_path / "x", arrays, CONFIG, "pytorch", {})
    found = checkpoint.load(tmp_path / "x").arrays["generator/dense1/kernel"]
    np.testing.assert_array_equal(found, kernel)


def test_the_metadata_is_the_contracts(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", state(), CONFIG, "pytorch", {"torch": "2"})
    content = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    found = json.loads(content[8 : 8 + length])["__metadata__"]
    assert json.loads(found.pop("config")) == to_json(CONFIG)
    assert found == {
        "format_version": "1",
        "architecture": "mnist28",
        "backend": "pytorch",
        "step": "7",
        "versions": '{"torch": "2"}',
    }


def test_a_state_has_parameters_moments_and_counts(tiny: Callable[[int], Architecture]) -> None:
    names = set(checkpoint.expected(CONFIG))
    trainable = set(tiny(4).trainable())
    moments = {f"optimizer/{n}/{m}_moment" for n in trainable for m in ("first", "second")}
    counts = {"step", "optimizer/discriminator/count", "optimizer/generator/count"}
    assert names == set(tiny(4).parameters()) | moments | counts


def test_the_initial_state_is_valid_and_at_rest(tmp_path: Path) -> None:
    for precision in ("float32", "float64"):
        config = Config(noise_size=4, precision=precision)  # type: ignore[arg-type]
        arrays = checkpoint.initial(config)
        checkpoint.check(arrays, config)
        assert all((a == 0).all() for n, a in arrays.items() if n.startswith("optimizer/"))
        assert arrays["step"] == 0
        assert (arrays["generator/norm1/moving_variance"] == 1).all()
        assert arrays["generator/dense1/kernel"].any()


def test_float64_runs_begin_with_the_float32_weights() -> None:
    single, double = (
        checkpoint.initial(Config(noise_size=4, precision=p))["generator/dense1/kernel"]
        for p in ("float32", "float64")
    )
    assert double.dtype == np.float64
    np.testing.assert_array_equal(single, double)


# ------------------------------------------------------------------ bad files


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 500, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x"
    checkpoint.save(path, state(), CONFIG, "pytorch", {})
    path.write_bytes(path.read_bytes()[:keep])
    assert "safetensors" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a" + bytes(100),
        b"\x80\x04\x95" + bytes(100),  # a pickle
        b"PK\3\4" + bytes(1000),  # a zip, such as torch.save writes
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        struct.pack("<Q", 90_000) + b"[" * 90_000,
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert "cannot be read as a safetensors checkpoint" in refusal(tmp_path / "x")


def test_a_header_that_declares_huge_arrays_costs_no_memory(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    header = json.dumps({"__metadata__": metadata(), "step": entry}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "safetensors" in refusal(tmp_path / "x")


def test_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    assert "it is a folder, not a file" in refusal(tmp_path)
    assert refusal(tmp_path / "no") == f"There is no checkpoint at {tmp_path / 'no'}."


Change = Callable[[Arrays], Any]
KERNEL = "generator/dense1/kernel"
SECOND = f"optimizer/{KERNEL}/second_moment"
VARIANCE = "generator/norm1/moving_variance"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.pop(KERNEL), f"array '{KERNEL}' is missing"),
        (lambda a: a.pop("step"), "array 'step' is missing"),
        (lambda a: a.update(x=np.zeros(1)), "array 'x' is unknown"),
        (lambda a: a.update({KERNEL: a[KERNEL].T}), "has shape (3, 4) instead of (4, 3)"),
        (lambda a: a.update(step=np.array([7])), "has shape (1,) instead of ()"),
        (lambda a: a.update({KERNEL: a[KERNEL].astype("f8")}), "type float64 instead of float32"),
        (lambda a: a.update({KERNEL: a[KERNEL].astype("f2")}), "type float16 instead of float32"),
        (lambda a: a.update(step=np.array(7, "i4")), "type int32 instead of int64"),
        (lambda a: a[KERNEL].__setitem__((1, 1), np.nan), "holds NaN or infinity"),
        (lambda a: a[SECOND].__setitem__((1, 1), np.inf), "holds NaN or infinity"),
        (lambda a: a[SECOND].__setitem__((1, 1), -1e-9), "holds a negative variance"),
        (lambda a: a[VARIANCE].__setitem__(2, -1e-9), "holds a negative variance"),
        (lambda a: a.update(step=np.array(-1)), "'step' is negative: -1"),
    ],
)
def test_impossible_arrays_are_refused_by_load_and_by_save(
    tmp_path: Path, change: Change, sentence: str
) -> None:
    arrays = state()
    change(arrays)
    path = tmp_path / "x"
    contiguous = {n: np.ascontiguousarray(a).reshape(a.shape) for n, a in arrays.items()}
    save_file(contiguous, path, metadata())
    assert sentence in refusal(path)
    with pytest.raises(CheckpointError):
        checkpoint.save(tmp_path / "new", arrays, CONFIG, "pytorch", {})
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("dtype", ["BF16", "U16", "I16"])
def test_another_type_of_two_bytes_is_refused(tmp_path: Path, dtype: str) -> None:
    """BF16 is one that numpy lacks."""
    path = tmp_path / "x"
    save_file(state() | {KERNEL: np.zeros((4, 3), np.float16)}, path, metadata())
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length].replace(b'"F16"', f'"{dtype}"'.encode())
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    assert "safetensors" in refusal(path) or KERNEL in refusal(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format_version": "2"}, "its format version is '2', this program reads '1'"),
        ({"step": "8"}, "disagree about the step"),
        ({"architecture": "dcgan64"}, "disagree about the step or architecture"),
        ({"config": "{"}, "safetensors"),
        ({"config": "[]"}, "A config is a JSON object, not list."),
        ({"config": '{"seed": "x"}'}, "The config's field 'seed' cannot be 'x'."),
        ({"config": '{"architecture": "x"}'}, "The config's field 'architecture' cannot be 'x'."),
        ({"config": '{"noise_size": 5}'}, "has shape (4, 3) instead of (5, 3)"),
        ({"config": '{"later": 1}'}, "unknown field 'later'; is it of a newer version?"),
        ({"config": "[" * 100_000}, "safetensors"),
        ({"config": '{"learning_rate": 1' + "0" * 400 + "}"}, "cannot be"),
        ({"versions": "{"}, "safetensors"),
    ],
)
def test_impossible_metadata_is_refused(
    tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    save_file(state(), tmp_path / "x", metadata(**changes))
    assert sentence in refusal(tmp_path / "x")


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(3)}, tmp_path / "x")
    assert "its format version is None" in refusal(tmp_path / "x")


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_is_harmless_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """No damage gives an exception other than CheckpointError, or a state of impossible values."""
    path = tmp_path_factory.getbasetemp() / "damaged"
    checkpoint.save(path, state(), CONFIG, "pytorch", {})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = checkpoint.load(path)
    except CheckpointError:
        return
    checkpoint.check(found.arrays, found.config)


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "x"
    checkpoint.save(path, state(), CONFIG, "pytorch", {})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, state(step=8), CONFIG, "pytorch", {})
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes() == before
    assert checkpoint.load(path).step == 7


def test_a_new_file_replaces_the_old_one_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the name changes hands, the new content is already on the disk."""
    path, seen = tmp_path / "x", []
    path.write_bytes(b"old")
    synced: list[int] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), fsync(fd)))

    def watched(self: Path, target: Path) -> Path:
        seen.append((self.parent, self.read_bytes(), path.read_bytes(), len(synced)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    checkpoint.write_atomically(path, b"new")
    assert seen == [(tmp_path, b"new", b"old", 1)]
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    checkpoint.write_atomically(tmp_path / "a" / "b" / "x", b"content")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"content"


# ------------------------------------------------------------------ finding


def test_a_run_directory_means_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no checkpoint yet"):
        checkpoint.find(tmp_path)
    checkpoint.save(tmp_path / "checkpoint.safetensors", state(), CONFIG, "pytorch", {})
    assert checkpoint.find(tmp_path) == tmp_path / "checkpoint.safetensors"
    shutil.copy(tmp_path / "checkpoint.safetensors", tmp_path / "copy")
    assert checkpoint.find(tmp_path / "copy") == tmp_path / "copy"
    assert load_file(tmp_path / "copy").keys() == state().keys()
