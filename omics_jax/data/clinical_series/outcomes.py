"""Yes-or-no outcomes of patients: a table with a row per record, joined to a dataset by its ids.

Such as `Outcomes-a.txt` of the PhysioNet/CinC Challenge 2012. Left out are outcomes with more than
two values and times to an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Float64

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.checks import required_column
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.read import read_table
from omics_jax.errors import UserError


def add_outcomes(dataset: Dataset, path: str, label: str, id_column: str) -> Dataset:
    """The dataset with the target `label`, 0 or 1, from the table at `path`.

    It is masked where the table has no row or no value.

    Raises:
      UserError: for a missing column, an id twice, a value that is neither 0 nor 1, or a table of
        other records.
    """
    table = read_table(path)
    names = required_column(path, table, {"outcome_id": id_column}, "outcome_id", "outcome_id")
    cells = required_column(path, table, {"label": label}, "label", "label")
    places = [str(place) for place in table.index]
    row_of_id = _index_ids(path, id_column, names, places)
    rows = np.array([row_of_id.get(str(name), -1) for name in dataset.ids])
    if rows.max() < 0:
        raise UserError(
            f"{path}: not one of its {len(names):,} rows (such as {names[0]!r}) is a record that "
            f"was read (such as {str(dataset.ids[0])!r}); name the outcomes of these records, or "
            f"correct outcome_id={id_column!r}"
        )
    values = _numbers(path, cells, label, places)
    values_of_dataset = np.where(rows < 0, np.nan, values[rows])
    outcome, known = split_known(path, values_of_dataset, label, lambda i: places[rows[i]])
    if not known.any():
        raise UserError(
            f"{path}: column {label!r} is empty for every record that was read; name another label"
        )
    notes = [outcome_summary(label, outcome, known)]
    if not known.all():
        unknown = count_phrase(int((~known).sum()), "record", dataset.ids[~known].tolist())
        notes.append(
            f"{unknown} without an outcome in {Path(path).name}: used for imputation, masked as a "
            "target."
        )
    n_unused = len(row_of_id) - int((rows >= 0).sum())
    if n_unused:
        notes.append(
            f"Rows of {Path(path).name} that belong to no record that was read: {n_unused:,}."
        )
    return replace(dataset, targets={label: (outcome, known)}, notes=(*dataset.notes, *notes))


def _index_ids(
    path: str, id_column: str, names: np.ndarray, places: Sequence[str]
) -> dict[str, int]:
    """id -> its row, where every row has an id of its own."""
    row_of_id: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in row_of_id:
            raise UserError(
                f"{path}: {id_column} {name!r} occurs twice, at {places[row_of_id[name]]} and "
                f"{places[row]}; remove one of them"
            )
        row_of_id[name] = row
    return row_of_id


def split_known(
    path: str | Path, values: Float[np.ndarray, " n"], label: str, place: Callable[[int], str]
) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Outcomes, 0 where unknown, and their mask, from values of 0, 1 and NaN for unknown.

    Args:
      path: the file, for messages.
      values: as the file has them.
      label: the outcome's name.
      place: says where the i-th value stands.

    Raises:
      UserError: a value that is neither 0 nor 1.
    """
    known = ~np.isnan(values)
    wrong = np.flatnonzero(known & (values != 0) & (values != 1))
    if len(wrong):
        i = int(wrong[0])
        raise _not_binary(path, place(i), label, f"{values[i]:g}")
    return np.where(known, values, 0).astype(np.float32), known


def outcome_summary(label: str, outcome: np.ndarray, known: np.ndarray) -> str:
    """A sentence on how many outcomes are known, and 1."""
    total = int(known.sum())
    events = int(outcome[known].sum())
    share = f" ({events / total:.1%})" if total else ""
    return f"{label} is known of {total:,} patients and 1 in {events:,}{share}."


def _numbers(
    path: str, cells: np.ndarray, label: str, places: Sequence[str]
) -> Float64[np.ndarray, " rows"]:
    """NaN where empty."""
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(np.isnan(numbers) & (cells != ""))
    if len(wrong):
        row = int(wrong[0])
        raise _not_binary(path, places[row], label, repr(cells[row]))
    return numbers


def _not_binary(path: str | Path, place: str, label: str, value: str) -> UserError:
    return UserError(
        f"{path}: {place}: {label} is {value}, which is neither 0 nor 1; recode it, empty where "
        "unknown, or name another label"
    )
