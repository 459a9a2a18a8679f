"""Yes-or-no outcomes of patients: a table with a row per record, joined to a dataset by its ids.

Such as `Outcomes-a.txt` of the PhysioNet/CinC Challenge 2012. Left out are outcomes with more than
two values and times to an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.read import read_table
from omics_jax.data.perturbation.conditions import required_column
from omics_jax.errors import UserError


def with_outcomes(dataset: Dataset, path: str, label: str, id_column: str) -> Dataset:
    """The dataset with the target `label`, 0 or 1, masked where the table at `path` has no row or
    no value.

    Raises:
      UserError: for a missing column, an id twice, a value that is neither 0 nor 1, or ids that are
        all strangers.
    """
    table = read_table(path)
    names = required_column(path, table, {"outcome_id": id_column}, "outcome_id", "outcome_id")
    cells = required_column(path, table, {"label": label}, "label", "label")
    where: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in where:
            raise UserError(
                f"{path}: {id_column} {name!r} stands twice, at {table.index[where[name]]} and "
                f"{table.index[row]}; remove one of them"
            )
        where[name] = row
    rows = np.array([where.get(str(name), -1) for name in dataset.ids])
    if rows.max() < 0:
        raise UserError(
            f"{path}: not one of its {len(names):,} rows (such as {names[0]!r}) is a record that "
            f"was read (such as {str(dataset.ids[0])!r}); name the outcomes of these records, or "
            f"correct outcome_id={id_column!r}"
        )
    values = _numbers(path, cells, label, lambda row: str(table.index[row]))
    outcome, known = binary(
        path, np.where(rows < 0, np.nan, values[rows]), label, lambda i: str(table.index[rows[i]])
    )
    if not known.any():
        raise UserError(
            f"{path}: column {label!r} is empty for every record that was read; name another label"
        )
    notes = [described(label, outcome, known)]
    if not known.all():
        unknown = count_phrase(int((~known).sum()), "record", dataset.ids[~known].tolist())
        notes.append(
            f"{unknown} without an outcome in {Path(path).name}: used for imputation, masked as a "
            "target."
        )
    strangers = len(where) - int((rows >= 0).sum())
    if strangers:
        notes.append(
            f"Rows of {Path(path).name} that belong to no record that was read: {strangers:,}."
        )
    return replace(dataset, targets={label: (outcome, known)}, notes=(*dataset.notes, *notes))


def binary(
    path: str | Path, values: Float[np.ndarray, " n"], label: str, place: Callable[[int], str]
) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """(n,) outcomes and their mask, of 0, 1 and NaN for unknown; `place` says where the i-th
    stands.
    """
    known = ~np.isnan(values)
    wrong = np.flatnonzero(known & (values != 0) & (values != 1))
    if len(wrong):
        raise UserError(
            f"{path}: {place(int(wrong[0]))}: {label} is {values[wrong[0]]:g}, which is neither 0 "
            "nor 1; recode it, empty where unknown, or name another label"
        )
    return np.where(known, values, 0).astype(np.float32), known


def described(label: str, outcome: np.ndarray, known: np.ndarray) -> str:
    """A sentence on how many outcomes are known, and 1."""
    events, total = int(outcome[known].sum()), int(known.sum())
    share = f" ({events / total:.1%})" if total else ""
    return f"{label} is known of {total:,} patients and 1 in {events:,}{share}."


def _numbers(path: str, cells: np.ndarray, label: str, place: Callable[[int], str]) -> np.ndarray:
    """(rows,) float64, NaN where empty."""
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(np.isnan(numbers) & (cells != ""))
    if len(wrong):
        raise UserError(
            f"{path}: {place(int(wrong[0]))}: {label} is {cells[wrong[0]]!r}, which is neither 0 "
            "nor 1; recode it, empty where unknown, or name another label"
        )
    return numbers
