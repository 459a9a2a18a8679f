"""Pieces of HDF5 that GCTX, h5ad and h5mu share: opening, names, and parts of a matrix.

Only what those formats need of HDF5; groups and attributes stay with their readers.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.columns import as_names
from omics_jax.data.formats.containers import AGAIN, reading
from omics_jax.data.memory import GIB, check_memory
from omics_jax.errors import UserError

BLOCK_BYTES = 64 * 2**20  # of a matrix that is read or made dense part by part
OBJECT_BYTES = 64  # that a text of variable length takes, at least
CONVERTED_BYTES = 5  # of a cell once it is a float32 and its mask
_PROBE = Path(__file__).with_name("hdf5_probe.py")
_PROBE_SECONDS = 5  # of processor time; a sound file takes hundredths
_PROBE_SECONDS_PER_GIB = 60


@contextmanager
def open_hdf5(path: Path) -> Iterator:
    """The open h5py.File; inside, whatever HDF5 raises about a damaged file is a `UserError`."""
    import h5py

    with reading(path, "HDF5"):
        with open(path, "rb") as stream:
            head = stream.read(8)
        # mudata writes a title before the HDF5 of an .h5mu; h5py finds what begins after it.
        if head != b"\x89HDF\r\n\x1a\n" and not head.startswith(b"MuData"):
            raise UserError(
                f"{path} is not an HDF5 file (it begins with {head!r}); check its name or fetch it "
                "again"
            )
        _check_ends(path)
        with h5py.File(path, "r") as file:
            yield file


def _check_ends(path: Path) -> None:
    """Refuses a file that makes the HDF5 library loop for ever or crash, see `hdf5_probe`."""
    seconds = _PROBE_SECONDS + _PROBE_SECONDS_PER_GIB * path.stat().st_size / GIB
    # -P: the folder of the script is no place to import from.
    command = [sys.executable, "-P", str(_PROBE), str(path.resolve()), str(seconds)]
    silent = subprocess.DEVNULL
    status = subprocess.run(command, stdin=silent, stdout=silent, stderr=silent).returncode
    if status < 0:
        what = "never ends" if status == -signal.SIGPROF else "crashes"
        raise UserError(
            f"{path} is a damaged HDF5 file (reading it {what} in the HDF5 library); {AGAIN}"
        )


def require_member(path: Path, parent, name: str, kind: str):
    """A dataset or group inside the file, or a `UserError` saying that a `kind` needs it."""
    if name not in parent:
        raise UserError(
            f"{path} has no {name!r}, which every {kind} file has; it holds {sorted(parent)[:6]}"
        )
    return parent[name]


def stored_array(path: Path, dataset) -> Shaped[np.ndarray, ...]:
    """All of a dataset, after its size is known to fit into memory."""
    check_memory(path, dataset.name, declared_bytes(dataset))
    return dataset[()]


def text_array(path: Path, dataset) -> Shaped[np.ndarray, ...]:
    """Fixed-width bytes, variable-length strings or numbers as str, in the dataset's shape."""
    return as_names(f"{path}: {dataset.name}", stored_array(path, dataset))


def declared_bytes(element) -> int:
    """Bytes that a dataset, or all datasets of a group, take in memory by their declared shapes.

    Raises:
      UserError: more chunks than the file has bytes, which would be filled one by one.
    """
    if hasattr(element, "keys"):
        return sum(declared_bytes(element[name]) for name in element)
    _check_chunks(element)
    is_object = element.dtype.kind == "O"
    cell = OBJECT_BYTES if is_object else element.dtype.itemsize
    return int(element.size or 0) * cell


def _check_chunks(dataset) -> None:
    if not dataset.chunks:
        return
    sides = zip(dataset.shape, dataset.chunks, strict=True)
    count = math.prod(-(-length // chunk) for length, chunk in sides)
    path = Path(dataset.file.filename)
    if count > path.stat().st_size:
        raise UserError(
            f"{path} is a damaged HDF5 file ({dataset.name} declares {count:,} chunks, more than "
            f"the file has bytes); {AGAIN}"
        )


def slab(
    path: Path, dataset, rows: Int[np.ndarray, " r"], columns: Int[np.ndarray, " c"]
) -> Shaped[np.ndarray, "r c"]:
    """(rows, columns) of a 2-D dataset, in the order asked for; only runs of wanted rows are read.

    A run is read in blocks of 64 MiB at most, cut to the span of the wanted columns, so that the
    memory needed is that of the result.
    """
    cell = dataset.dtype.itemsize + CONVERTED_BYTES
    check_memory(path, dataset.name, len(rows) * len(columns) * cell)
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
