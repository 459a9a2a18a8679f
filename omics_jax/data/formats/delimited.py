"""Delimited text (.csv, .tsv, .txt, plain or .gz) as a grid of numbers or as a table of text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from omics_jax.data.formats.columns import MISSING
from omics_jax.data.formats.grid import Grid
from omics_jax.data.formats.parse import parse_numbers
from omics_jax.data.formats.records import read_records
from omics_jax.errors import UserError


def delimited_grid(path: Path) -> Grid:
    """The file's numbers, with the first column as names of the rows."""
    table, header, body = read_records(path)
    return Grid(
        rows=[table.first_field(r) for r in body],
        columns=header[1:],
        cells=parse_numbers(table, body, range(1, len(header))),
        corner=header[0],
        row_place=lambda i: f"line {table.numbers[body[i]]}",
        column_place=lambda j: f"column {j + 2} ({header[j + 1]!r})",
    )


def delimited_table(path: Path) -> pd.DataFrame:
    """The file as text, "" where a cell is missing; the index holds the line of each row.

    Raises:
      UserError: two columns of the same name.
    """
    table, header, body = read_records(path)
    repeated = next((name for name, count in Counter(header).items() if name and count > 1), "")
    if repeated:
        raise UserError(
            f"{path}: line {table.numbers[0]} names column {repeated!r} twice; rename one of them"
        )
    rows = [table.fields(r) for r in body]
    cells = [["" if cell.casefold() in MISSING else cell for cell in row] for row in rows]
    places = [f"line {table.numbers[r]}" for r in body]
    return pd.DataFrame(cells, columns=header, index=places, dtype=object)
