"""How this process's memory is allocated."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    """Let glibc's allocator keep what is freed, for this process and until its end.

    Each step frees and asks again for some hundred MB of activations and gradients. By default
    the large ones go back to the system, which hands them out as fresh, zeroed pages: thousands
    of page faults a step. All threads share one heap, or what one frees another could not use;
    threads that are there already may keep their own. Does nothing where there is no glibc. See
    mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h
        mallopt(M_MMAP_MAX, 0)  # large blocks from the heap too, where they are reused
        mallopt(M_TRIM_THRESHOLD, -1)  # and never given back
        mallopt(M_ARENA_MAX, 1)
