"""What a run directory tells, read for the report; of any machine, finished or not."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common import architecture, checkpoint, config, images, limits
from common.architecture import Architecture
from common.config import Config
from common.limits import UserError
from common.outputs import METRICS, read_metrics, sample_files
from compare.engines import ENGINES
from compare.quality import evaluate, progress
from compare.runs import Outcome, log_file, read_json, tail

POINTS = 6000  # metrics of longer runs are thinned to about as many steps


@dataclass(frozen=True)
class Record:
    """One run, as far as its files tell."""

    path: Path
    engine: str  # a name of compare/engines.py, or the backend's if it is none of them
    settings: Config | None = None  # None: there is no run directory
    outcome: Outcome | None = None  # None: it is finished
    step: int = 0
    seconds: float | None = None  # of training
    rate: float | None = None  # images per second
    verdict: str | None = None  # of common/watch.py
    environment: dict[str, Any] = field(default_factory=dict)
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    grids: dict[int, NDArray[np.uint8]] = field(default_factory=dict)  # step -> (H, W, C)
    quality: dict[str, Any] | None = None  # quality.json, if it is of this checkpoint
    progress: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checkpoint(self) -> Path | None:
        """Its checkpoint file, if there is one."""
        file = self.path / checkpoint.FILE_NAME
        return file if file.exists() else None

    @property
    def table(self) -> Architecture | None:
        """The layers of its networks."""
        if self.settings is None:
            return None
        return architecture.of(self.settings)

    @property
    def recorded_from_start(self) -> bool:
        """Are its losses recorded from step 0 on?"""
        return len(self.steps) > 0 and self.steps[0] == 0

    @property
    def experiment(self) -> str | None:
        """The SHA-256 of what determines the numbers; equal in runs of one experiment."""
        if self.settings is None:
            return None
        return hashlib.sha256(config.experiment_key(self.settings).encode()).hexdigest()


def read(path: Path) -> Record:
    """A run, or UserError if the folder holds none."""
    try:
        values = checkpoint.read_json(path / "config.json")
    except FileNotFoundError:
        outcome = Outcome.read(path)
        if outcome is None:
            raise UserError(
                f"{path} is no run directory: it has no config.json; give the folders that "
                "training wrote."
            ) from None
        return Record(path, _engine_of_name(path.name), outcome=outcome)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}/config.json cannot be read ({error}).") from None
    try:
        settings = config.from_json(values)
    except UserError as error:
        raise UserError(f"{path}/config.json cannot be used: {error}") from None
    if settings.train_images is None:
        raise UserError(f"{path}/config.json cannot be used: it lacks the number of train_images.")
    environment, result = read_json(path / "environment.json"), read_json(path / "result.json")
    outcome = None
    if result.get("finished") is not True:
        outcome = Outcome.read(path) or Outcome("unfinished", tail=tail(log_file(path)))
    steps, metrics = _metrics(path)
    watch = result.get("watch")
    return Record(
        path,
        _engine(environment, path.name),
        settings,
        outcome,
        step=_number(result, "step", int) or (int(steps[-1]) + 1 if len(steps) else 0),
        seconds=_number(result, "seconds", float),
        rate=_number(result, "images_per_second", float),
        verdict=_text(watch.get("verdict")) if isinstance(watch, dict) else None,
        environment=environment,
        steps=steps,
        metrics=metrics,
        grids=_grids(path, settings.image_size),
        quality=evaluate.stored(path),
        progress=progress.read(path),
    )


# ------------------------------------------------------------------ parts of it


def _number(values: dict[str, Any], name: str, kind: type) -> Any:
    """A number that is not negative, or None."""
    value: Any = values.get(name)
    return kind(value) if limits.is_number(value) and value >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _engine(environment: dict[str, Any], name: str) -> str:
    """pytorch, keras-jax ...: the backend and, for Keras, what it ran on."""
    backend = environment.get("backend")
    if not isinstance(backend, str):
        return _engine_of_name(name)
    versions = environment.get("versions")
    for engine in ENGINES.values():
        if engine.package == f"{backend}_impl" and engine.keras_backend in (
            None,
            *(versions if isinstance(versions, dict) else ()),
        ):
            return engine.name
    return backend


def _engine_of_name(name: str) -> str:
    fitting = [engine for engine in ENGINES if name.startswith(f"{engine}-")]
    return max(fitting, key=len, default=name)


def _metrics(path: Path) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    try:
        return read_metrics(path)
    except OSError as error:
        raise UserError(f"{path / 'metrics.jsonl'} cannot be read ({error}).") from None


def _grids(path: Path, side: int) -> dict[int, NDArray[np.uint8]]:
    """Updates before it -> sample grid, one pixel a pixel."""
    found = {}
    for step, file in sample_files(path).items():
        with contextlib.suppress(ValueError, OSError, SyntaxError):  # Pillow's of broken files
            found[step] = images.read_grid(file, side)
    return found


# ------------------------------------------------------------------ for the page


def to_page(record: Record) -> dict[str, Any]:
    """A record as the page's JSON, without what other parts of the report add."""
    settings, environment = record.settings, record.environment
    return {
        "name": record.name,
        "engine": record.engine,
        "outcome": dataclasses.asdict(record.outcome) if record.outcome else None,
        **{
            name: getattr(settings, name, None)
            for name in ("seed", "recipe", "precision", "noise_size")
        },
        "dataset": Path(settings.dataset).name if settings else None,  # of a folder not its path
        "total": config.total_steps(settings) if settings else None,
        "image": record.table.image_shape if record.table else None,
        "step": record.step,
        "seconds": record.seconds,
        "rate": record.rate,
        "verdict": record.verdict,
        "machine": {name: environment.get(name) for name in ("processor", "device", "threads")},
        "versions": environment.get("versions") or {},
        "samples": {str(step): png_uri(grid) for step, grid in record.grids.items()},
        "metrics": _packed_metrics(record),
        "progress": record.progress,
        "measures": record.quality["measures"] if record.quality else None,
    }


def png_uri(image: NDArray[np.uint8]) -> str:
    """An image (H, W, C) as a data: address."""
    content = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.save(content, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def floats(values: Any) -> str:
    """Numbers as little-endian float32 in base64."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _packed_metrics(record: Record) -> dict[str, str]:
    """steps and each metric, float32. Of a long run the first 1000 steps and every so many."""
    count = len(record.steps)
    kept = np.arange(count)
    if count > POINTS:
        kept = np.concatenate([kept[:1000], kept[1000 :: -(-count // (POINTS - 1000))]])
    packed = {"steps": floats(record.steps[kept])}
    # A run that ended before its first record has none.
    return packed | {name: floats(record.metrics.get(name, kept)[kept]) for name in METRICS}
