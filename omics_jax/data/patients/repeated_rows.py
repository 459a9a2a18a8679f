"""Several rows of one id in a table about patients: merged where they agree, refused where not.

Rows agree if each column that is used holds one known value for the id, as text or as a number;
what is unknown agrees with everything and is filled from the others. Of a column that nobody uses
the first row counts.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.names import Names
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError


def merge_repeated(
    path: str, table: pd.DataFrame, ids: Names, used: Collection[str], missing: Missing
) -> tuple[pd.DataFrame, Remarks]:
    """The table with one row per id, in the order of first appearance, and a note on the others.

    Args:
      path: the file, for messages.
      table: n rows of text, indexed by their places in the file.
      ids: (n,) of the rows.
      used: the columns whose cells must agree.

    Raises:
      UserError: two rows of an id disagree; the message has both places and cells.
    """
    codes, unique = pd.factorize(np.asarray(ids, dtype=object))
    if len(unique) == len(codes):
        return table, Remarks()
    first_rows = np.flatnonzero(~pd.Series(codes).duplicated())
    merged = table.iloc[first_rows].copy()
    repeated = np.flatnonzero(np.bincount(codes) > 1)
    for code in repeated:
        rows = table.iloc[np.flatnonzero(codes == code)]
        for column in used:
            cell = _agreed_cell(path, rows, str(unique[code]), column, missing)
            merged.iloc[code, merged.columns.get_loc(column)] = cell
    names = [str(unique[code]) for code in repeated]
    what = ", ".join(used) or "no column is used"
    some = count_phrase(len(repeated), "patient", names)
    sentence = f"{path}: {some} in several rows that agree ({what}) and were merged."
    further = table.index[np.setdiff1d(np.arange(len(table)), first_rows)].astype(str)
    use = Use(path, "rows", "merged", tuple(further), "further rows of the same patients")
    return merged, note(sentence) + Remarks(uses=(use,))


def _agreed_cell(path: str, rows: pd.DataFrame, name: str, column: str, missing: Missing) -> str:
    """The one known cell of the rows of an id; an unknown one, as it is written, if none is."""
    cells = rows[column].astype(str)
    known = cells[[bool(cell) and not missing.is_word(cell) for cell in cells]]
    values = [_comparable(cell) for cell in known]
    for value, cell, place in zip(values, known, known.index, strict=True):
        if value != values[0]:
            raise UserError(
                f"{path}: the patient {name!r} has {len(rows)} rows that disagree: {column!r} is "
                f"{known.iloc[0]!r} at {known.index[0]} and {cell!r} at {place}; keep one row of "
                "each patient"
            )
    return str((known if len(known) else cells).iloc[0])


def _comparable(cell: str) -> str | float:
    """A number by its value, text in lower case."""
    number = pd.to_numeric(cell, errors="coerce")
    return cell.strip().casefold() if np.isnan(number) else float(number)
