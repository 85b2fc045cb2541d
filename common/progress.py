"""What a person sees of a run that trains: a progress bar, and lines that do not break it."""

from __future__ import annotations

import contextlib
import sys

from tqdm import tqdm


class Progress(contextlib.AbstractContextManager["Progress"]):
    """A bar on stderr if that is a terminal, until the block ends; the lines go to stdout."""

    def __init__(self, step: int, total: int) -> None:
        quiet = not sys.stderr.isatty()  # no bar in a log file
        self._bar = tqdm(total=total, initial=step, unit="step", disable=quiet, dynamic_ncols=True)

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(
        self, steps: int, d_loss: float, g_loss: float, images_per_second: float | None
    ) -> None:
        """So many more steps are done; the losses of the last one, and the speed if known."""
        self._bar.update(steps)
        speed = {} if images_per_second is None else {"images/s": f"{images_per_second:.0f}"}
        self._bar.set_postfix({"D": f"{d_loss:.3f}", "G": f"{g_loss:.3f}", **speed}, refresh=False)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.clear()
        try:
            print(line, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            pass  # a log file on a full disk; Python keeps the line and tries again
        self._bar.refresh()
