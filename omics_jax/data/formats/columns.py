"""One way to read a column or an index, whichever file it comes from.

A column is numbers with NaN, or text with "" where a cell is missing; an index is text. Numbers
that are used as text lose a trailing .0, bytes are UTF-8, and spaces at either end are cut off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

LONGEST_NAME = 2000  # characters of an id, a feature, a variable or a class


def as_names(
    source: str | os.PathLike,
    index: Sequence[str] | np.ndarray | pd.Index | pd.api.extensions.ExtensionArray,
) -> Shaped[np.ndarray, ...]:
    """The names of an index as str, "" where there is none; a gene may well be called NAN.

    Raises:
      UserError: a name that is too long to be one: in an array all names take its room.
    """
    array = np.asarray(index)
    names = cell_strings(pd.Series(array.ravel()))
    lengths = names.str.len()
    if len(names) and lengths.max() > LONGEST_NAME:
        i = int(lengths.to_numpy().argmax())
        raise UserError(
            f"{source}: the name {names.iloc[i][:20]!r}... has {lengths.iloc[i]:,} characters, and "
            f"a name has {LONGEST_NAME:,} at most; shorten it"
        )
    return names.to_numpy(dtype=str).reshape(array.shape)


def as_text(column: pd.Series) -> pd.Series:
    """The column as strings, "" where a cell is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = as_text(pd.Series(column.cat.categories)).to_numpy(dtype=object)
        # The code of a missing cell is -1, so that it takes the last label.
        cells = np.append(labels, "")[column.cat.codes]
        return pd.Series(cells, index=column.index, name=column.name, dtype=object)
    text = cell_strings(column)
    if column.dtype.kind in "iuf":
        return text
    return text.where(~text.str.casefold().isin(MISSING), "").astype(object)


def annotation_column(column: pd.Series) -> Shaped[np.ndarray, " n"]:
    """(n,) numbers with NaN where unknown, or text (object) with "" where unknown."""
    if column.dtype.kind not in "iuf":
        return as_text(column).to_numpy(dtype=object)
    if isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy()


def as_numbers(path: Path, name: str, array: np.ndarray) -> Float[np.ndarray, ...]:
    """The array as float32, or float64 where it is wider; `UserError` if it holds no numbers."""
    if array.dtype.kind not in "fiub":
        raise UserError(
            f"{path}: array {name!r} holds {array.dtype} where numbers are needed; convert it"
        )
    return array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64, copy=False)


def cell_strings(column: pd.Series) -> pd.Series:
    """Every cell as text, "" for None and NaN; what counts as missing in a text is kept."""
    if column.dtype.kind in "iu":
        return column.astype(str).where(column.notna(), "")
    if column.dtype.kind == "f":
        # In the column's own precision: 0.1 of float32 is 0.1, not 0.10000000149.
        numpy_dtype = getattr(column.dtype, "numpy_dtype", column.dtype)
        numbers = column.to_numpy(dtype=numpy_dtype, na_value=np.nan)
        cells = ["" if np.isnan(x) else np.format_float_positional(x, trim="-") for x in numbers]
        return pd.Series(cells, index=column.index, name=column.name, dtype=object)
    return column.astype(object).where(column.notna(), "").map(_stripped)


def _stripped(cell: Any) -> str:
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    return text.strip()
