"""Matrices in numpy's .npz, read without pickles; large uncompressed arrays are mapped in place."""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.columns import annotation_column, as_names, as_numbers
from omics_jax.data.formats.containers import reading
from omics_jax.data.formats.matrix import Matrix, checked_matrix
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.memory import check_memory
from omics_jax.errors import UserError

PLAIN = "save plain numbers and strings with numpy.savez, no object arrays"
_SUFFIX = ".npy"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def npz_names(path: Path) -> list[str]:
    """The names of the arrays of an .npz.

    Raises:
      UserError: it is no zip archive, or holds something else than arrays.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is not an .npz archive, or is truncated; write it again with numpy.savez"
        )
    with reading(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    others = [name for name in members if not name.endswith(_SUFFIX)]
    if others:
        raise UserError(
            f"{path} holds {others[0]!r}, which is no array (.npy); write it again with numpy.savez"
        )
    return [name.removesuffix(_SUFFIX) for name in members]


def npz_arrays(
    path: Path, is_needed: Callable[[str], Any] = lambda name: True
) -> dict[str, np.ndarray]:
    """The arrays of an .npz whose names are needed, by name; the others are not read."""
    arrays = {}
    for name in filter(is_needed, npz_names(path)):
        part = f"{path}: array {name!r}"
        with reading(part, "an array", PLAIN), zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{name}{_SUFFIX}")
            stored_plain = member.compress_type == zipfile.ZIP_STORED
            can_map = stored_plain and member.file_size >= mapped.MAPPED_BYTES
            arrays[name] = _mapped_member(path, member) if can_map else _read(part, archive, member)
    return arrays


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy.

    Raises:
      UserError: it is damaged, holds objects, or memory cannot hold it.
    """
    with reading(path, "an array", PLAIN), open(path, "rb") as file:
        _check_declared(path, file, path.stat().st_size)
        return np.lib.format.read_array(file, allow_pickle=False)


def _read(part: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array of the archive; all of its bytes first, so that their checksum is compared."""
    check_memory(part, "it", member.file_size)
    content = io.BytesIO(archive.read(member))
    _check_declared(part, content, member.file_size)
    return np.lib.format.read_array(content, allow_pickle=False)


def _check_declared(source: str | Path, file: io.BufferedIOBase, end: int) -> None:
    """Refuses a header that declares another array than the bytes up to `end` hold.

    Raises:
      ValueError: it declares more or less.
      UserError: memory cannot hold it.
    """
    start = file.tell()
    shape, _, dtype = _header(file)
    declared = math.prod(shape) * dtype.itemsize
    held = end - file.tell()
    if declared != held and not dtype.hasobject:
        raise ValueError(f"its header declares {declared:,} bytes, and {held:,} follow")
    check_memory(source, "it", declared)
    file.seek(start)


def _header(file: io.BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and dtype; the file then stands at the array's bytes."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format is unknown")
    return _HEADERS[version](file)


def _mapped_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    """An array that `numpy.savez` wrote without compression, mapped at its place in the file."""
    with open(path, "rb") as file:
        # A member's bytes follow its own header: 30 bytes, of which the last four count those of
        # name and extra field.
        file.seek(member.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        _check_declared(path, file, file.tell() + member.file_size)
        shape, is_fortran, dtype = _header(file)
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
    ids = as_names(path, take_array(path, arrays, ("samples", "ids"), 1))
    features = as_names(path, take_array(path, arrays, ("features",), 1))
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
