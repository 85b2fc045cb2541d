"""Wrong values for every flag of every command, and combinations of flags that cannot be.

The lists are written by hand; which of them a flag gets follows from its type, so that a new flag
gets its wrong values too.
"""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Iterator
from typing import Any

from common import limits


def words(text: str) -> list[str]:
    """What stands between the spaces of a text: of " x y" an empty word, x and y."""
    return text.split(" ")


LONG = "9" * 5000
NAME = "n" * 300
HUGE = str(10**30)
ODD = words("½ ² 一二 \u200b \u202e1 🙂 é \udcff a\nb \x1b[31m \0 1\0 \t")
NO_WHOLE = [*words(" x 1.5 1e3 1e308 nan NaN inf -inf 0x10 1,5 [1] {} true None1 --"), *ODD]
OUTSIDE = ["-1", "0", HUGE, f"-{HUGE}", str(2**63), LONG]
NO_NUMBER = [*words(" x 0,5 1/2 [0.1] {} true 1e -- 0x1p3"), *ODD]
NOT_FINITE = [*words("nan NaN inf -inf infinity 1e308 -1e308 1e999 -1 11"), LONG]
NO_CHOICE = [*words(" x 0 nan None TRUE auto,cpu FLOAT32"), " ", LONG, *ODD]
NO_LIST = [*words(" , x 1.5,2 -1 0 8, ,8 nan 1e3"), "8 9", HUGE, LONG, *ODD]
NO_NAMES = [*words(" , x pytorch, PyTorch pytorch;keras 0"), "cpu cpu", LONG, *ODD]
NO_NAME = ["", "a\0b", "\0", "\ud800"]
# Files and folders that are in the scratch folder: see cases.furnish.
NO_FOLDER_TO_BE = words(f"file file/below fifo dangling dangling/x loop loop/x {NAME}")
NO_FILE_TO_BE = words(f"empty file/below dangling/x loop/x {NAME} {'x/' * 2500}")
NO_RUN = words(
    f"absent file empty fifo loop dangling broken file/below {NAME} {'x/' * 2500} zeros device"
)
NO_JSON = words(f"absent file empty fifo loop dangling {NAME} deep.json zeros")

# Flags that are text, by what the text must be; a field that is text and not here is an error.
TEXTS: dict[str, list[str]] = {
    **dict.fromkeys(("engines", "parts", "precisions", "devices"), NO_NAMES),
    **dict.fromkeys(("seeds", "batch_sizes", "dataset_sizes"), NO_LIST),
    **dict.fromkeys(("parity", "bench"), NO_JSON),
    "data_dir": words(f"file file/below fifo loop/x {NAME}"),
    "dataset": words(f"file file/below fifo dangling loop/x absent thesis {NAME} {'x/' * 2500}"),
    "runs_dir": NO_FOLDER_TO_BE,
    "resume": NO_RUN,
    "key": words("x , a,b a,b,c"),
    "batch_norm_epsilon": words(f"x 0 -1 nan inf 11 , 1e-5, 0.8;0.8 {HUGE}"),
    "discriminator": words(f"absent.pth x.jpg empty {NAME}.pth"),
}
OUTS = {  # by the kind of place that --out names
    "folder": NO_FOLDER_TO_BE,
    "file": NO_FILE_TO_BE,
    "run": words(f"file file/below fifo dangling loop thesis run {NAME} ."),
    "picture": words("x x.jpg x.gif .png absent/x.png empty.npy file/x.png"),
}


def of_field(field: dataclasses.Field[Any], hint: Any, bounded: set[str], out: str) -> list[str]:
    """Wrong values of one flag, by its type; out: which kind of place --out names."""
    if typing.get_origin(hint) is typing.Literal:
        return NO_CHOICE
    if int in (hint, *typing.get_args(hint)):
        outside = OUTSIDE if field.name in bounded else [HUGE, LONG]
        allowed = "0" if field.name in ("seed", "turn") else None
        return [*NO_WHOLE, *(word for word in outside if word != allowed)]
    if hint is float:
        return [*NO_NUMBER, *NOT_FINITE]
    return [*NO_NAME, *(OUTS[out] if field.name == "out" else TEXTS[field.name])]


def values(arguments: type, out: str) -> Iterator[list[str]]:
    """Command lines of one dataclass with one wrong value, flag by flag."""
    hints = typing.get_type_hints(arguments)
    bounded = set(limits.limits(arguments))
    for field in dataclasses.fields(arguments):
        hint, flag = hints[field.name], limits.flag(field.name)
        if field.name in ("run", "runs", "source", "target") or list(hints) == ["data_dir"]:
            continue  # without a flag: see COMBINATIONS
        if field.name in getattr(arguments, "NO_FLAGS", ()):
            continue
        if hint is bool:
            yield from ([f"{flag}={word}"] for word in ("yes", "1", "", "no", "é"))
        else:
            for word in of_field(field, hint, bounded, out):
                yield [f"{flag}={word}"]
                if not word.startswith("--"):
                    yield [flag, word]
            yield [flag]
        yield from ([f"{flag}s-"], [f"{flag[:3]}{flag[4:]}q=1"], [f"{flag.upper()}=1"])
    yield from (["-x"], ["--no-such-flag"], ["--é=1"], ["--" + "x" * 3000])


