"""Delimited text (.csv, .tsv, .txt, plain or .gz) as a grid of numbers or as a table of text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.grid import Grid
from omics_jax.data.formats.known_names import are_row_numbers
from omics_jax.data.formats.parse import parse_numbers
from omics_jax.data.formats.records import read_records
from omics_jax.data.formats.series_matrix import (
    is_series_matrix,
    sample_annotations,
    series_matrix_samples,
)
from omics_jax.data.formats.streamed import is_large, streamed_grid
from omics_jax.data.vocabulary import MISSING


def delimited_grid(path: Path) -> Grid:
    """The file's numbers, with the first column as names of the rows."""
    streamed = streamed_grid(path) if is_large(path) else None
    if streamed is not None:
        return streamed
    table, header, body = read_records(path, row_names=True)
    return Grid(
        rows=[table.first_field(r) for r in body],
        columns=header[1:],
        cells=parse_numbers(table, body, range(1, len(header))),
        corner=header[0],
        row_place=lambda i: f"line {table.numbers[body[i]]}",
        column_place=lambda j: f"column {j + 2} ({header[j + 1]!r})",
        uses=table.uses,
        annotations=sample_annotations(path, table.sample_lines),
    )


def delimited_table(path: Path) -> tuple[pd.DataFrame, tuple[Use, ...]]:
    """The file as text, "" where a cell is missing; the index holds the line of each row.

    Of a GEO series matrix it is what the file says of its samples. Columns of one name are told
    apart as in "drug (column 3)", unless they agree in every cell.

    Returns:
      the table, and what became of lines and columns that are not in it.
    """
    if is_series_matrix(path):
        return series_matrix_samples(path)
    table, header, body = read_records(path, row_names=True)
    rows = [table.fields(r) for r in body]
    cells = [["" if cell.casefold() in MISSING else cell for cell in row] for row in rows]
    places = [f"line {table.numbers[r]}" for r in body]
    frame = pd.DataFrame(cells, columns=range(len(header)), index=places, dtype=object)
    uses = list(table.uses)
    if len(header) > 1 and are_row_numbers(header[0], frame[0].tolist()):
        frame, header = frame.iloc[:, 1:].set_axis(range(len(header) - 1), axis=1), header[1:]
        uses.append(Use(path.name, "columns", "left out", ("the first",), "numbers of the rows"))
    frame, of_columns = distinct_columns(path, frame, header)
    return frame, (*uses, *of_columns)


def distinct_columns(
    path: Path, frame: pd.DataFrame, header: list[str]
) -> tuple[pd.DataFrame, tuple[Use, ...]]:
    """The frame with each column under a name of its own.

    Of columns with one name that agree in every cell the first stays; others get their number.
    """
    repeated = {name for name, count in Counter(header).items() if name and count > 1}
    if not repeated:
        return frame.set_axis(header, axis=1), ()
    names, kept, merged = list(header), list(range(len(header))), []
    for name in sorted(repeated):
        columns = [j for j, other in enumerate(header) if other == name]
        first = frame.iloc[:, columns[0]]
        if all(frame.iloc[:, j].equals(first) for j in columns[1:]):
            kept = [j for j in kept if j not in columns[1:]]
            merged.append(name)
            continue
        for j in columns:
            names[j] = numbered_name(name, j)
    uses = ()
    if merged:
        why = "each is named several times and agrees with itself in every cell"
        uses = (Use(path.name, "columns", "used once", tuple(merged), why),)
    return frame.iloc[:, kept].set_axis([names[j] for j in kept], axis=1), uses


def numbered_name(name: str, j: int) -> str:
    """The name of column j, counted from 0, where others have the same: "drug (column 3)"."""
    return f"{name} (column {j + 1})"
