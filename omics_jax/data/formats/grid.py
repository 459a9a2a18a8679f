"""`Grid`: a table of numbers whose rows may be samples or genes, and the `Matrix` made of it.

Delimited text and Parquet are such tables; the other formats fix their orientation themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.cells import plain_numbers
from omics_jax.data.formats.columns import as_names
from omics_jax.data.formats.known_names import (
    SAMPLE_ANNOTATIONS,
    are_row_numbers,
    header_form,
    is_gene,
)
from omics_jax.data.formats.matrix import Matrix, Place, Sides, checked_matrix
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.orientation import decide_orientation, gene_annotations
from omics_jax.data.formats.parse import numbers_and_text
from omics_jax.data.formats.series_matrix import ACCESSION
from omics_jax.data.vocabulary import without_words
from omics_jax.errors import UserError

_P_HEADER = re.compile(r"(detection[\s._-]*)?p[\s._-]*val(ue)?s?", re.IGNORECASE)


@dataclass(frozen=True)
class Grid:
    """Named rows and columns of cells, before anyone has decided which of them are samples.

    Attributes:
      rows, columns: their names.
      cells: a column of numbers or text for every name in `columns`, in their order.
      corner: the header of the column of row names.
      row_place, column_place: where row i and column j are in the file, for messages.
      uses: what became of parts of the file that are not in the grid.
      annotations: what the file says of its columns, where it does: a row of text for each, under
        its name in the column `ACCESSION` if the file has one, else in the order of the columns.
    """

    rows: list[str]
    columns: list[str]
    cells: pd.DataFrame
    corner: str
    row_place: Place
    column_place: Place
    uses: tuple[Use, ...] = ()
    annotations: pd.DataFrame | None = None


def matrix_from_grid(path: Path, grid: Grid, options: ReadOptions) -> Matrix:
    """The grid as a `Matrix`, in the orientation that the options or the names decide."""
    named = [j for j, name in enumerate(grid.columns) if name in options.annotations]
    frame, uses = plain_numbers(
        path,
        without_words(grid.cells, options.missing),
        grid.row_place,
        lambda i, j: grid.columns[j],
        options.below_detection,
        annotations=named,
    )
    values, text = numbers_and_text(path, frame, grid.row_place, grid.column_place, named)
    orientation = decide_orientation(
        path, options.orientation, grid.rows, grid.columns, grid.corner, text
    )
    of_orientation = _samples_in_rows if orientation == "samples" else _genes_in_rows
    return of_orientation(path, grid, values, text, options, (*grid.uses, *uses))


def with_ids(path: Path, grid: Grid) -> Grid:
    """The grid with names in its first column and its header.

    Raises:
      UserError: there are numbers or a gene where names should be.
    """
    grid = _without_row_numbers(path, grid)
    _check_ids(path, grid)
    return replace(grid, columns=named_p_columns(grid.columns))


def named_p_columns(columns: Sequence[str]) -> list[str]:
    """The columns, of which each nameless one of p-values gets the name of the one at its left.

    GEO's processed files have P1, Detection Pval, P2, Detection Pval, and so on.
    """
    names = list(columns)
    nameless = [j for j, name in enumerate(names) if j and _P_HEADER.fullmatch(name.strip())]
    if len(nameless) > 1:
        for j in nameless:
            names[j] = f"{names[j - 1]} {names[j].strip()}"
    return names


def _without_row_numbers(path: Path, grid: Grid) -> Grid:
    """The grid with its second column as names of the rows where the first counts them."""
    if not are_row_numbers(grid.corner, grid.rows) or not grid.columns:
        return grid
    ids = as_names(path, grid.cells.iloc[:, 0].to_numpy()).tolist()
    are_texts = all(map(_is_text, ids))
    if not are_texts or len(set(ids)) < len(ids):
        return grid
    why = "numbers of the rows; the column after it holds the ids"
    return replace(
        grid,
        rows=ids,
        columns=grid.columns[1:],
        cells=grid.cells.iloc[:, 1:],
        corner=grid.columns[0],
        column_place=lambda j: grid.column_place(j + 1),
        uses=(*grid.uses, Use(path.name, "columns", "left out", ("the first",), why)),
    )


def _check_ids(path: Path, grid: Grid):
    """Refuses a first column of measurements, and a header of them."""
    if is_gene(grid.corner):
        raise UserError(
            f"{path}: its first column is called {grid.corner!r}, as a gene is, but that column is "
            "read as the ids of the rows; write a column of ids before it"
        )
    sides = {
        "first column": (grid.rows, "write a column of ids before it"),
        "header": (grid.columns, "write a line of names above it"),
    }
    for side, (names, mend) in sides.items():
        measured = [name for name in names if _is_fraction(name)]
        if len(measured) > len(names) / 2:
            raise UserError(
                f"{path}: its {side} holds numbers such as {measured[0]!r}, not names; {mend}"
            )


def _is_text(name: str) -> bool:
    return bool(name) and bool(np.isnan(pd.to_numeric(name, errors="coerce")))


def _is_fraction(name: str) -> bool:
    """Whether a name is a number that is not whole, as measurements are and ids are not."""
    return re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", name) is not None


def _genes_in_rows(
    path: Path,
    grid: Grid,
    values: np.ndarray,
    text: dict[int, np.ndarray],
    options: ReadOptions,
    uses: Sequence[Use],
) -> Matrix:
    """Columns of text before the samples, and those known to describe genes, are left out."""
    describing = gene_annotations(grid.columns, text)
    samples = np.setdiff1d(np.arange(len(grid.columns)), describing)
    if describing:
        names = tuple(grid.columns[j] or grid.column_place(j) for j in describing)
        uses = (*uses, Use(path.name, "columns", "left out", names, "annotations of the genes"))
    return checked_matrix(
        path,
        [grid.columns[j] for j in samples],
        grid.rows,
        mapped.transposed(values, samples),
        _of_samples(path, grid, [grid.columns[j] for j in samples]),
        repeated=options.repeated,
        sample_place=lambda i: grid.column_place(samples[i]),
        gene_place=grid.row_place,
        sides=Sides("columns", "rows", "rows"),
        uses=uses,
    )


def _of_samples(path: Path, grid: Grid, samples: Sequence[str]) -> pd.DataFrame | None:
    """What the file says of these of its columns, in their order; None where it says nothing.

    Raises:
      UserError: it speaks of other samples.
    """
    told = grid.annotations
    if told is None:
        return None
    if ACCESSION not in told and len(told) == len(samples):
        return told
    names = told.get(ACCESSION, pd.Series(dtype=object))
    lacking = sorted(set(samples) - set(names))
    if lacking:
        raise UserError(
            f"{path}: the table has the sample {lacking[0]!r}, which no line !Sample_{ACCESSION} "
            "names; fetch the file again"
        )
    return told.set_axis(names, axis=0).loc[list(samples)].reset_index(drop=True)


def _samples_in_rows(
    path: Path,
    grid: Grid,
    values: np.ndarray,
    text: dict[int, np.ndarray],
    options: ReadOptions,
    uses: Sequence[Use],
) -> Matrix:
    """Columns of text, those the options name and known ones are annotations, the others genes."""
    names = grid.columns
    told = [j for j, name in enumerate(names) if j in text or name in options.annotations]
    by_name = _annotations_by_name(names, told)
    annotating = sorted({*told, *by_name})
    unnamed = [j for j in annotating if not names[j]]
    if unnamed:
        raise UserError(
            f"{path}: {grid.column_place(unnamed[0])} has no name; give it one in the header, or "
            "remove it"
        )
    annotations = {names[j]: text.get(j, values[:, j]) for j in annotating}
    measured = np.setdiff1d(np.arange(len(names)), annotating)
    uses = (
        *uses,
        *_doubtful_texts(path, names, text, options.annotations),
        *_by_name_use(path, [names[j] for j in by_name]),
    )
    return checked_matrix(
        path,
        grid.rows,
        [names[j] for j in measured],
        values[:, measured],
        pd.DataFrame(annotations, index=range(len(grid.rows))),
        repeated=options.repeated,
        sample_place=grid.row_place,
        gene_place=lambda j: grid.column_place(measured[j]),
        uses=uses,
    )


def _annotations_by_name(names: Sequence[str], told: Sequence[int]) -> list[int]:
    """Columns of numbers that describe samples by their names, such as batch, by position.

    In a table that holds more of such columns than of others they are what it measures.
    """
    numeric = [j for j in range(len(names)) if j not in set(told)]
    known = [j for j in numeric if header_form(names[j]) in SAMPLE_ANNOTATIONS]
    return known if 2 * len(known) < len(numeric) else []


def _by_name_use(path: Path, names: Sequence[str]) -> list[Use]:
    if not names:
        return []
    why = "numbers that describe samples by their names; rename a column that is measured"
    return [Use(path.name, "columns", "taken for annotations", tuple(names), why, False)]


def _doubtful_texts(
    path: Path, names: Sequence[str], text: dict[int, np.ndarray], told: Sequence[str]
) -> list[Use]:
    """A warning of the columns of text that have numbers in them, or the name of a gene."""
    doubtful = {}
    for j, cells in text.items():
        filled = cells[cells != ""]
        is_text = pd.to_numeric(pd.Series(filled), errors="coerce").isna().to_numpy()
        if names[j] not in told and (not is_text.all() or is_gene(names[j])):
            doubtful[names[j]] = f"{is_text.sum():,} of {len(filled):,} cells of {names[j]}"
            example = str(filled[is_text][0])
    if not doubtful:
        return []
    counts = ", ".join(list(doubtful.values())[:3])
    why = f"texts such as {example!r} in {counts}; correct them if it is a gene"
    return [Use(path.name, "columns", "taken for annotations", tuple(doubtful), why, False)]
