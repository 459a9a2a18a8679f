"""Matrices in numpy's .npz and in Parquet.

An .npz is read without pickles; Parquet needs pyarrow (the extra `io`).
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.delimited import as_text, matrix_from_frame
from omics_jax.data.formats.matrix import Matrix, Reading, checked_matrix
from omics_jax.errors import UserError


def npz_arrays(
    path: Path, wanted: Callable[[str], Any] = lambda name: True
) -> dict[str, np.ndarray]:
    """The arrays of an .npz whose names are wanted, by name; the others are not looked at."""
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is not an .npz archive, or is truncated; write it again with numpy.savez"
        )
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {}
            for name in filter(wanted, archive.files):
                member = archive.zip.getinfo(f"{name}.npy")
                large = (
                    member.file_size >= mapped.MAPPED_BYTES
                    and member.compress_type == zipfile.ZIP_STORED
                )
                arrays[name] = _mapped_member(path, member) if large else archive[name]
            return arrays
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise UserError(
            f"{path}: array {name!r} cannot be read ({str(error)[:80]}); save plain numbers and "
            "strings with numpy.savez, no object arrays"
        ) from None


def _mapped_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    """An array that `numpy.savez` wrote without compression, read where it lies in the file."""
    with open(path, "rb") as file:
        # A member's bytes follow its own header: 30 bytes, of which the last four count those of
        # name and extra field.
        file.seek(member.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = header(file)
        return np.memmap(path, dtype, "r", file.on_progress(), shape, "F" if fortran else "C")


def named(
    path: Path, arrays: Mapping[str, np.ndarray], names: Sequence[str], ndim: int
) -> np.ndarray:
    """The first array of the given names, of `ndim` dimensions."""
    for name in names:
        if name in arrays:
            if arrays[name].ndim != ndim:
                raise UserError(
                    f"{path}: array {name!r} has shape {arrays[name].shape}; it needs {ndim} "
                    "dimension(s)"
                )
            return arrays[name]
    raise UserError(
        f"{path} has no array {' or '.join(map(repr, names))} but {sorted(arrays)}; add it"
    )


def numeric(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """The array, if it holds real numbers."""
    if array.dtype.kind not in "fiub":
        raise UserError(
            f"{path}: array {name!r} holds {array.dtype} where numbers are needed; convert it"
        )
    return array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64, copy=False)


def annotation_columns(
    arrays: Mapping[str, np.ndarray], n: int, known: Sequence[str]
) -> pd.DataFrame:
    """Every array of length n that is not one of `known`, as a column: numbers, or text ("" =
    unknown).
    """
    columns = {
        name: array
        if array.dtype.kind in "iuf"
        else as_text(pd.Series(array.astype(str))).to_numpy()
        for name, array in arrays.items()
        if array.shape == (n,) and name not in known
    }
    return pd.DataFrame(columns, index=range(n))


def read_npz(path: Path, how: Reading) -> Matrix:
    """`read_matrix` for .npz; read whole, subsets are taken by the caller."""
    arrays = npz_arrays(path)
    if "x1" in arrays and "X" not in arrays and "values" not in arrays:
        raise UserError(
            f"{path} holds pairs (arrays x1, x2), not one matrix; give it as the path of the pairs"
        )
    values = numeric(path, "X", named(path, arrays, ("X", "values"), 2))
    ids = np.char.strip(named(path, arrays, ("samples", "ids"), 1).astype(str))
    features = np.char.strip(named(path, arrays, ("features",), 1).astype(str))
    if values.shape != (len(ids), len(features)):
        raise UserError(
            f"{path}: the values are {values.shape} for {len(ids)} samples and {len(features)} "
            "features; store samples in rows, features in columns"
        )
    if "mask" in arrays:
        if arrays["mask"].shape != values.shape or arrays["mask"].dtype.kind != "b":
            raise UserError(
                f"{path}: 'mask' must be boolean and of shape {values.shape}; True means observed"
            )
        values = np.where(arrays["mask"], values, np.float32(np.nan))
    known = ("X", "values", "samples", "ids", "features", "mask")
    return checked_matrix(
        path,
        ids,
        features,
        values,
        annotation_columns(arrays, len(ids), known),
        repeated=how.repeated,
    )


def parquet_frame(path: Path) -> pd.DataFrame:
    """The Parquet file as a data frame, with the index that pandas stored in it, if any."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow; pip install 'omics_jax[io]'"
        ) from None
    try:
        frame = parquet.read_table(path).to_pandas()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a sound Parquet file ({str(error)[:80]}); write it again"
        ) from None
    if not len(frame) or not len(frame.columns):
        raise UserError(
            f"{path} holds {len(frame)} rows and {len(frame.columns)} columns; add what is missing"
        )
    return frame


def read_parquet(path: Path, how: Reading) -> Matrix:
    """`read_matrix` for .parquet: ids are the stored index, or the first column where none is
    stored.
    """
    frame = parquet_frame(path)
    if isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_index(frame.columns[0])
    names = [str(name).strip() for name in frame.columns]
    corner = "" if frame.index.name is None else str(frame.index.name)
    row_names = as_text(pd.Series(frame.index)).tolist()
    frame = frame.set_axis(range(len(names)), axis=1).set_axis(range(len(row_names)), axis=0)
    return matrix_from_frame(
        path,
        row_names,
        names,
        frame,
        corner,
        how,
        row_place=lambda i: f"row {i + 1}",
        column_place=lambda j: f"column {names[j]!r}",
    )
