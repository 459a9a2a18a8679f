"""How much memory reading may take, asked before it is taken.

A file of a few bytes can declare an array of terabytes, or unpack to one. The limit is
`config.run.memory_gb`, or what the machine lets this process have. Left out: Windows, of which no
limit is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from omics_jax.errors import UserError

GIB = 2**30
_CONTAINER_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_allowed: ContextVar[int] = ContextVar("allowed_bytes", default=0)  # 0: what the machine has


@contextmanager
def memory_limit(gigabytes: float | int) -> Iterator[None]:
    """Inside, what is read may take this many GiB; 0 for what the machine lets the process have."""
    token = _allowed.set(int(gigabytes * GIB))
    try:
        yield
    finally:
        _allowed.reset(token)


def check_memory(source: str | os.PathLike, what: str, size: int, least: bool = False) -> None:
    """Refuses to read something that takes more memory than is allowed.

    Args:
      source: the file, for the message.
      what: the part of it, such as "X".
      size: bytes that it takes once it is read.
      least: whether it takes these and more.

    Raises:
      UserError: more than the limit; the message names both numbers.
    """
    allowed = _allowed.get() or machine_bytes()
    if size > allowed:
        more = " or more" if least else ""
        raise UserError(
            f"{source}: {what} takes {in_gib(size)}{more} of memory, above the limit of "
            f"{in_gib(allowed)}; use less of it, or raise --config.run.memory_gb"
        )


def in_gib(size: int) -> str:
    """As in "37.3 GiB"."""
    return f"{size / GIB:,.1f} GiB"


def machine_bytes() -> int:
    """The least of the machine's memory and what a container or `ulimit -v` leaves the process."""
    if os.name != "posix":
        return sys.maxsize
    pages = os.sysconf("SC_PHYS_PAGES")
    limits = [pages * os.sysconf("SC_PAGE_SIZE"), _address_space()]
    for file in map(Path, _CONTAINER_LIMITS):
        if file.is_file():
            text = file.read_text().strip()
            limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _address_space() -> int:
    """What `ulimit -v` leaves this process."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    statistics = Path("/proc/self/statm")
    taken = 0
    if statistics.is_file():
        taken = int(statistics.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return max(0, limit - taken)
