"""The conditions of expression profiles: cell line, drug, dose, time, batch and role of a sample.

They come from a table beside the matrix or from the matrix's own annotations; the user's settings
say which column holds what. Everything is text, "" where unknown; a line, a drug, a dose or a time
that is spelled in several ways is in the first of these spellings (`data.identity`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data import identity
from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.checks import quoted_list, required_column
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.names import Names
from omics_jax.data.formats.read import read_accounted_table
from omics_jax.data.perturbation.settings import (
    CONDITIONS,
    OPTIONAL_COLUMNS,
    missing_values,
    named_columns,
)
from omics_jax.data.vocabulary import Missing, blank_unknown
from omics_jax.errors import UserError

_SHOWN = 4  # spellings in one note


@dataclass(frozen=True)
class Conditions:
    """Conditions of n samples.

    Attributes:
      source: the file, for messages.
      table: n rows of text columns under the file's own names.
      places: (n,) where each row stands in `source`, "" for a sample that the table does not name.
      columns: canonical name -> column of the table, "" where the settings name none.
      notes: sentences on cells that are unknown, or are read in another spelling.
    """

    source: str
    table: pd.DataFrame
    places: list[str]
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()

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
        return self.column(name, f"--config.data.columns.{name}")

    def take(self, rows: Sequence[int]) -> Conditions:
        """The conditions of these rows, in this order."""
        table = self.table.iloc[list(rows)]
        places = [self.places[row] for row in rows]
        return replace(self, table=table, places=places)

    def doses(self) -> identity.Quantities:
        """The doses as numbers, in the unit of the cell or of the column of units."""
        return identity.doses(self.column_or_blank("dose"), self.column_or_blank("dose_unit"))

    def times(self) -> identity.Quantities:
        """The times as numbers."""
        return identity.times(self.column_or_blank("time"), self.column_or_blank("time_unit"))

    def uses(self, settings) -> list[Use]:
        """What the columns of the table are used as."""
        source = Path(self.source).name
        used = {column: name for name, column in self.columns.items() if column in self.table}
        for name, setting in named_columns(settings).items():
            if name in self.table:
                used.setdefault(name, setting)
        unused = tuple(str(name) for name in self.table if name not in used)
        uses = [Use(source, "columns", name, (column,)) for column, name in used.items()]
        if unused:
            uses.append(Use(source, "columns", "left out", unused, "no setting names them"))
        return uses


def matrix_conditions(
    source: str, matrix: Matrix, columns: Mapping[str, str], settings
) -> Conditions:
    """The conditions that a matrix file itself holds as annotations."""
    table = matrix.table.reset_index(drop=True).apply(as_text)
    places = [f"sample {str(name)!r}" for name in matrix.ids]
    return in_one_spelling(Conditions(source, table, places, columns), settings)


def read_sample_conditions(
    source: str, path: str, columns: Mapping[str, str], ids: Names, settings
) -> Conditions:
    """The conditions of the samples `ids` of the matrix `source`, from the table at `path`.

    Raises:
      UserError: a row without a sample id, a sample twice, or none of the samples.
    """
    table, skipped = read_accounted_table(path)
    samples = list(required_column(path, table, columns, "sample", f"the conditions in {path}"))
    row_of_sample, notes = _index_samples(path, table, samples)
    notes += [f"{use}." for use in skipped]
    rows = [row_of_sample.get(str(name), -1) for name in ids]
    if max(rows) < 0:
        raise UserError(
            f"{path}: none of its {len(samples)} samples (such as {samples[0]!r}, "
            f"{table.index[0]}) is in {source}, whose samples are called like {str(ids[0])!r}; "
            "correct the ids or --config.data.columns.sample"
        )
    # Row -1, the last, stands for the samples that the table does not name.
    blank = pd.DataFrame({name: [""] for name in table.columns}, dtype=object)
    aligned = pd.concat([table, blank]).iloc[rows].reset_index(drop=True)
    places = ["" if row < 0 else str(table.index[row]) for row in rows]
    notes += _unmatched_notes(source, path, list(row_of_sample), list(map(str, ids)))
    conditions = Conditions(path, aligned, places, columns, tuple(notes))
    return in_one_spelling(conditions, settings)


def _unmatched_notes(
    source: str, path: str, samples: Sequence[str], ids: Sequence[str]
) -> list[str]:
    """On samples of the table that are not in the matrix, and on ids that almost match."""
    in_matrix, in_table = set(ids), set(samples)
    others = [sample for sample in samples if sample not in in_matrix]
    if not others:
        return []
    table, matrix = Path(path).name, Path(source).name
    note = (
        f"{table}: {len(others)} of its {len(samples)} samples ({quoted_list(others, 3)}) are not "
        f"in {matrix} and not used."
    )
    near = identity.near_matches([name for name in ids if name not in in_table], others)
    if not near:
        return [note]
    name, sample = next(iter(near.items()))
    return [
        note,
        f"{len(near)} samples of {matrix} are almost called like samples of {table} ({name!r} and "
        f"{sample!r}), which does not count: use the same ids in both.",
    ]


def _index_samples(
    path: str, table: pd.DataFrame, samples: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """sample -> its row, and a note on rows that repeat an earlier one."""
    row_of_sample: dict[str, int] = {}
    repeated = []
    for row, sample in enumerate(samples):
        place = table.index[row]
        if not sample:
            raise UserError(f"{path}: {place} has no sample id; fill it in or remove the row")
        first = row_of_sample.setdefault(sample, row)
        if first == row:
            continue
        if not table.iloc[row].equals(table.iloc[first]):
            raise UserError(
                f"{path}: sample {sample!r} occurs twice, at {table.index[first]} and {place}, "
                "with different conditions; remove one of them"
            )
        repeated.append(sample)
    if not repeated:
        return row_of_sample, []
    some = count_phrase(len(repeated), "row", repeated)
    return row_of_sample, [f"{Path(path).name}: {some} the same as an earlier one."]


# --- one spelling ---------------------------------------------------------------------------------


def in_one_spelling(conditions: Conditions, settings) -> Conditions:
    """The conditions with "" for what is unknown and one spelling of each line, drug, dose, time.

    Every column counts that the settings name, the roles' for its unknown words alone.
    """
    columns = _columns_at_hand(conditions)
    conditions = replace(conditions, columns=columns)
    names = (*CONDITIONS, "dose_unit", "time_unit", "role", *named_columns(settings))
    known = list(dict.fromkeys(columns.get(name, name) for name in names))
    conditions, notes = _blank_unknown(conditions, known, missing_values(settings))
    conditions = _name_units(_name_units(conditions, "dose"), "time")
    table = conditions.table.copy(deep=False)
    name_of_column = {column: name for name, column in columns.items()}
    for column in known:
        if column not in table or column in (columns["role"], columns["sample"]):
            continue
        forms = _forms(conditions, name_of_column.get(column, ""), table[column])
        table[column], replaced = identity.one_spelling(table[column], forms)
        notes += _spelling_note(conditions.source, column, replaced)
    return replace(conditions, table=table, notes=(*conditions.notes, *notes))


def _columns_at_hand(conditions: Conditions) -> dict[str, str]:
    """The columns by canonical name, without those that a file may lack, and with those of units.

    Without a setting the units of a column are those of the column with _unit behind its name.
    """
    columns = dict(conditions.columns)
    for name, usual in OPTIONAL_COLUMNS.items():
        if columns[name] == usual and usual not in conditions.table:
            columns[name] = ""
    for name in ("dose", "time"):
        candidate = f"{columns[name]}_unit"
        if not columns[f"{name}_unit"] and columns[name] and candidate in conditions.table:
            columns[f"{name}_unit"] = candidate
    return columns


def _blank_unknown(
    conditions: Conditions, columns: Sequence[str], missing: Missing
) -> tuple[Conditions, list[str]]:
    """The conditions with "" for every word that means unknown, and notes that count them."""
    table = conditions.table.copy(deep=False)
    notes = []
    for column in columns:
        if column in table:
            table[column], counts = blank_unknown(table[column].to_numpy(object), missing)
            words = [f"{count} {word!r}" for word, count in counts.items()]
            if words:
                notes.append(
                    f"{Path(conditions.source).name}: in column {column!r} unknown are "
                    f"{_listed(words)}."
                )
    return replace(conditions, table=table), notes


def _name_units(conditions: Conditions, name: str) -> Conditions:
    """Doses or times with their unit behind the number, where the column of units holds several."""
    if not (conditions.has(name) and conditions.has(f"{name}_unit")):
        return conditions
    units = conditions.column_or_blank(f"{name}_unit")
    cells = conditions.column_or_blank(name)
    known = {unit.casefold() for unit, cell in zip(units, cells, strict=True) if unit and cell}
    if len(known) < 2:
        return conditions
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    named = [
        f"{cell} {unit}".strip() if is_bare else cell
        for cell, unit, is_bare in zip(cells, units, numbers.notna(), strict=True)
    ]
    table = conditions.table.copy(deep=False)
    table[conditions.columns[name]] = np.asarray(named, object)
    return replace(conditions, table=table)


def _forms(conditions: Conditions, name: str, cells: pd.Series) -> list[str]:
    """Of each cell of a column what is equal for spellings of the same; by its canonical name."""
    if name == "cell_line":
        return [identity.cell_line_form(cell) for cell in cells]
    if name == "drug":
        return identity.drug_forms(cells)
    labels = [identity.label_form(cell) for cell in cells]
    if name not in ("dose", "time"):
        return labels
    quantities = conditions.doses() if name == "dose" else conditions.times()
    return [number or label for number, label in zip(quantities.labels(), labels, strict=True)]


def _spelling_note(source: str, column: str, replaced: Mapping[str, Sequence[str]]) -> list[str]:
    if not replaced:
        return []
    shown = [
        f"{_listed([repr(other) for other in spellings])} as {one!r}"
        for one, spellings in replaced.items()
    ]
    return [f"{Path(source).name}: column {column!r} is read with {_listed(shown)}."]


def _listed(phrases: Sequence[str]) -> str:
    """The first phrases, and how many more there are."""
    more = f" and {len(phrases) - _SHOWN} more" if len(phrases) > _SHOWN else ""
    return ", ".join(phrases[:_SHOWN]) + more
