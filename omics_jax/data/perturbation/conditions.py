"""The conditions of expression profiles: cell line, drug, dose, time, batch and role of every
sample.

They come from a table beside the matrix or from the matrix's own annotations; the user's settings
say which
column holds what. Everything is text, "" where unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.names import Names
from omics_jax.data.formats.read import read_table
from omics_jax.errors import UserError

CANONICAL = ("cell_line", "drug", "dose", "time", "batch")
KEYS = ("sample", *CANONICAL, "role")


@dataclass(frozen=True)
class Conditions:
    """Conditions of n samples.

    `table`: n rows of text columns under the file's own names; `places`: (n,) where each row stands
    in
    `source`, "" for a sample that the table does not name; `columns`: canonical name -> column name
    or "".
    """

    source: str
    table: pd.DataFrame
    places: list[str]
    columns: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether a canonical or raw column name can be looked up."""
        return bool(self.columns.get(name, name)) and self.columns.get(name, name) in self.table

    def column(self, name: str, setting: str) -> np.ndarray:
        """(n,) text of a canonical or raw column that `setting` needs."""
        return required_column(self.source, self.table, self.columns, name, setting)

    def optional(self, name: str) -> np.ndarray:
        """(n,) text of a canonical column, all "" where the settings name none."""
        return (
            self.column(name, f"columns.{name}")
            if self.columns[name]
            else np.full(len(self.table), "", object)
        )

    def take(self, rows: Sequence[int]) -> Conditions:
        """The conditions of the given rows."""
        table = self.table.iloc[list(rows)]
        return Conditions(self.source, table, [self.places[r] for r in rows], self.columns)


def checked_columns(columns) -> dict[str, str]:
    """canonical name -> column name, "" for those that are absent; takes any mapping, a ConfigDict
    too.
    """
    given = {str(key): columns[key] or "" for key in columns}
    for key, name in given.items():
        if key not in KEYS or not isinstance(name, str):
            raise UserError(
                f"columns.{key}={name!r} is not understood; set names for {', '.join(KEYS)} only"
            )
    return {key: given.get(key, "") for key in KEYS}


def required_column(
    source: str, table: pd.DataFrame, columns: Mapping[str, str], name: str, setting: str
) -> np.ndarray:
    """(n,) text of the column that a canonical name stands for (or that bears the name itself)."""
    column = columns.get(name, name)
    if not column:
        raise UserError(
            f"{setting} needs columns.{name}, which is empty; set it to one of the columns of "
            f"{source}: {_listed(table.columns)}"
        )
    if column not in table:
        if not len(table.columns):
            raise UserError(
                f"{source} says nothing of its samples ({setting} needs column {column!r}); name a "
                "table that does with data.conditions"
            )
        near = nearest(column, table.columns)
        mend = f"did you mean {near!r}?" if near else f"it has {_listed(table.columns)}"
        raise UserError(f"{source} has no column {column!r} ({setting}); {mend}")
    return table[column].to_numpy(dtype=object)


def sample_conditions(source: str, path: str, columns: Mapping[str, str], ids: Names) -> Conditions:
    """The conditions of the given samples of `source` out of the table at `path`."""
    table = read_table(path)
    samples = list(required_column(path, table, columns, "sample", f"the conditions in {path}"))
    where: dict[str, int] = {}
    for k, sample in enumerate(samples):
        if not sample:
            raise UserError(
                f"{path}: {table.index[k]} has no sample id; fill it in or remove the row"
            )
        if sample in where:
            raise UserError(
                f"{path}: sample {sample!r} stands twice, at {table.index[where[sample]]} and "
                f"{table.index[k]}; remove one of them"
            )
        where[sample] = k
    rows = [where.get(str(sample), -1) for sample in ids]
    if max(rows) < 0:
        raise UserError(
            f"{path}: none of its {len(samples)} samples (such as {samples[0]!r}, "
            f"{table.index[0]}) is in {source}, whose samples are called like {str(ids[0])!r}; "
            "correct the ids or columns.sample"
        )
    blank = pd.DataFrame({name: [""] for name in table.columns}, dtype=object)
    aligned = pd.concat([table, blank]).iloc[rows].reset_index(drop=True)
    return Conditions(path, aligned, ["" if r < 0 else str(table.index[r]) for r in rows], columns)


def own_conditions(source: str, matrix: Matrix, columns: Mapping[str, str]) -> Conditions:
    """The conditions that a matrix file itself holds as annotations."""
    table = matrix.table.reset_index(drop=True).apply(as_text)
    return Conditions(source, table, [f"sample {str(i)!r}" for i in matrix.ids], columns)


def numeric_doses(conditions: Conditions, rows: Sequence[int]) -> np.ndarray:
    """(len(rows),) float64 doses."""
    doses = conditions.column("dose", 'dose="highest"')[list(rows)]
    numbers = pd.to_numeric(pd.Series(doses, dtype=object), errors="coerce").to_numpy(
        dtype=np.float64
    )
    if np.isnan(numbers).any():
        k = int(np.flatnonzero(np.isnan(numbers))[0])
        raise UserError(
            f"{conditions.source}: {conditions.places[rows[k]]}: dose {doses[k]!r} in column "
            f'{conditions.columns["dose"]!r} is not a number; write numbers in one unit, or set dose="all"'
        )
    return numbers


def _listed(names: Iterable[str]) -> str:
    names = [repr(str(name)) for name in names]
    return (", ".join(names[:12]) + (", ..." if len(names) > 12 else "")) or "none"
