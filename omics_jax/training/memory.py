"""Memory of the process: what compiling leaves behind is given back before training begins."""

from __future__ import annotations

import ctypes
import sys


def release_free_memory() -> None:
    """Gives memory that is free inside the process back to the system; glibc alone can be asked.

    Compiling takes some 300 MiB in small pieces. glibc keeps them when they are freed, and arrays,
    which are large, never lie there: a training would hold both.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
