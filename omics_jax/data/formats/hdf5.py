"""Pieces of HDF5 that GCTX, h5ad and h5mu share: opening, names, and parts of a matrix.

Only what those formats need of HDF5; groups and attributes stay with their readers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.columns import as_names
from omics_jax.errors import UserError

BLOCK_BYTES = 64 * 2**20  # of a matrix that is read or made dense part by part


@contextmanager
def open_hdf5(path: Path) -> Iterator:
    """The open h5py.File; a damaged or foreign file is a `UserError`."""
    import h5py

    with open(path, "rb") as stream:
        head = stream.read(8)
    # mudata writes a title before the HDF5 of an .h5mu; h5py finds what begins after it.
    if head != b"\x89HDF\r\n\x1a\n" and not head.startswith(b"MuData"):
        raise UserError(
            f"{path} is not an HDF5 file (it begins with {head!r}); check its name or fetch it "
            "again"
        )
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path} is a damaged or truncated HDF5 file ({str(error)[:120]}); fetch or copy it "
            "again"
        ) from None


def require_member(path: Path, parent, name: str, kind: str):
    """A dataset or group inside the file, or a `UserError` saying that a `kind` needs it."""
    if name not in parent:
        raise UserError(
            f"{path} has no {name!r}, which every {kind} file has; it holds {sorted(parent)[:6]}"
        )
    return parent[name]


def text_array(dataset) -> Shaped[np.ndarray, ...]:
    """Fixed-width bytes, variable-length strings or numbers as str, in the dataset's shape."""
    return as_names(dataset[()])


def slab(
    dataset, rows: Int[np.ndarray, " r"], columns: Int[np.ndarray, " c"]
) -> Shaped[np.ndarray, "r c"]:
    """(rows, columns) of a 2-D dataset, in the order asked for; only runs of wanted rows are read.

    A run is read in blocks of 64 MiB at most, cut to the span of the wanted columns, so that the
    memory needed is that of the result.
    """
    out = mapped.empty_or_mapped((len(rows), len(columns)), dataset.dtype)
    if not out.size:
        return out
    first, last = int(columns.min()), int(columns.max()) + 1
    block_rows = max(1, BLOCK_BYTES // ((last - first) * dataset.dtype.itemsize))
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=-2) != 1)
    for start, stop in zip(starts, [*starts[1:], len(ascending)], strict=True):
        for a in range(start, stop, block_rows):
            b = min(a + block_rows, stop)
            span = slice(int(ascending[a]), int(ascending[b - 1]) + 1)
            block = dataset[span, first:last]
            out[order[a:b]] = block[:, columns - first]
    return out
