"""One process at a time in a run directory.

The lock is the operating system's (flock), on the file `.lock`, which holds the number of the
process. It ends with the process, so that one that was killed blocks nobody. Left out: systems and
network drives without flock, where nothing is locked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omics_jax.durable import as_user_error
from omics_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"


@contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Holds the lock of a run directory within the context.

    shared: several processes may hold it together, as long as none holds it alone.

    Raises:
      UserError: another process holds it, or the file cannot be written.
    """
    if fcntl is None:
        yield
        return
    path = folder / NAME
    with as_user_error(path):
        descriptor = _open_locked(path, shared)
    try:
        yield
    finally:
        # The last one to leave removes the file, while nobody else can take the lock.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        os.close(descriptor)


def _open_locked(path: Path, shared: bool) -> int:
    """The descriptor of the file with the lock on it."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(descriptor, kind, path.parent)
            if _is_at(path, descriptor):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just removed the file


def _take(descriptor: int, kind: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        who = f"another process ({number})" if number else "another process"
        raise UserError(
            f"{who} is at work in {folder}; wait until it has ended, or choose another --workdir"
        ) from None
    except OSError:  # a file system without locks
        return


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