RESUMED = (
    "seed=1 batch-size=4 noise-size=7 learning-rate=0.1 beta1=0.1 beta2=0.1 dataset=mnist "
    "train-images=9 architecture=mnist28 recipe=tuned precision=float64"
)
# Command -> command lines that cannot be, by files of the scratch folder, with | between them.
# RUN stands for each of NO_RUN, FLAG and VALUE for each of RESUMED.
COMBINATIONS = {
    "train": """--precision float64 --device mps | --batch-size 200 --train-images 100
        | --batch-size 60000 --train-images 59999 | --steps 0 --epochs 5 | --steps 5 --epochs 0
        | --dataset cifar10 --architecture mnist28 | --width 8 | --recipe paper | --channels 3
        | --image-size 64 | --architecture dcgan --image-size 28 | --architecture dcgan
        --recipe published | --dataset svhn --train-images 73258 | --dataset thesis --out thesis/x
        | --out thesis | --out thesis --overwrite | --out file --overwrite | --out run
        | --out data --data-dir data | --out data --data-dir data/below | --out . --data-dir data
        | --out run --overwrite --data-dir run/data | --out data --data-dir link-to-data
        | run | --seed 1 run | --resume run --overwrite | --resume run --out run --overwrite
        | --resume run --out link-to-run --overwrite | --resume run --out thesis
        | --resume run --out thesis --overwrite | --resume run --out file
        | --resume run --out tuned | --resume run --out loop | --resume run --out .
        | --resume run --out data --data-dir data | --resume run --steps 1
        | --resume run --steps 0 | --resume run --epochs 0 | --resume run --show-every 0
        | --resume wide --device mps | --resume tuned --steps 9 | --resume tuned --epochs 9
        | --resume tuned --steps 9 --out elsewhere | --resume lone.safetensors
        | --resume lone.safetensors --out . | --resume lone.safetensors --out run
        | --resume weights.safetensors --out elsewhere | --resume run/config.json
        | --resume run --resume absent | --resume RUN | --resume RUN --out elsewhere
        | --resume run --FLAG VALUE | --resume run --out elsewhere --FLAG=VALUE""",
    "sample": """RUN | RUN --out x.npy | lone.safetensors --out x.gif
        | lone.safetensors --walk 0 --out x.gif | lone.safetensors --out absent/x.png
        | lone.safetensors x.png | lone.safetensors --out run | lone.safetensors --count 0""",
    "convert": """ | lone.safetensors | lone.safetensors x.jpg | lone.safetensors x
        | lone.safetensors x.pth y.pth | lone.safetensors file | lone.safetensors empty
        | lone.safetensors absent/x.pth | lone.safetensors file/x.pth | lone.safetensors run
        | file x.safetensors | absent.pth x.safetensors | empty x.safetensors
        | fifo x.safetensors | lone.safetensors x.safetensors
        | lone.safetensors x.pth --network both | RUN x.pth | RUN x.safetensors""",
    "parity": "--engines pytorch | --engines pytorch,pytorch | --batch-size 1 | x",
    "bench": "--growth --rounds 0 | --growth --batch-sizes 1 | --turn -1 | --precisions ,",
    "growth": "--precision float64 --device mps | --dataset-sizes 127 | --batch-sizes 50001",
    "bands": "--engines pytorch,keras --seeds 1,2,3 | --seeds 1,2 | --precision float64",
    "sidebyside": "--seeds 1,2 | --seeds 1001 | --steps 0 | --score maybe | run",
    "evaluate": """ | RUN | lone.safetensors RUN | lone.safetensors --count 1
        | lone.safetensors --seed -1 | run --engine theano | absent.npy""",
    "report": """ | RUN | run run | run link-to-run | run --out file | run --parity file
        | run --parity findings.json | run --bench rows.json | run --bench deep.json
        | weights.safetensors""",
    "pretrained": " | RUN | run | lone.safetensors | run --out empty | run tuned",
    "datasets": f"file | file/below | fifo | loop/x | {NAME} | a b | --data-dir x | --hel",
    "torture": "--parts x | --parts faults, | --engines theano | x",
}


def combinations(command: str) -> Iterator[list[str]]:
    """Command lines of one command that contradict each other, the files, or the command."""
    for line in COMBINATIONS[command].split("|"):
        for run in NO_RUN if "RUN" in line else [""]:
            for given in RESUMED.split() if "FLAG" in line else ["="]:
                flag, value = given.split("=")
                argv = line.replace("RUN", run).replace("FLAG", flag).replace("VALUE", value)
                yield shlex.split(argv)
