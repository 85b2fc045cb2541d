"""Images: scaling, grids, pictures and animations. Arrays are channels-last."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.checkpoint import read_regular, write_atomically

LARGEST_PICTURE = 2**26  # pixels
GRID_GAP = 2  # pixels between the images of a grid
GRID_SIDE = 96  # screen pixels that an image of a grid takes, or near it: small ones are enlarged
FRAME_SIDE = 224  # ... and one of a latent walk
Floats = NDArray[np.floating[Any]]


def preprocess_img(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 in 0..255 -> float32 in [-1, 1]: the tutorial's (x / 255 - 0.5) / 0.5."""
    return (x.astype(np.float32) / np.float32(127.5)) - np.float32(1)


def deprocess_img(x: Floats) -> Floats:
    """[-1, 1] -> [0, 1], as the tutorial's: a generator's images, ready to be shown."""
    return (x + 1) / 2


def to_uint8(x: Floats) -> NDArray[np.uint8]:
    """[-1, 1] -> 0..255, rounded to nearest; values outside are clipped."""
    return np.rint(np.clip((x.astype(np.float64) + 1) * 127.5, 0, 255)).astype(np.uint8)


def grid(
    images: NDArray[np.uint8], columns: int | None = None, gap: int = GRID_GAP
) -> NDArray[np.uint8]:
    """(N, H, W, C) -> one image of rows of them, (rows, columns) as square as they come.

    `gap` pixels of black lie between and around them.
    """
    n, h, w, c = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    canvas = np.zeros((rows * (h + gap) + gap, columns * (w + gap) + gap, c), np.uint8)
    for i, image in enumerate(images):
        y, x = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        canvas[y : y + h, x : x + w] = image
    return canvas


def save_png(path: Path, image: NDArray[np.uint8], zoom: int = 1) -> None:
    """Write one image (H, W, C), C 1 or 3, each pixel enlarged to zoom x zoom."""
    content = io.BytesIO()
    _pillow(image, zoom).save(content, format="PNG")
    write_atomically(path, content.getvalue())


def save_grid(path: Path, images: NDArray[np.uint8], columns: int | None = None) -> None:
    """Write the grid of images (N, H, W, C), C 1 or 3, enlarged for people; see read_grid()."""
    save_png(path, grid(images, columns), zoom(images.shape[1], GRID_SIDE))


def read_grid(path: Path, side: int) -> NDArray[np.uint8]:
    """The grid (H, W, C) in a file of save_grid(), one pixel a pixel. side: H of one image. Raises
    as read_png()."""
    each = zoom(side, GRID_SIDE)
    return read_png(path)[::each, ::each]


def zoom(side: int, wanted: int) -> int:
    """How many times an image of `side` pixels is enlarged to have about the wanted number."""
    return max(1, round(wanted / side))


def save_gif(
    path: Path, frames: Sequence[NDArray[np.uint8]], seconds: float, zoom: int = 1
) -> None:
    """Write frames (H, W, C) as an endless animation of so many seconds, the last one held."""
    each = max(20, round(1000 * seconds / len(frames)))
    pictures = [_pillow(frame, zoom) for frame in frames]
    content = io.BytesIO()
    durations = [each] * (len(frames) - 1) + [max(each, 1500)]
    pictures[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
    )
    write_atomically(path, content.getvalue())


def read_png(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, C) uint8, C 1 or 3. OSError, SyntaxError or ValueError if it is none."""
    try:
        opened = Image.open(io.BytesIO(read_regular(path)))
    except Image.DecompressionBombError as error:  # which is none of the three
        raise ValueError(str(error)) from None
    with opened as picture:
        if picture.width * picture.height > LARGEST_PICTURE:
            raise ValueError(f"{path} declares {picture.width} x {picture.height} pixels")
        array = np.asarray(picture.convert("L" if picture.mode in ("L", "1") else "RGB"))
    return array if array.ndim == 3 else array[..., None]


def _pillow(image: NDArray[np.uint8], zoom: int) -> Image.Image:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def show_images(images: NDArray[Any], path: str | Path = "images.png") -> Path | None:
    """Show images in a square grid, as the tutorial's show_images does.

    images: (N, H, W), (N, H, W, C), channels-first (N, 1 or 3, H, W), or flat (N, side * side);
    in [0, 1], as deprocess_img gives them, or uint8. In a notebook they appear; elsewhere they
    are saved to `path`, which is returned.
    """
    images = np.asarray(images)
    if images.ndim == 2:
        side = int(np.sqrt(images.shape[1]))
        images = images.reshape(len(images), side, side)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    pictures = images if images.dtype == np.uint8 else to_uint8(images * 2 - 1)
    if not _in_notebook():
        save_grid(Path(path), pictures)
        return Path(path)
    from matplotlib import pyplot

    canvas = grid(pictures)
    pyplot.figure(figsize=(4, 4))
    pyplot.imshow(canvas.squeeze(), cmap="gray" if canvas.shape[-1] == 1 else None)
    pyplot.axis("off")
    pyplot.show()
    return None


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


def latent_walk(noise: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Straight lines between noise vectors: (N, Z) -> ((N - 1) * frames + 1, Z), ends included.

    Linear, not spherical: the noise is uniform in a cube, and a cube holds its straight lines.
    """
    t = (np.arange(frames, dtype=np.float32) / np.float32(frames))[:, None]
    legs = [(1 - t) * a + t * b for a, b in itertools.pairwise(noise)]
    return np.concatenate([*legs, noise[-1:]])


def plot_losses(path: Path, steps: NDArray[np.int64], losses: Mapping[str, Floats]) -> None:
    """Both losses, and D's mean answers on real and fake images, against the step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, names in (
        (above, {"d_loss": "discriminator loss", "g_loss": "generator loss"}),
        (below, {"d_real": "D(x): mean on real images", "d_fake": "D(G(z)): mean on fakes"}),
    ):
        for (name, label), color in zip(names.items(), ("#1f6fb4", "#d9731a"), strict=True):
            values = losses[name]
            axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.6)
            axes.plot(steps, _smooth(values), color=color, linewidth=1.6, label=label)
        axes.legend(loc="upper right")
        axes.grid(alpha=0.3)
    above.set_ylabel("loss")
    below.set_ylabel("probability")
    below.set_xlabel("iteration (thin: each; bold: mean of the last 50)")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())


def _smooth(values: Floats, window: int = 50) -> Floats:
    """Mean over the last `window` values, over fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)
