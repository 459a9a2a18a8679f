"""HDF5 pieces shared by GCTX, h5ad and h5mu: opening, text arrays, and parts of a matrix read as
hyperslabs.

Only what those formats need of HDF5; groups and attributes stay with their readers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from omics_jax.errors import UserError

_BLOCK_BYTES = 64 * 2**20


@contextmanager
def opened(path: Path) -> Iterator:
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


def member(path: Path, parent, name: str, kind: str):
    """A dataset or group inside the file, or a `UserError` saying that a `kind` needs it."""
    if name not in parent:
        raise UserError(
            f"{path} has no {name!r}, which every {kind} file has; it holds {sorted(parent)[:6]}"
        )
    return parent[name]


def text_array(dataset) -> np.ndarray:
    """(k,) str from fixed-width bytes, variable-length strings or numbers."""
    values = dataset[()]
    if values.dtype.kind == "S":
        return np.char.strip(np.char.decode(values, "utf-8", "replace"))
    if values.dtype.kind == "O":
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
        return np.asarray([text.strip() for text in texts], dtype=str)
    if values.dtype.kind == "f":
        return np.asarray([np.format_float_positional(v, trim="-") for v in values], dtype=str)
    return values.astype(str)


def slab(dataset, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(rows, columns) of a 2-D dataset, in the order asked for; only runs of wanted rows are read.

    A run is read in blocks of 64 MiB at most, cut to the span of the wanted columns, so that the
    memory
    needed is that of the result.
    """
    out = np.empty((len(rows), len(columns)), dtype=dataset.dtype)
    if not out.size:
        return out
    first, last = int(columns.min()), int(columns.max()) + 1
    most = max(1, _BLOCK_BYTES // ((last - first) * dataset.dtype.itemsize))
    order = np.argsort(rows, kind="stable")
    wanted = rows[order]
    starts = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)
    for start, stop in zip(starts, [*starts[1:], len(wanted)], strict=True):
        for a in range(start, stop, most):
            b = min(a + most, stop)
            block = dataset[int(wanted[a]) : int(wanted[b - 1]) + 1, first:last]
            out[order[a:b]] = block[:, columns - first]
    return out
