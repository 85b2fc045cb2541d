"""Runs side by side, as one page that opens from disk: `python -m compare.report RUN...`.

    report/index.html      everything but the generators' weights; needs no network
    report/weights/N.js    the generators, loaded when the reader walks through the latent space

The runs may come from different machines and have different seeds; one that did not finish is
shown with the reason. The page is compare/report/page/, its data one JSON object in it:

    runs         what compare/report/records.py reads, with the address of its weights
    certificate  facts of compare/report/certificate.py
    divergence   losses' differences: of these runs, and of the free runs of `make parity`
    rungs        the parity ladder's worst findings
    quality      floor, bands over seeds
    bench        the rows of `make bench`
    grid         how many images a sample grid has, in how many columns, with what gap
    noise        what those images are drawn from, by seed and size
    largest      weights of a generator that the page draws with
"""

from __future__ import annotations

import datetime
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from common import batches, checkpoint, commandline, images, mnist
from common.checkpoint import CheckpointError, write_atomically
from common.environment import git_commit
from common.limits import UserError
from common.run import SHOWN_IMAGES
from compare.engines import ROOT
from compare.parity.rungs import TITLES, worst_of_rungs
from compare.quality import evaluate
from compare.quality.pictures import columns_of
from compare.quality.scorer import EXTRACTOR_SHA256, MEASURES, Columns
from compare.report import certificate, document, forward, records
from compare.report.records import Record

PAGE = Path(__file__).with_name("page")
SCRIPTS = (
    "parts.js", "plot.js", "walk.js", "base.js", "pictures.js", "figures.js", "page.js",
)  # fmt: skip
FIGURES = ROOT / "docs" / "figures"
WEIGHTS = "weights"
MEASURED = "mnist28"  # networks of measurements that do not name theirs
NEEDED = {"parity": "findings", "bench": "rows"}  # what a measurement's file must hold


@dataclass(frozen=True)
class ReportArguments:
    """Which runs to show side by side."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories, of any engine, seed and machine."""

    out: str = "report"
    """Folder of the page: index.html and weights/."""

    parity: str | None = None
    """parity.json of `make parity` (default: parity/parity.json, else the one in docs/figures)."""

    bench: str | None = None
    """bench.json of `make bench` (default: bench/bench.json, else the one in docs/figures)."""

    data_dir: str = "data"
    """Folder of the data sets, which the first losses are computed from; nothing is fetched."""


def write(
    runs: list[Record],
    out: Path,
    data_dir: str,
    parity: str | None = None,
    bench: str | None = None,
) -> Path:
    """Write the page of these runs; its path. UserError if the folder cannot be written."""
    networks = next((r.settings.architecture for r in runs if r.settings), MEASURED)
    ladder, rates = (
        stored(name, given, networks) for name, given in (("parity", parity), ("bench", bench))
    )
    data = {
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git_commit(),
        "certificate": certificate.certify(runs, data_dir),
        "divergence": divergence(runs, ladder),
        "rungs": rungs(ladder),
        "quality": quality(runs),
        "bench": rates,
        "grid": {
            "images": SHOWN_IMAGES,
            "columns": math.ceil(math.sqrt(SHOWN_IMAGES)),
            "gap": images.GRID_GAP,
        },
        "noise": _noise(runs),
        "largest": forward.LARGEST,
    }
    try:  # from here on only the disk can refuse
        (out / WEIGHTS).mkdir(parents=True, exist_ok=True)
        for old in (out / WEIGHTS).glob("*.js"):
            old.unlink()
        data["runs"] = [_with_weights(record, index, out) for index, record in enumerate(runs)]
        path = out / "index.html"
        write_atomically(path, document.made(PAGE, SCRIPTS, data).encode())
        return path
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written ({error.strerror or error}); choose another."
        ) from None


def read_all(names: list[str]) -> list[Record]:
    """The named runs, or UserError."""
    paths = [Path(name) for name in names]
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UserError("A run is named twice; name each once.")
    return [records.read(path) for path in paths]


# ------------------------------------------------------------------ its data


def _with_weights(record: Record, index: int, out: Path) -> dict[str, Any]:
    """A run for the page; its generator, if the page can compute it, goes to a file of its own."""
    shown = records.to_page(record) | {"weights": None, "averaged": False, "large": False}
    if record.settings is None or record.checkpoint is None:
        return shown
    try:
        arrays = checkpoint.load(record.checkpoint).arrays
    except CheckpointError as error:
        print(f"warning: {error}", file=sys.stderr)
        return shown
    generator = forward.sampler(arrays)
    shown["averaged"] = any(name.startswith(checkpoint.AVERAGE) for name in arrays)
    if forward.is_too_large(generator):
        return shown | {"large": True}
    path = out / WEIGHTS / f"{index}.js"
    write_atomically(path, forward.script(generator, str(index)).encode())
    return shown | {"weights": f"{WEIGHTS}/{index}.js"}


