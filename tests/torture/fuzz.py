"""Coverage-guided fuzzing: `python -m tests.torture.fuzz TARGET INPUTS SEED FOLDER`.

libFuzzer, through atheris, makes the inputs from good files and keeps those that reach new code of
this project. It ends this process at the first input that a target does not survive: an exception
that is not declared, a value that is wrong, a hang, or memory without bound.
"""

from __future__ import annotations

import importlib
import resource
import sys
from pathlib import Path

SECONDS = 5  # for one input; a good file takes a millisecond
RESIDENT = 1024  # MiB that may be added
ADDRESSES = 4 * 2**30  # bytes; to ask for more than is there is an error at once
# Whose branches guide it: ours, and those that read a file for us in Python.
INSTRUMENTED = ["common", "compare.report", "compare.runs", "compare.quality", "PIL", "zipfile"]


def main() -> None:
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    name, inputs, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.torture.targets")
    target = targets.TARGETS[name](folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    seeds = target.seeds()
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    counts = {"tried": 0, "accepted": 0}

    def one(data: bytes) -> None:
        counts["tried"] += 1
        counts["accepted"] += target.one(data)
        if counts["tried"] % 1000 == 0 or counts["tried"] >= inputs:
            print("tried {tried}, accepted {accepted}".format(**counts), flush=True)

    # libFuzzer reads the peak, and a process begins with the peak of the one that started it.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    flags = [
        f"-runs={inputs}",
        f"-seed={seed}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={RESIDENT + inherited}",
        f"-max_len={target.longest}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-len_control=0",
        "-reload=0",
        "-reduce_inputs=0",  # smaller ones are emptier ones
    ]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if seed % 2:  # a first change to a good file; else one more to an input that was kept
            data = seeds[seed // 2 % len(seeds)]
        return target.mutate(data, seed, atheris.Mutate)[:most]

    atheris.Setup([sys.argv[0], *flags, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
