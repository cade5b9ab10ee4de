"""How the process holds memory. Imports no torch."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    """Lets the C library keep the memory that tensors give back, where it is glibc.

    It would return every large block to the system at once, and each page of the next one then costs a fault: on the
    CPU a tenth of a VGG's training step. Results do not depend on it; the process holds about a tenth more memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**28)
