"""Arrays that may be larger than memory: above a limit they lie in a file without a name, mapped
into memory.

A page of such an array is in memory while it is used and can be given back for another; the file
ends with the array. Everything else (who reads which rows, and when) is numpy's, so nothing else
needs to know which kind an array is.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

import numpy as np
from jaxtyping import Bool, Float32, Int, Num, Shaped

from omics_jax.errors import UserError

MAPPED_BYTES = 1 << 30  # from here on
_AT_ONCE = 64 << 20  # bytes that a copy holds besides


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """`np.empty`; from `MAPPED_BYTES` on in a file in the folder for temporary files ($TMPDIR, best
    on a disk).

    Raises:
      UserError: that folder has no room for it.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size < MAPPED_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="omics_jax-") as file:
        try:
            _reserve(file, size)
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()} has no room for {size / 2**30:.1f} GiB of data that "
                f"memory shall not hold ({error.strerror}); set the environment variable TMPDIR to "
                "a folder on a larger disk"
            ) from None
        return np.memmap(file, dtype, "r+", shape=shape)


def _reserve(file, size: int) -> None:
    """Room for all of the file now: a mapped page that finds the disk full would end the process
    without a word.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    if shutil.disk_usage(tempfile.gettempdir()).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.truncate(size)


def masked(
    values: Num[np.ndarray, "n ..."],
) -> tuple[Float32[np.ndarray, "n ..."], Bool[np.ndarray, "n ..."], tuple[int, ...] | None]:
    """Values with NaN for unobserved as float32 with 0 there; the mask; the place of the first
    infinite one, if any.

    What does not fit into float32 is infinite.
    """
    out, seen = empty(values.shape, np.float32), empty(values.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for part in _parts(out):
            block = values[part].astype(np.float32)
            seen[part] = ~np.isnan(block)
            infinite = np.isinf(block)
            if infinite.any():
                row, *rest = np.argwhere(infinite)[0].tolist()
                return out, seen, (part.start + row, *rest)
            out[part] = np.where(seen[part], block, 0)
    return out, seen, None


def rows_of(array: Shaped[np.ndarray, "n ..."], rows: np.ndarray) -> Shaped[np.ndarray, "k ..."]:
    """The array's rows (indices, or a mask), a copy."""
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    out = empty((len(rows), *array.shape[1:]), array.dtype)
    for part in _parts(out):
        out[part] = array[rows[part]]
    return out


def placed(
    values: Num[np.ndarray, "n f"], mask: Bool[np.ndarray, "n f"], place: Int[np.ndarray, " k"]
) -> tuple[Num[np.ndarray, "k f"], Bool[np.ndarray, "k f"]]:
    """Values and mask of rows that stand elsewhere: row i is the one at `place` i, nothing where
    that is -1.
    """
    shape = (len(place), values.shape[1])
    out, seen = empty(shape, values.dtype), empty(shape, bool)
    for part in _parts(out):
        there = (place[part] >= 0)[:, None]
        out[part], seen[part] = np.where(there, values[place[part]], 0), mask[place[part]] & there
    return out, seen


def columns_of(
    values: Num[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"], columns: Int[np.ndarray, " k"]
) -> tuple[Num[np.ndarray, "*n k"], Bool[np.ndarray, "*n k"]]:
    """Values (0 where unobserved) and mask of the columns; one of -1 is nowhere observed."""
    shape = (*values.shape[:-1], len(columns))
    out, seen = empty(shape, values.dtype), empty(shape, bool)
    for part in _parts(out):
        seen[part] = mask[part][..., columns] & (columns >= 0)
        out[part] = np.where(seen[part], values[part][..., columns], 0)
    return out, seen


def observed(
    values: Num[np.ndarray, "n ..."], mask: Bool[np.ndarray, "n ..."]
) -> Num[np.ndarray, "n ..."]:
    """The values with 0 where they are unobserved; the array itself where that is nowhere."""
    parts = _parts(values)
    if all(mask[part].all() for part in parts):
        return values
    out = empty(values.shape, values.dtype)
    for part in parts:
        out[part] = np.where(mask[part], values[part], 0)
    return out


def _parts(array: np.ndarray) -> list[slice]:
    """The rows some at a time."""
    step = max(1, _AT_ONCE // max(1, array[:1].nbytes))
    return [slice(start, start + step) for start in range(0, len(array), step)]
