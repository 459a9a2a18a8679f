"""The conditions of expression profiles: cell line, drug, dose, time, batch and role of a sample.

They come from a table beside the matrix or from the matrix's own annotations; the user's settings
say which column holds what. Everything is text, "" where unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from omics_jax.data.formats.checks import required_column
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.names import Names
from omics_jax.data.formats.read import read_table
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Conditions:
    """Conditions of n samples.

    Attributes:
      source: the file, for messages.
      table: n rows of text columns under the file's own names.
      places: (n,) where each row stands in `source`, "" for a sample that the table does not name.
      columns: canonical name -> column of the table, "" where the settings name none.
    """

    source: str
    table: pd.DataFrame
    places: list[str]
    columns: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether a canonical name or a column of the table can be looked up."""
        column = self.columns.get(name, name)
        return bool(column) and column in self.table

    def column(self, name: str, setting: str) -> np.ndarray:
        """(n,) text of a canonical name or a column of the table; `setting` needs it."""
        return required_column(self.source, self.table, self.columns, name, setting)

    def column_or_blank(self, name: str) -> np.ndarray:
        """(n,) text of a canonical name, all "" where the settings name no column for it."""
        if not self.columns[name]:
            return np.full(len(self.table), "", object)
        return self.column(name, f"columns.{name}")

    def take(self, rows: Sequence[int]) -> Conditions:
        """The conditions of these rows, in this order."""
        table = self.table.iloc[list(rows)]
        places = [self.places[row] for row in rows]
        return Conditions(self.source, table, places, self.columns)


def matrix_conditions(source: str, matrix: Matrix, columns: Mapping[str, str]) -> Conditions:
    """The conditions that a matrix file itself holds as annotations."""
    table = matrix.table.reset_index(drop=True).apply(as_text)
    places = [f"sample {str(name)!r}" for name in matrix.ids]
    return Conditions(source, table, places, columns)


def read_sample_conditions(
    source: str, path: str, columns: Mapping[str, str], ids: Names
) -> Conditions:
    """The conditions of the samples `ids` of the matrix `source`, from the table at `path`.

    Raises:
      UserError: a row without a sample id, a sample twice, or none of the samples.
    """
    table = read_table(path)
    samples = list(required_column(path, table, columns, "sample", f"the conditions in {path}"))
    row_of_sample = _index_samples(path, table, samples)
    rows = [row_of_sample.get(str(name), -1) for name in ids]
    if max(rows) < 0:
        raise UserError(
            f"{path}: none of its {len(samples)} samples (such as {samples[0]!r}, "
            f"{table.index[0]}) is in {source}, whose samples are called like {str(ids[0])!r}; "
            "correct the ids or columns.sample"
        )
    # Row -1, the last, stands for the samples that the table does not name.
    blank = pd.DataFrame({name: [""] for name in table.columns}, dtype=object)
    aligned = pd.concat([table, blank]).iloc[rows].reset_index(drop=True)
    places = ["" if row < 0 else str(table.index[row]) for row in rows]
    return Conditions(path, aligned, places, columns)


def _index_samples(path: str, table: pd.DataFrame, samples: Sequence[str]) -> dict[str, int]:
    """sample -> its row, where every row names a sample of its own."""
    row_of_sample: dict[str, int] = {}
    for row, sample in enumerate(samples):
        place = table.index[row]
        if not sample:
            raise UserError(f"{path}: {place} has no sample id; fill it in or remove the row")
        if sample in row_of_sample:
            first_place = table.index[row_of_sample[sample]]
            raise UserError(
                f"{path}: sample {sample!r} occurs twice, at {first_place} and {place}; remove "
                "one of them"
            )
        row_of_sample[sample] = row
    return row_of_sample


def numeric_doses(conditions: Conditions, rows: Sequence[int]) -> Float64[np.ndarray, " k"]:
    """The doses of these k rows as numbers, in the table's unit.

    Raises:
      UserError: a dose that is not a number.
    """
    cells = conditions.column("dose", 'dose="highest"')[list(rows)]
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    doses = numbers.to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(doses))
    if len(wrong):
        k = int(wrong[0])
        column = conditions.columns["dose"]
        raise UserError(
            f"{conditions.source}: {conditions.places[rows[k]]}: dose {cells[k]!r} in column "
            f'{column!r} is not a number; write numbers in one unit, or set dose="all"'
        )
    return doses
