"""Parquet files as a grid of numbers or as a table of text; needs pyarrow (the extra `io`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omics_jax.data.formats.columns import as_names, as_text
from omics_jax.data.formats.grid import Grid
from omics_jax.errors import UserError


def parquet_frame(path: Path) -> pd.DataFrame:
    """The file as a data frame, with the index that pandas stored in it, if any.

    Raises:
      UserError: no pyarrow, a damaged file, or no rows or columns.
    """
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
            f"{path} is not a valid Parquet file ({str(error)[:80]}); write it again"
        ) from None
    if not len(frame) or not len(frame.columns):
        raise UserError(
            f"{path} holds {len(frame)} rows and {len(frame.columns)} columns; add what is missing"
        )
    return frame


def parquet_grid(path: Path) -> Grid:
    """The file's numbers; names of the rows are the stored index, or else the first column."""
    frame = parquet_frame(path)
    if isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_index(frame.columns[0])
    rows = as_names(frame.index).tolist()
    columns = [str(name).strip() for name in frame.columns]
    by_position = frame.set_axis(range(len(columns)), axis=1).set_axis(range(len(rows)), axis=0)
    return Grid(
        rows=rows,
        columns=columns,
        cells=by_position,
        corner="" if frame.index.name is None else str(frame.index.name),
        row_place=lambda i: f"row {i + 1}",
        column_place=lambda j: f"column {columns[j]!r}",
    )


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
