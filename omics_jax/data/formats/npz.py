"""Matrices in numpy's .npz, read without pickles; large uncompressed arrays are mapped in place."""

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
from jaxtyping import Float, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.columns import annotation_column, as_names, as_numbers
from omics_jax.data.formats.matrix import Matrix, checked_matrix
from omics_jax.data.formats.options import ReadOptions
from omics_jax.errors import UserError

_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)


def npz_arrays(
    path: Path, is_needed: Callable[[str], Any] = lambda name: True
) -> dict[str, np.ndarray]:
    """The arrays of an .npz whose names are needed, by name; the others are not read."""
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is not an .npz archive, or is truncated; write it again with numpy.savez"
        )
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {}
            for name in filter(is_needed, archive.files):
                member = archive.zip.getinfo(f"{name}.npy")
                stored_plain = member.compress_type == zipfile.ZIP_STORED
                can_map = stored_plain and member.file_size >= mapped.MAPPED_BYTES
                arrays[name] = _mapped_member(path, member) if can_map else archive[name]
            return arrays
    except _READ_ERRORS as error:
        raise UserError(
            f"{path}: array {name!r} cannot be read ({str(error)[:80]}); save plain numbers and "
            "strings with numpy.savez, no object arrays"
        ) from None


def _mapped_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    """An array that `numpy.savez` wrote without compression, mapped at its place in the file."""
    with open(path, "rb") as file:
        # A member's bytes follow its own header: 30 bytes, of which the last four count those of
        # name and extra field.
        file.seek(member.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read_header = np.lib.format.read_array_header_1_0
        shape, is_fortran, dtype = read_header(file)
        order = "F" if is_fortran else "C"
        return np.memmap(path, dtype, "r", file.tell(), shape, order)


def take_array(
    path: Path, arrays: Mapping[str, np.ndarray], names: Sequence[str], ndim: int
) -> np.ndarray:
    """The first array of the given names that the file has; it needs `ndim` dimensions."""
    present = [name for name in names if name in arrays]
    if not present:
        raise UserError(
            f"{path} has no array {' or '.join(map(repr, names))} but {sorted(arrays)}; add it"
        )
    array = arrays[present[0]]
    if array.ndim != ndim:
        raise UserError(
            f"{path}: array {present[0]!r} has shape {array.shape}; it needs {ndim} dimension(s)"
        )
    return array


def annotation_columns(
    arrays: Mapping[str, np.ndarray], n: int, known: Sequence[str]
) -> pd.DataFrame:
    """Every array of length n that is not one of `known`, as a column of numbers or text."""
    columns = {}
    for name, array in arrays.items():
        if array.shape == (n,) and name not in known:
            cells = array if array.dtype.kind in "iuf" else array.astype(str)
            columns[name] = annotation_column(pd.Series(cells))
    return pd.DataFrame(columns, index=range(n))


def read_npz(path: Path, options: ReadOptions) -> Matrix:
    """`read_matrix` for .npz; all of it is read, the caller takes subsets."""
    arrays = npz_arrays(path)
    if "x1" in arrays and "X" not in arrays and "values" not in arrays:
        raise UserError(
            f"{path} holds pairs (arrays x1, x2), not one matrix; give it as the path of the pairs"
        )
    values = as_numbers(path, "X", take_array(path, arrays, ("X", "values"), 2))
    ids = as_names(take_array(path, arrays, ("samples", "ids"), 1))
    features = as_names(take_array(path, arrays, ("features",), 1))
    if values.shape != (len(ids), len(features)):
        raise UserError(
            f"{path}: the values are {values.shape} for {len(ids)} samples and {len(features)} "
            "features; store samples in rows, features in columns"
        )
    known = ("X", "values", "samples", "ids", "features", "mask")
    return checked_matrix(
        path,
        ids,
        features,
        _with_nan(path, values, arrays["mask"]) if "mask" in arrays else values,
        annotation_columns(arrays, len(ids), known),
        repeated=options.repeated,
    )


def _with_nan(
    path: Path, values: Float[np.ndarray, "n g"], mask: Shaped[np.ndarray, ...]
) -> Float[np.ndarray, "n g"]:
    """The values with NaN where the stored mask is False."""
    if mask.shape != values.shape or mask.dtype.kind != "b":
        raise UserError(
            f"{path}: 'mask' must be boolean and of shape {values.shape}; True means observed"
        )
    return np.where(mask, values, np.float32(np.nan))
