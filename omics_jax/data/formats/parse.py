"""Cells of delimited text parsed to numbers: pandas' C parser does the work.

A cell that is no number is searched for only after the parser has left its column as text.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.cells import comma_mend, is_comma_number, is_limit
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.matrix import Place
from omics_jax.data.formats.records import Records
from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

_CASES = {spelling for cell in MISSING for spelling in (cell, cell.upper(), cell.capitalize())}
_MISSING_SPELLINGS = sorted(_CASES | {"NaN", "-NaN"})


def parse_numbers(
    table: Records, body: Sequence[int], columns: Sequence[int], text: Sequence[int] = ()
) -> pd.DataFrame:
    """The given columns of the given records, parsed by pandas; columns are labelled by position.

    Those in `text` become categories exactly as written: 007 keeps its zeros, and Na is sodium, not
    missing.

    Raises:
      UserError: records that cannot be parsed.
    """
    missing = _MISSING_SPELLINGS
    if text:
        missing = {j: _MISSING_SPELLINGS for j in columns if j not in text}
    rows = b"\n".join(table.lines[r] for r in body)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(rows),
                sep=table.delimiter,
                header=None,
                names=range(max(columns, default=0) + 1),
                usecols=list(columns),
                index_col=False,
                # With a dict, even an empty one, pandas makes the columns one by one: slow.
                dtype=dict.fromkeys(text, "category") or None,
                na_values=missing,
                keep_default_na=False,
                low_memory=False,
                skip_blank_lines=False,
                quoting=csv.QUOTE_MINIMAL if table.quoted else csv.QUOTE_NONE,
                float_precision="high",
            )
    except (pd.errors.ParserWarning, ValueError, OverflowError) as error:
        raise UserError(
            f"{table.path} cannot be parsed as a table: {error}; correct that place"
        ) from None
    if len(frame) != len(body):
        raise UserError(
            f"{table.path}: {len(body)} rows were counted but {len(frame)} parsed, so some "
            "quotation mark is inside a field; remove it"
        )
    return frame


def numbers_and_text(
    path: Path,
    frame: pd.DataFrame,
    row_place: Place,
    column_place: Place,
    annotations: Collection[int] = (),
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """(rows, columns) numbers with NaN for missing, and the text columns by position.

    float64, or float32 where the frame has nothing else.

    A column is text if at most half of its filled cells are numbers; one of `annotations`, if any
    cell is none.

    Raises:
      UserError: a cell of any other column is not a number.
    """
    numeric = np.array([dtype.kind in "iuf" for dtype in frame.dtypes])
    if numeric.all():
        is_single = all(dtype == np.float32 for dtype in frame.dtypes)
        return frame.to_numpy(dtype=np.float32 if is_single else np.float64), {}
    values = np.full(frame.shape, np.nan)
    values[:, numeric] = frame.loc[:, numeric].to_numpy(dtype=np.float64)
    text = {}
    for j in np.flatnonzero(~numeric).tolist():
        cells = as_text(frame.iloc[:, j])
        numbers, wrong = _parsed(cells)
        is_text = j in annotations or 2 * len(wrong) >= (cells != "").sum()
        if len(wrong) and is_text:
            text[j] = cells.to_numpy(dtype=object)
        elif len(wrong):
            raise not_a_number(path, row_place(wrong[0]), column_place(j), cells.iloc[wrong[0]])
        else:
            values[:, j] = numbers
    return values, text


def require_numbers(
    path: Path, frame: pd.DataFrame, row_place: Place, column_place: Place
) -> np.ndarray:
    """(rows, columns) float64 with NaN for missing.

    Raises:
      UserError: a cell is not a number.
    """
    values, text = numbers_and_text(path, frame, row_place, column_place)
    for j, cells in text.items():
        row = _parsed(pd.Series(cells))[1][0]
        raise not_a_number(path, row_place(row), column_place(j), cells[row])
    return values


def _parsed(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """float64 with NaN where a cell is no number, and the rows of filled cells that are none."""
    filled = cells != ""
    numbers = pd.to_numeric(cells.where(filled), errors="coerce").to_numpy(dtype=np.float64)
    return numbers, np.flatnonzero(filled.to_numpy() & np.isnan(numbers))


def not_a_number(path: Path, row: str, column: str, cell: str) -> UserError:
    """The error for a cell that should be a number."""
    mend = "write a number, or NA where nothing was measured"
    if is_comma_number(cell):
        mend = comma_mend(cell)
    elif is_limit(cell):
        mend = "it is a limit; write what shall stand for it (itself, its half, or NA)"
    return UserError(f"{path}: {row}, {column}: {cell[:40]!r} is not a number; {mend}")
