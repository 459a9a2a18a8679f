"""Parquet files as a grid of numbers or as a table of text; needs pyarrow (the extra `io`).

In a grid, columns of booleans are numbers, 0 and 1. Left out are columns of lists, structures or
bytes, and an index of several levels, which no table of text has either.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.columns import as_names, as_text
from omics_jax.data.formats.containers import reading
from omics_jax.data.formats.grid import Grid
from omics_jax.data.memory import check_memory
from omics_jax.errors import UserError

_CELL_BYTES = 16  # of a cell of a data frame, a number or a pointer, and a copy of it


def parquet_frame(path: Path) -> pd.DataFrame:
    """The file as a data frame, with the index that pandas stored in it, if any.

    Raises:
      UserError: no pyarrow, a damaged file, more than memory holds, no rows or columns, a column
        that is neither numbers nor text, or an index of several levels.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow; pip install 'omics_jax[io]'"
        ) from None
    with reading(path, "Parquet"):
        # Not mapped: a damaged page would then end the process without a word.
        with parquet.ParquetFile(path, memory_map=False) as file:
            cells = file.metadata.num_rows * file.metadata.num_columns
            check_memory(path, f"its table of {cells:,} cells", cells * _CELL_BYTES)
            _check_columns(path, file.schema_arrow)
            frame = file.read().to_pandas()
    _check_names(path, frame)
    if not len(frame) or not len(frame.columns):
        raise UserError(
            f"{path} holds {len(frame)} rows and {len(frame.columns)} columns; add what is missing"
        )
    return frame


def _check_columns(path: Path, schema) -> None:
    """Refuses a column whose cells are not single numbers, texts or times."""
    from pyarrow import types

    for field in schema:
        kind = field.type
        if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
            raise UserError(
                f"{path}: column {field.name!r} holds {kind}; remove it, or store a number or a "
                "text in every cell"
            )


def _check_names(path: Path, frame: pd.DataFrame) -> None:
    """Refuses an index, or names of columns, of several levels."""
    sides = {"index": frame.index, "names of its columns": frame.columns}
    for side, names in sides.items():
        if names.nlevels > 1:
            levels = ", ".join(str(name) for name in names.names)
            raise UserError(
                f"{path}: the {side} has {names.nlevels} levels ({levels}); keep one of them, and "
                "store the others as columns (reset_index in pandas)"
            )


def parquet_grid(path: Path) -> Grid:
    """The file's numbers; names of the rows are the stored index, or else the first column."""
    frame = parquet_frame(path)
    if isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_index(frame.columns[0])
    rows = as_names(path, frame.index).tolist()
    columns = [str(name).strip() for name in frame.columns]
    by_position = frame.set_axis(range(len(columns)), axis=1).set_axis(range(len(rows)), axis=0)
    by_position = by_position.apply(_numbers_for_booleans)
    return Grid(
        rows=rows,
        columns=columns,
        cells=by_position,
        corner="" if frame.index.name is None else str(frame.index.name),
        row_place=lambda i: f"row {i + 1}",
        column_place=lambda j: f"column {columns[j]!r}",
    )


def _numbers_for_booleans(column: pd.Series) -> pd.Series:
    """A column of booleans as 0 and 1 with NaN where unknown; any other column as it is."""
    if pd.api.types.infer_dtype(column, skipna=True) != "boolean":
        return column
    numbers = column.astype("boolean").to_numpy(np.float64, na_value=np.nan)
    return pd.Series(numbers, index=column.index)


def parquet_table(path: Path) -> pd.DataFrame:
    """The file as text, "" where a cell is missing; the index holds the place of each row.

    The index that pandas stored is the first column, called id if it has no name.
    """
    frame = parquet_frame(path)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.rename_axis(frame.index.name or "id").reset_index()
    frame.columns = frame.columns.astype(str)
    places = [f"row {i + 1}" for i in range(len(frame))]
    return frame.apply(as_text).set_axis(places, axis=0)
