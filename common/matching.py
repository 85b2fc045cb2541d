"""What in another program's weight file is which parameter: by names, shapes and order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from common import architecture
from common.architecture import Architecture
from common.config import Config, UserError
from common.limits import LARGEST_NOISE, LARGEST_WIDTH

V = TypeVar("V", bound=Any)  # an array or tensor, with its shape


def table_of(network: str, kernels: Iterable[Sequence[int]]) -> Architecture:
    """The architecture of a weight file, which names none, by the shapes of its kernels in
    canonical layout. dcgan's are all of 4x4, and tell its sizes; of the discriminator the noise
    size is the default one. Whatever else is taken to be mnist28, of its default noise size.
    """
    shapes = [tuple(shape) for shape in kernels]
    sides = {4: 32, 5: 64, 6: 128}
    # The side next to the image, then the inner one: a transposed kernel has its output first.
    ends = [shape[2:] for shape in shapes if len(shape) == 4 and shape[:2] == (4, 4)]
    if len(ends) == len(shapes) and len(ends) in sides:
        size = sides[len(ends)]
        for channels, width in ends:
            if channels in (1, 3) and 1 <= width <= LARGEST_WIDTH:
                inner = width * size // 8
                noise = [z for out, z in ends if out == inner and network == "generator"]
                return architecture.dcgan(noise[0] if noise else 100, size, channels, width)
    return architecture.mnist28(Config().noise_size)


# What training scripts call a network: netG, G_state_dict, gen, module.generator, modelD ...
WORDS = {
    "generator": {"g", "gen", "generator"},
    "discriminator": {"d", "dis", "disc", "discriminator", "critic"},
}


def names_network(name: str, network: str) -> bool:
    """Is it what a training script calls the network, whatever it adds?"""
    word = re.sub(r"(state|dict|weights?|params|model|net|checkpoint|ckpt|module|[^a-z])", "",
                  name.lower())  # fmt: skip
    return word in WORDS[network]


def the_one(path: Path, network: str, names: Iterable[str], key: str | None) -> str | None:
    """Which of the names in a file is the network's: the key, if it is given, or the one that says
    so; None if none does. UserError where several do, or where the key is none of them."""
    names = list(names)
    if key is not None:
        if key not in names:
            raise UserError(
                f"{path} has no {key!r}; it holds {', '.join(names[:20])}: name the {network} of "
                "these with --key."
            )
        return key
    found = [name for name in names if names_network(name, network)]
    if len(found) > 1:
        raise UserError(
            f"{path} has several that may be the {network}: {', '.join(found)}; name the one with "
            f"--key {found[0]}."
        )
    return found[0] if found else None


def layers_by_shape(
    path: Path,
    values: Mapping[str, V],
    ours: Mapping[str, str],
    wanted: dict[str, Shape],
    dot: str = ".",
) -> dict[str, str]:
    """Canonical name -> name in a file of layers under other names, found by what each holds and
    its shapes, which no two layers share. Says what it found. If a layer has none, they are taken
    in their order, for the first mismatch to be named. UserError if one has several.

    ours: canonical name -> our name in such a file; dot: between a layer and what it holds.
    """
    theirs: dict[str, dict[str, Sequence[int]]] = {}
    for name, value in values.items():
        layer, _, kind = name.rpartition(dot)
        theirs.setdefault(layer, {})[kind] = tuple(value.shape)
    layers: dict[str, dict[str, Shape]] = {}
    for canonical, name in ours.items():
        layer, _, kind = name.rpartition(dot)
        layers.setdefault(layer, {})[kind] = wanted[canonical]
    found: dict[str, str] = {}
    missing = False
    for layer, kinds in layers.items():
        fitting = [
            name
            for name, shapes_ in theirs.items()
            if shapes_.keys() == kinds.keys()
            and all(fits(shapes_[kind], shape) for kind, shape in kinds.items())
        ]
        if len(fitting) > 1:
            raise UserError(
                f"{path}: {', '.join(fitting)} are alike, and any of them may be the layer {layer} "
                "here; rename the layers as here, or save the network alone."
            )
        found[layer] = fitting[0] if fitting else ""
        missing |= not fitting
    if missing and len(theirs) != len(layers):
        return dict(ours)
    if missing:
        found = dict(zip(layers, theirs, strict=True))
    else:
        names = ", ".join(f"{there} is {layer}" for layer, there in found.items())
        print(f"{path}: layers by their shapes: {names}.")
    parts = {canonical: name.rpartition(dot) for canonical, name in ours.items()}
    return {
        canonical: f"{found[layer]}{dot}{kind}" if found[layer] else kind
        for canonical, (layer, _, kind) in parts.items()
    }


Layout = Callable[[str, np.ndarray, Architecture], np.ndarray]
Shape = tuple[int | None, ...]  # None: the noise size, which a file decides


def shapes(
    network: str, table: Architecture, layout: Layout = lambda name, array, table: array
) -> dict[str, Shape]:
    """Canonical name -> shape of a network's parameters, in table order.

    layout: an implementation's from_canonical_layout, if the shapes are to be its own.
    """
    first = second = table
    if table.name == "mnist28":
        first, second = (architecture.get(table.name, size) for size in (1, 2))

    def shape(name: str, of: Architecture) -> tuple[int, ...]:
        return layout(name, np.zeros(of.parameters()[name]), of).shape

    return {
        name: tuple(
            a if a == b else None
            for a, b in zip(shape(name, first), shape(name, second), strict=True)
        )
        for name in first.parameters()
        if name.startswith(network)
    }


def fits(found: Sequence[int], wanted: Shape) -> bool:
    """Is it the shape, whatever the noise size?"""
    return len(found) == len(wanted) and all(
        x == y or (y is None and 1 <= x <= LARGEST_NOISE)
        for x, y in zip(found, wanted, strict=True)
    )


def in_words(shape: Shape) -> str:
    """(1 to 65536, 1024) for (None, 1024)."""
    return str(shape).replace("None", f"1 to {LARGEST_NOISE}")


def collect(
    path: Path,
    network: str,
    values: Mapping[str, V],
    names: Mapping[str, str],
    wanted: dict[str, Shape],
) -> dict[str, V]:
    """A file's values by their canonical names. UserError at the first that is missing, unknown or
    of another shape.

    names: canonical name -> name in the file; wanted: what shapes() gives.
    """
    for name in (*names.values(), *values):
        if name not in values or name not in names.values():
            what = "has an unknown" if name in values else "lacks"
            raise UserError(
                f"{path} {what} tensor {name!r}; it is no {network} of this architecture."
            )
    for canonical, name in names.items():
        shape = tuple(values[name].shape)
        if not fits(shape, wanted[canonical]):
            raise UserError(
                f"{path} is of another architecture: {name} ({canonical}) has shape {shape}, "
                f"not {in_words(wanted[canonical])}."
            )
    return {canonical: values[name] for canonical, name in names.items()}