def _noise(runs: list[Record]) -> dict[str, str]:
    """`seed/size` -> the noise behind those runs' grids, (16, size) float32 in base64."""
    kinds = {(r.settings.seed, r.settings.noise_size) for r in runs if r.settings is not None}
    return {
        f"{seed}/{size}": records.floats(batches.shown_noise(seed, SHOWN_IMAGES, size))
        for seed, size in kinds
    }


def stored(name: str, given: str | None, networks: str = MEASURED) -> dict[str, Any] | None:
    """A measurement's JSON: the given one, else one of these networks, made here or kept."""
    if given is not None:
        try:
            value = checkpoint.read_json(Path(given))
        except (OSError, ValueError) as error:
            raise UserError(f"--{name} {given} cannot be read as JSON ({error}).") from None
        if not _usable(name, value):
            raise UserError(f"--{name} {given} is not what `make {name}` writes.")
        return value
    names = (f"{name}.json", f"{name}-{networks}.json")
    for path in (folder / each for folder in (Path(name), FIGURES) for each in names):
        try:
            value = checkpoint.read_json(path)
        except (OSError, ValueError):
            continue
        if _usable(name, value) and value.get("architecture", MEASURED) == networks:
            return value
    return None


def _usable(name: str, value: Any) -> bool:
    """Does a measurement's JSON hold what the page takes from it?"""
    try:
        found = value[NEEDED[name]]
        if name == "parity":
            rungs(value)
            divergence([], value)
        return isinstance(found, list) and all(isinstance(row, dict) for row in found)
    except (KeyError, TypeError, AttributeError, IndexError):
        return False


def divergence(runs: list[Record], parity: dict[str, Any] | None) -> dict[str, Any]:
    """Relative differences of losses by step: of these runs, and of `make parity`'s free runs."""
    numbers = {record.path: index for index, record in enumerate(runs)}
    own = [
        {
            "run": numbers[run.path],
            "reference": numbers[first.path],
            "values": records.floats(values),
        }
        for run, first, values in certificate.divergence(runs)
    ]
    free = (parity or {}).get("free")
    # The kept curves may be of another measurement than the findings; then they say of which.
    source = _source(free.get("source") or parity) if free else None
    return {"own": own, "free": free, "source": source}


def rungs(parity: dict[str, Any] | None) -> dict[str, Any] | None:
    """The worst finding of each rung of the parity ladder, and where it was measured."""
    if parity is None:
        return None
    rows = [
        found | {"kind": kind, "title": TITLES[found["rung"]]}
        for kind, found in worst_of_rungs(parity["findings"])
    ]
    return {"rows": rows, **_source(parity)}


def _source(record: dict[str, Any] | None) -> dict[str, Any]:
    return {name: (record or {}).get(name) for name in ("processor", "commit", "command")}


def quality(runs: list[Record]) -> dict[str, Any]:
    """Which measures there are, the floor, and the bands of engines with several scored runs."""
    scored = [record for record in runs if record.quality is not None]
    columns: Columns = {}
    floors: dict[str, dict[str, float]] = {}
    measured, counts, accuracy = [], [], None
    for record in scored:
        assert record.quality is not None
        assert record.settings is not None
        columns |= columns_of(record.settings)
        of, found = record.quality["reference"]["name"], record.quality
        floors.setdefault(of, found["floor"])
        counts.append(found["samples"]["count"])
        accuracy = accuracy or (found["extractor"] or {}).get("test_accuracy")
        measured.append(((record.engine, record.settings.recipe, of), found["measures"]))
    bands = [
        {
            "engine": engine,
            "recipe": recipe,
            "of": of,
            "runs": count,
            "mean": mean,
            "spread": spread,
        }
        for (engine, recipe, of), count, mean, spread in evaluate.bands(measured)
    ]
    return {
        "measures": {name: digits for name, (_, digits) in (columns or MEASURES).items()},
        "floors": [{"of": of, "measures": floor} for of, floor in floors.items()],
        "counts": sorted(set(counts)),
        "accuracy": accuracy,
        "extractor": EXTRACTOR_SHA256[:12],
        "bands": bands,
    }


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            ReportArguments,
            sys.argv[1:],
            prog="python -m compare.report",
            description="Show runs side by side, as a page that opens from disk.",
        )
        if not arguments.runs:
            raise UserError("The name of a run or file is missing; see --help.")
        commandline.check_place("out", Path(arguments.out), folder=True)
        mnist.check_folder(arguments.data_dir)
        runs = read_all(list(arguments.runs))
        path = write(
            runs, Path(arguments.out), arguments.data_dir, arguments.parity, arguments.bench
        )
    print(f"{len(runs)} runs side by side -> {path}")
