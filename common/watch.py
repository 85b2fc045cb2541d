"""A watch over a training: has a network won for good, are the generator's images all alike?

A GAN's losses do not fall when it learns, so what counts is the shape of the failure. The limits
lie far outside what sound runs show: over any 100 iterations of the published recipe after the
first hundred, D's mean answer is 0.6 to 0.8 on real images and 0.2 to 0.4 on fakes, and the
16 shown images are 0.88 to 1.08 times as far apart as real ones from iteration 250 on.

The paper's generator begins with small weights and leaves grey later: a sound run on stacked-mnist,
which ends with 977 of 1,000 modes, has 0.21 at iteration 250, 0.54 at 1,000 and 0.82 at its end.
Its D answers at most 0.94 on real images, at least 0.06 on fakes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 100  # iterations that a mean is taken over
FIRST_STEP = 200  # judged from here on: D leads at first
FIRST_IMAGES = {"mnist28": 200, "dcgan": 1000}  # ... and untrained G's images are alike
WON = 0.99  # D's mean answer on real above it, on fakes below 1 - WON: nothing left to learn from
BLIND = 0.01  # D's answers on real and on fakes closer than this, on average: it sees no difference
HUGE = 20.0  # a mean loss above it: float32's sigmoid is 0 or 1 to eight digits
ALIKE = 0.3  # distance among the shown images, over that among real ones


class Watch:
    """Sees every metric and every shown image of a run; warns once, and has a verdict.

    Metrics are (K, 4): d_loss, g_loss, d_real, d_fake, as in metrics.jsonl. penalized: D's slope is
    held down by a gradient penalty, so that near answers on real and on fakes are no fault.
    """

    def __init__(self, architecture: str = "mnist28", penalized: bool = False) -> None:
        self._first_images = FIRST_IMAGES[architecture]
        self._blind = 0.0 if penalized else BLIND
        self._window = np.empty((0, 4))
        self._real_distance: float | None = None
        self._losses = self._images = ""  # what is wrong now: the verdict's word, or nothing
        self._judged = False  # is the run long enough for any of that?
        self._first: dict[str, Any] | None = None  # the finding that was warned of

    def real(self, images: NDArray[np.uint8]) -> None:
        """Real images, (N, H, W, C): what the distance among the shown ones is compared with."""
        self._real_distance = mean_distance(images)

    def metrics(self, step: int, metrics: NDArray[np.floating[Any]]) -> str | None:
        """After a chunk that ends at `step` updates: a warning, the first time, or None."""
        self._window = np.concatenate([self._window, metrics])[-WINDOW:]
        if step < FIRST_STEP or len(self._window) < WINDOW:
            return None
        self._judged = True
        d_loss, g_loss, d_real, d_fake = self._window.mean(0).tolist()
        gap = float(np.abs(self._window[:, 2] - self._window[:, 3]).mean())
        seen = f"over the last {WINDOW} iterations "
        if d_real > WON and d_fake < 1 - WON:
            self._losses = "discriminator won"
            seen += f"D answers {d_real:.3f} on real images and {d_fake:.3f} on fakes, G's loss is "
            seen += f"{g_loss:.3g}; G gets no gradient to learn from"
        elif max(d_loss, g_loss) > HUGE:
            self._losses = "diverging"
            seen += f"D's loss is {d_loss:.3g} and G's {g_loss:.3g}"
        elif gap < self._blind:
            self._losses = "discriminator blind"
            seen += f"D's answers on real images and on fakes differ by {gap:.4f}, as if by chance"
        else:
            self._losses = ""
        return self._warn(self._losses, step, seen)

    def samples(self, step: int, images: NDArray[np.uint8]) -> str | None:
        """The images of the run's fixed noise after `step` updates, (N, H, W, C): as metrics()."""
        if step < self._first_images or not self._real_distance:
            return None
        self._judged = True
        ratio = mean_distance(images) / self._real_distance
        self._images = "collapsed" if ratio < ALIKE else ""
        seen = f"G's {len(images)} images are {ratio:.2f} times as far apart as real ones"
        return self._warn(self._images, step, seen)

    def _warn(self, word: str, step: int, seen: str) -> str | None:
        if not word or self._first is not None:
            return None
        self._first = {"verdict": word, "step": step, "saw": seen}
        return (
            f"warning: this training looks {word} at step {step}: {seen}. Try a lower "
            "--learning-rate, --beta1 0.5, or another --seed; it goes on as it is."
        )

    def verdict(self) -> dict[str, Any]:
        """For result.json: {"verdict", "warned"}.

        verdict: `sound`, or what is wrong at the end: `collapsed`, `discriminator won`,
        `discriminator blind`, `diverging`; `not judged` of a run too short for it.
        warned: what was warned of, {"verdict", "step", "saw"},
        or None; a run may recover from it.
        """
        nothing = "sound" if self._judged else "not judged"
        return {"verdict": self._images or self._losses or nothing, "warned": self._first}

    def restore(self, verdict: Any) -> None:
        """Go on from a verdict of the run that is resumed; anything that is none is passed over."""
        if not isinstance(verdict, dict):
            return
        word, warned = verdict.get("verdict"), verdict.get("warned")
        if isinstance(warned, dict):
            self._first = warned
        self._judged = word == "sound"
        if word == "collapsed":
            self._images = word
        elif word in ("discriminator won", "discriminator blind", "diverging"):
            self._losses = word


def mean_distance(images: NDArray[np.uint8]) -> float:
    """Mean Euclidean distance over the pairs of N >= 2 images, pixels in [0, 1]."""
    x = images.reshape(len(images), -1).astype(np.float64) / 255
    squared = np.array([((x - each) ** 2).sum(-1) for each in x])
    return float(np.sqrt(squared).sum() / (len(x) * (len(x) - 1)))
