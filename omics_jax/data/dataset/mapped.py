"""Arrays that may be larger than memory: above a limit they are mapped from a temporary file.

A page of such an array is in memory while it is used and can be given back for another; the file
has no name and ends with the array. Everything else is numpy's, so that no other module needs to
know which kind an array is.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile

import numpy as np
from jaxtyping import Bool, Float32, Int, Num, Shaped

from omics_jax.errors import UserError

MAPPED_BYTES = 1 << 30  # from here on an array is in a file
_BLOCK_BYTES = 64 << 20  # that an operation holds in memory besides its arrays


def empty_or_mapped(shape: tuple[int, ...], dtype) -> np.ndarray:
    """`np.empty`, or from `MAPPED_BYTES` on an array in a file.

    The file is in the folder for temporary files ($TMPDIR, best on a disk).

    Raises:
      UserError: that folder has no room for it.
    """
    cells = math.prod(shape)
    size = cells * np.dtype(dtype).itemsize
    if size < MAPPED_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="omics_jax-") as file:
        try:
            _reserve(file, size)
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()} has no room for {size / 2**30:.1f} GiB of data that "
                f"memory cannot hold ({error.strerror}); set the environment variable TMPDIR to a "
                "folder on a larger disk"
            ) from None
        return np.memmap(file, dtype, "r+", shape=shape)


def _reserve(file, size: int) -> None:
    """Reserves all of the file now.

    A mapped page that finds the disk full later would end the process without a word.
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


def to_values_and_mask(
    values: Num[np.ndarray, "n ..."],
) -> tuple[Float32[np.ndarray, "n ..."], Bool[np.ndarray, "n ..."], tuple[int, ...] | None]:
    """From values with NaN for unobserved, the values with 0 there and the mask.

    Returns:
      float32 values, the mask (True = observed), and the indices of the first infinite value, if
      any; what does not fit into float32 is infinite.
    """
    out = empty_or_mapped(values.shape, np.float32)
    mask = empty_or_mapped(values.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_blocks(out):
            block = values[rows].astype(np.float32)
            mask[rows] = ~np.isnan(block)
            infinite = np.isinf(block)
            if infinite.any():
                first = np.argwhere(infinite)[0]
                row, *rest = first.tolist()
                return out, mask, (rows.start + row, *rest)
            out[rows] = np.where(mask[rows], block, 0)
    return out, mask, None


def take_rows(array: Shaped[np.ndarray, "n ..."], rows: np.ndarray) -> Shaped[np.ndarray, "k ..."]:
    """A copy of the array's rows (indices, or a mask)."""
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    out = empty_or_mapped((len(rows), *array.shape[1:]), array.dtype)
    for block in row_blocks(out):
        out[block] = array[rows[block]]
    return out


def gather_rows(
    values: Num[np.ndarray, "n f"], mask: Bool[np.ndarray, "n f"], index: Int[np.ndarray, " k"]
) -> tuple[Num[np.ndarray, "k f"], Bool[np.ndarray, "k f"]]:
    """Values and mask whose row i is row `index[i]` of the given; unobserved where that is -1."""
    shape = (len(index), values.shape[1])
    out = empty_or_mapped(shape, values.dtype)
    out_mask = empty_or_mapped(shape, bool)
    for rows in row_blocks(out):
        sources = index[rows]
        exists = (sources >= 0)[:, None]
        out[rows] = np.where(exists, values[sources], 0)
        out_mask[rows] = mask[sources] & exists
    return out, out_mask


def take_columns(
    values: Num[np.ndarray, "*n f"], mask: Bool[np.ndarray, "*n f"], columns: Int[np.ndarray, " k"]
) -> tuple[Num[np.ndarray, "*n k"], Bool[np.ndarray, "*n k"]]:
    """Values (0 where unobserved) and mask of the columns; one of -1 is nowhere observed."""
    shape = (*values.shape[:-1], len(columns))
    out = empty_or_mapped(shape, values.dtype)
    out_mask = empty_or_mapped(shape, bool)
    exists = columns >= 0
    for rows in row_blocks(out):
        observed = mask[rows][..., columns] & exists
        out_mask[rows] = observed
        out[rows] = np.where(observed, values[rows][..., columns], 0)
    return out, out_mask


def transposed(
    values: Num[np.ndarray, "n f"], columns: Int[np.ndarray, " k"]
) -> Num[np.ndarray, "k n"]:
    """These columns of the values as rows."""
    out = empty_or_mapped((len(columns), len(values)), values.dtype)
    for rows in row_blocks(values):
        out[:, rows] = values[rows][:, columns].T
    return out


def zero_missing(
    values: Num[np.ndarray, "n ..."], mask: Bool[np.ndarray, "n ..."]
) -> Num[np.ndarray, "n ..."]:
    """The values with 0 where they are unobserved; the array itself if all are observed."""
    blocks = row_blocks(values)
    if all(mask[rows].all() for rows in blocks):
        return values
    out = empty_or_mapped(values.shape, values.dtype)
    for rows in blocks:
        out[rows] = np.where(mask[rows], values[rows], 0)
    return out


def row_blocks(array: np.ndarray) -> list[slice]:
    """Slices of rows that together are the array, each of `_BLOCK_BYTES` at most."""
    row_bytes = max(1, array[:1].nbytes)
    step = max(1, _BLOCK_BYTES // row_bytes)
    return [slice(start, start + step) for start in range(0, len(array), step)]
