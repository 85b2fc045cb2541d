"""The long versions of the torture tests, in one table: `python -m tests.torture --help`."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import commandline
from common.checkpoint import write_json
from common.datasets import ensure_mnist
from common.environment import git_commit, processor
from compare import engines
from compare.pages.torture import PARTS, table

# Parts that are a function of a module, of their own name; the others are a module's run().
WITHIN = {"kills": "shots", "signals": "shots"}


@dataclass(frozen=True)
class TortureArguments:
    """What to torture, and where the counts go."""

    parts: str = ",".join(PARTS)
    """Names separated by commas."""

    engines: str = engines.ALL
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    data_dir: str = "data"
    """Folder of the data set."""

    out: str = "docs/figures/torture.json"
    """The counts; those of parts that are not run stay."""


def choose(names: str) -> list[str]:
    """`faults,disk` -> parts in their order, or UserError."""
    chosen = commandline.names("parts", names, PARTS)
    return [name for name in PARTS if name in chosen]


def earlier(out: Path) -> dict[str, Any]:
    """The parts of an earlier record; none if there is no such file."""
    try:
        parts = json.loads(out.read_text())["parts"]
        return {name: parts[name] for name in PARTS if name in parts}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            TortureArguments,
            sys.argv[1:],
            prog="python -m tests.torture",
            description="Break saves, runs, files and flags on purpose, and count what is lost.",
        )
        parts = choose(arguments.parts)
        chosen = engines.choose(arguments.engines)
        out = Path(arguments.out)
        commandline.check_place("out", out, folder=False)
        ensure_mnist(arguments.data_dir, wanted=())
        lost = 0
        for name in parts:
            began = time.perf_counter()
            module = importlib.import_module(f"tests.torture.{WITHIN.get(name, name)}")
            part = getattr(module, name if name in WITHIN else "run")
            with tempfile.TemporaryDirectory() as work:
                rows = part(
                    Path(work), chosen, arguments.data_dir, lambda line: print(line, flush=True)
                )
            # After each part: an hour's counts are not lost with the next one. What stands there is
            # read anew, as other parts may run beside this one.
            found = earlier(out)
            lost += sum(row.lost for row in rows)
            found[name] = {
                "commit": git_commit(),
                "processor": processor(),
                "cores": os.cpu_count(),
                "engines": [engine.name for engine in chosen],
                "seconds": round(time.perf_counter() - began),
                "rows": [dataclasses.asdict(row) for row in rows],
            }
            record = {
                "command": ["python", "-m", "tests.torture"],
                "parts": {part: found[part] for part in PARTS if part in found},
            }
            write_json(out, record)
    print(f"{table(record)}\n\n-> {out}")
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    main()
