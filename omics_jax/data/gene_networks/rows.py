"""Tables whose first line may be a header or a row already: networks, embeddings, aliases.

Delimited text (also .gz) is cut into fields, and Parquet opened, by the readers of `formats`. A
first column that only counts the rows is left out. Files of STRING (string-db.org) are read without
a meaning of quotation marks, which stand in their annotations (5"-end).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped

from omics_jax.data.formats.cells import comma_mend, is_comma_number
from omics_jax.data.formats.columns import annotation_column, as_text
from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.formats.known_names import are_row_numbers
from omics_jax.data.formats.matrix import Place
from omics_jax.data.formats.parquet import parquet_frame
from omics_jax.data.formats.parse import parse_numbers
from omics_jax.data.formats.preamble import split_preamble
from omics_jax.data.formats.records import Records, aligned, cut_records
from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

STRING_ID = "string_protein_id"  # the header of the first column of STRING's tables of proteins
_HEAD_BYTES = 200


@dataclass(frozen=True)
class Rows:
    """The n rows of a table.

    Attributes:
      path: the file.
      header: the names of the columns; () where the first line is a row.
      cells: n rows of columns that are labelled by their position.
      place: row -> where it is in the file, such as "line 7".
    """

    path: Path
    header: tuple[str, ...]
    cells: pd.DataFrame
    place: Place

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self.cells.shape[1]

    def column(self, j: int) -> str:
        """What column j is called in messages."""
        named = self.header[j] if self.header else ""
        return f"column {named!r}" if named else f"column {j + 1}"


def read_rows(
    path: str,
    text: Sequence[int],
    is_header: Callable[[Sequence[str]], bool],
    cut: Callable[[Path], Records] | None = None,
) -> Rows:
    """The rows of a table (.csv, .tsv, .txt, also .gz, or .parquet).

    Args:
      path: the file.
      text: the columns that hold names, by position; 007 keeps its zeros in them.
      is_header: whether the fields of a first line are names of columns.
      cut: cuts a file into its lines, where not `records_of` does.

    Raises:
      UserError: no such file, no rows, or lines of different widths.
    """
    file = existing_file(path)
    if file.suffix.lower() == ".parquet":
        return _parquet_rows(file)
    return _text_rows((cut or records_of)(file), text, is_header)


def records_of(path: Path) -> Records:
    """The lines of a delimited text that are not comments; spaces at their end separate nothing.

    Raises:
      UserError: no text, or a first line of a single field.
    """
    text = split_preamble(path, read_text(path))
    is_string = STRING_ID.encode() in text.data.lstrip()[:_HEAD_BYTES]
    table = cut_records(path, text.data, text.delimiter, quoted=not is_string)
    if text.delimiter == " ":
        table = replace(table, lines=[line.rstrip(b" ") for line in table.lines])
    return table


def is_number(cell: str) -> bool:
    """Whether a cell is a number, if with a comma, or stands for one that is missing."""
    if cell.casefold() in MISSING or is_comma_number(cell):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def texts(rows: Rows, column: int) -> Shaped[np.ndarray, " n"]:
    """(n,) the column as text (object), "" where a cell is missing."""
    return as_text(rows.cells[column]).to_numpy(dtype=object)


def numbers(rows: Rows, column: int, mend: str) -> Float32[np.ndarray, " n"]:
    """(n,) the column as numbers.

    Args:
      mend: what a cell should be, for the message.

    Raises:
      UserError: a cell that is missing, no number, or none that float32 holds.
    """
    cells = annotation_column(rows.cells[column])
    if cells.dtype.kind not in "iuf":
        cells = pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy(dtype=np.float64)
    is_finite = np.abs(cells) <= np.finfo(np.float32).max  # False for NaN
    if not is_finite.all():
        raise _no_number(rows, int(is_finite.argmin()), column, mend)
    return cells.astype(np.float32)


def _no_number(rows: Rows, row: int, column: int, mend: str) -> UserError:
    cell = as_text(rows.cells[column].iloc[[row]]).iloc[0]
    place = f"{rows.path}: {rows.place(row)}, {rows.column(column)}"
    if not cell:
        return UserError(f"{place} is empty; {mend}")
    if is_comma_number(cell):
        mend = comma_mend(cell)
    return UserError(f"{place}: {cell[:40]!r} is no finite number; {mend}")


def _text_rows(
    table: Records, text: Sequence[int], is_header: Callable[[Sequence[str]], bool]
) -> Rows:
    has_header = is_header(table.fields(0))
    table = aligned(table, row_names=has_header)
    first = table.fields(0)
    body = range(int(has_header), len(table.lines))
    if not body:
        raise UserError(
            f"{table.path} has a header in line {table.numbers[0]} but no rows below it; add them"
        )
    start = int(has_header and _counts_rows(table, first[0], body))
    columns = range(start, len(first))
    named = [start + j for j in text if start + j < len(first)]
    cells = parse_numbers(table, body, columns, named)
    return Rows(
        table.path,
        tuple(first[start:]) if has_header else (),
        cells[list(columns)].set_axis(range(len(columns)), axis=1),
        lambda i: f"line {table.numbers[body[i]]}",
    )


def _counts_rows(table: Records, header: str, body: Sequence[int]) -> bool:
    """Whether the first column only counts the rows."""
    may_count = are_row_numbers(header, ("0", "1"))  # by its header; the fields are asked after it
    return may_count and are_row_numbers(header, [table.first_field(r) for r in body])


def _parquet_rows(path: Path) -> Rows:
    """Its columns always have names; an index that pandas stored is the first of them."""
    frame = parquet_frame(path)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.rename_axis(frame.index.name or "id").reset_index()
    header = [str(name) for name in frame.columns]
    if are_row_numbers(header[0], as_text(frame.iloc[:, 0]).tolist()):
        frame, header = frame.iloc[:, 1:], header[1:]
    cells = frame.set_axis(range(len(header)), axis=1)
    return Rows(path, tuple(header), cells, lambda i: f"row {i + 1}")
