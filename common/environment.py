"""Where a figure was measured: versions of packages, the processor, the commit of this code."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def describe(
    backend: str, versions: dict[str, str], device: str, threads: int, workers: int
) -> dict[str, Any]:
    """A training process, for environment.json. device: in words; workers: processes of the run."""
    return {
        "backend": backend,
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "device": device,
        "threads": threads,
        "workers": workers,
        "git_commit": git_commit(),
        "command": [f"{backend}_impl.train", *sys.argv[1:]],
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of numpy and of those packages that are installed, by name."""
    found = {}
    for name in ("numpy", *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def processor() -> str:
    """The processor's name in words; of one whose host tells the maker alone, the model's numbers
    too (AMD's family 25 is Zen 3 or 4, 26 Zen 5)."""
    name = _cpuinfo("model name")
    if name and not any(character.isdigit() for character in name):
        name += f" (family {_cpuinfo('cpu family')}, model {_cpuinfo('model')})"
    return name or platform.processor() or platform.machine()


def instructions() -> str:
    """A name for the set of instructions that the processor has: equal names run the same code."""
    known = _cpuinfo("flags") or _cpuinfo("Features") or processor()
    return hashlib.sha256(known.encode()).hexdigest()[:12]


def _cpuinfo(name: str) -> str | None:
    """What Linux says of the first processor under a name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return None


def git_commit() -> str | None:
    """The commit of this code, `+` appended if files differ from it; None outside a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    try:
        output = subprocess.run(
            [*command, "--dirty=+", "--exclude=*"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return output.stdout.strip() or None
