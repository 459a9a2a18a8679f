"""`Grid`: a table of numbers whose rows may be samples or genes, and the `Matrix` made of it.

Delimited text and Parquet are such tables; the other formats fix their orientation themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.matrix import Matrix, Place, checked_matrix
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.orientation import decide_orientation
from omics_jax.data.formats.parse import numbers_and_text
from omics_jax.data.vocabulary import without_words
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Grid:
    """Named rows and columns of cells, before anyone has decided which of them are samples.

    Attributes:
      rows, columns: their names.
      cells: a column of numbers or text for every name in `columns`, labelled by position.
      corner: the header of the column of row names.
      row_place, column_place: where row i and column j are in the file, for messages.
    """

    rows: list[str]
    columns: list[str]
    cells: pd.DataFrame
    corner: str
    row_place: Place
    column_place: Place


def matrix_from_grid(path: Path, grid: Grid, options: ReadOptions) -> Matrix:
    """The grid as a `Matrix`, in the orientation that the options or the names decide."""
    cells = without_words(grid.cells, options.missing)
    values, text = numbers_and_text(path, cells, grid.row_place, grid.column_place)
    text_columns = [grid.columns[j] for j in text]
    orientation = decide_orientation(
        path, options.orientation, grid.rows, grid.columns, grid.corner, text_columns
    )
    if orientation == "samples":
        return _samples_in_rows(path, grid, values, text, options)
    return checked_matrix(
        path,
        grid.columns,
        grid.rows,
        values.T.copy(),
        repeated=options.repeated,
        sample_place=grid.column_place,
        gene_place=grid.row_place,
    )


def _samples_in_rows(
    path: Path, grid: Grid, values: np.ndarray, text: dict[int, np.ndarray], options: ReadOptions
) -> Matrix:
    """Columns of text, and those the options name, are annotations; the others are genes."""
    names = grid.columns
    annotating = [j for j, name in enumerate(names) if j in text or name in options.annotations]
    unnamed = [j for j in annotating if not names[j]]
    if unnamed:
        raise UserError(
            f"{path}: {grid.column_place(unnamed[0])} has no name; give it one in the header, or "
            "remove it"
        )
    annotations = {names[j]: text.get(j, values[:, j]) for j in annotating}
    measured = np.setdiff1d(np.arange(len(names)), annotating)
    return checked_matrix(
        path,
        grid.rows,
        [names[j] for j in measured],
        values[:, measured],
        pd.DataFrame(annotations, index=range(len(grid.rows))),
        repeated=options.repeated,
        sample_place=grid.row_place,
        gene_place=lambda j: grid.column_place(measured[j]),
    )
