"""The command `python -m <impl>.sample`: images from a trained generator, whoever trained it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from common import batches, checkpoint, commandline, images
from common.config import Device, UserError

# Noise (N, Z) -> images (N, H, W, C) in (-1, 1), in evaluation mode.
Generate = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
# The generator of a checkpoint on a device.
Load = Callable[[checkpoint.Checkpoint, Device], Generate]

# Images per call of the generator, and pixels, to bound the memory; they move no pixel.
BATCH, PIXELS = 500, 2**19

PRETRAINED = "pretrained/mnist28-tuned.safetensors"


@dataclass(frozen=True)
class SampleArguments:
    """What to sample, and where to write it."""

    run: tyro.conf.Positional[str] = PRETRAINED
    """Run directory or checkpoint file, whichever backend wrote it. Without one: the generator that
    comes with the project."""

    count: int = 64
    """How many images; with --walk, how many noise vectors to walk through."""

    seed: int = 1
    """Seed of the noise. The same seed gives the same images. [0, 2**63)"""

    out: str = "samples.png"
    """.npy: uint8 (N, H, W), or (N, H, W, C) with C > 1; .png: a grid; .gif: with --walk."""

    walk: int | None = None
    """Images from each noise vector to the next: a latent walk, as .gif, .png strip or .npy."""

    device: Device = "auto"
    """Where to compute; auto takes the GPU if there is one."""


def main(backend: str, load: Load) -> None:
    """`python -m <backend>_impl.sample`. `load` imports its framework only when it is called."""
    with commandline.command():
        arguments, _ = commandline.parse(
            SampleArguments,
            sys.argv[1:],
            prog=f"python -m {backend}_impl.sample",
            description=f"Draw images from a trained generator with the {backend} backend.",
        )
        with commandline.writing(f"--out {arguments.out}"):
            out = Path(arguments.out)
            _check_out(out, arguments.walk)
            run = Path(arguments.run)
            if arguments.run == PRETRAINED:  # from whichever folder the command is called
                run = Path(__file__).parent.parent / PRETRAINED
            saved = checkpoint.load(checkpoint.find(run))
            noise = batches.sampled_noise(arguments.seed, arguments.count, saved.config.noise_size)
            if arguments.walk is not None:
                noise = images.latent_walk(noise, arguments.walk)
            generate = load(saved, arguments.device)
            batch = min(BATCH, PIXELS // saved.config.image_size**2)
            parts = [noise[i : i + batch] for i in range(0, len(noise), batch)]
            pictures = np.concatenate([images.to_uint8(generate(part)) for part in parts])
            _write(out, pictures, arguments.walk)
    print(f"{len(pictures)} images of {arguments.run} at step {saved.step} -> {out}")


def _check_out(out: Path, walk: int | None) -> None:
    endings = (".npy", ".png") if walk is None else (".npy", ".png", ".gif")
    if out.suffix not in endings:
        extra = " (.gif is for --walk)" if walk is None else ""
        raise UserError(f"--out takes a name ending in {', '.join(endings)}{extra}, not {out}.")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give a file name.")
    if not out.parent.is_dir():
        raise UserError(f"--out {out} cannot be written: there is no folder {out.parent}.")


def _write(out: Path, pictures: NDArray[np.uint8], walk: int | None) -> None:
    if out.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, pictures[..., 0] if pictures.shape[-1] == 1 else pictures)
        checkpoint.write_atomically(out, content.getvalue())
    elif out.suffix == ".gif":
        zoom = images.zoom(pictures.shape[1], images.FRAME_SIDE)
        images.save_gif(out, list(pictures), seconds=len(pictures) / 20, zoom=zoom)
    else:
        images.save_grid(out, pictures, columns=walk)  # of a walk: a row per pair of noise vectors
