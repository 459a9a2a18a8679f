"""Single measurements of patients (who, when, what, how much), and the two ways to make arrays.

Bins as in the preprocessing of PhysioNet 2012 for BRITS and CSAI: the mean of each hour, open at
its end, so that a value at hour 48 is after a window of 48 hours. Nothing is clipped, rescaled or
imputed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Real

from omics_jax.data.dataset.account import Use
from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError

STEP_PREFIX = "step"
OUTSIDE = ("Values before admission", "Values after the window")  # how notes on them begin
# A quotient such as 0.3 / 0.1 falls just short of the bin it belongs to.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Observations:
    """k measurements of n patients.

    Attributes:
      source: the file, for messages.
      ids: (n,) str, unique.
      groups: (n,) str.
      sets: (n,) str, the file or folder that each patient comes from.
      names: (v,) str, the variables in the file.
      patient, variable: positions in `ids` and `names`.
      hours: since admission, negative before it, NaN for a descriptor without a time.
      values: finite.
      variables, statics: the series and descriptors of this format by default; () = all that the
        file has, and none.
      levels: descriptor -> its codes, for those that are categories.
      notes: sentences on what was understood or left out.
      warnings: sentences on what looks wrong.
      uses: what became of the columns of the file.
    """

    source: str
    ids: np.ndarray
    groups: np.ndarray
    sets: np.ndarray
    names: np.ndarray
    patient: Int[np.ndarray, " k"]
    variable: Int[np.ndarray, " k"]
    hours: Float64[np.ndarray, " k"]
    values: Float64[np.ndarray, " k"]
    variables: tuple[str, ...] = ()
    statics: tuple[str, ...] = ()
    levels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()

    def filter_rows(self, is_selected: Bool[np.ndarray, " k"]) -> Observations:
        """The selected measurements; every patient stays."""
        return replace(
            self,
            patient=self.patient[is_selected],
            variable=self.variable[is_selected],
            hours=self.hours[is_selected],
            values=self.values[is_selected],
        )

    def select_variables(self, names: Sequence[str]) -> tuple[Observations, np.ndarray]:
        """The measurements of the named variables, and the position in `names` of each."""
        position = {name: j for j, name in enumerate(names)}
        column_of_variable = [position.get(str(name), -1) for name in self.names]
        columns = np.array(column_of_variable, dtype=np.int64)[self.variable]
        is_selected = columns >= 0
        return self.filter_rows(is_selected), columns[is_selected]


def check_values(path, values: Float[np.ndarray, " k"], place: Callable[[int], str]):
    """Refuses a value that is infinite in float32; `place` says where the i-th stands."""
    wrong = np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)
    if len(wrong):
        raise UserError(
            f"{path}: {place(wrong[0])}: the value {values[wrong[0]]} is infinite; write a finite "
            "number, or NA where nothing was measured"
        )


def step_names(hours: Real[np.ndarray, "*n T"]) -> np.ndarray:
    """(T,) names of a series' steps: their hours "0", "0.5", ..., or "step 0", ... if rows differ.

    hours: (T,) of all rows, or (n, T).
    """
    if hours.ndim == 2 and (hours != hours[0]).any():
        n_steps = hours.shape[1]
        return np.array([f"{STEP_PREFIX} {k}" for k in range(n_steps)])
    if hours.ndim == 2:
        hours = hours[0]
    names = []
    for hour in np.asarray(hours, np.float32):
        names.append(np.format_float_positional(hour, trim="-"))
    return np.array(names)


def bin_means(
    observations: Observations, names: Sequence[str], n_steps: int, bin_hours: float
) -> tuple[Modality, tuple[str, ...]]:
    """The mean of each patient's values per bin, and notes on what fell outside or together.

    Bin t holds bin_hours·t <= hours < bin_hours·(t + 1).

    Returns:
      a modality of values (n, n_steps, len(names)), and the notes.
    """
    window = n_steps * bin_hours
    selected, column = observations.select_variables(names)
    n_before = int(np.sum(is_before(selected.hours)))
    n_after = int(np.sum(is_after(selected.hours, window)))
    is_inside = ~is_before(selected.hours) & ~is_after(selected.hours, window)
    is_inside &= ~np.isnan(selected.hours)
    selected = selected.filter_rows(is_inside)
    column = column[is_inside]

    steps = np.floor(selected.hours / bin_hours + _ROUNDING).astype(np.int64)
    step = np.clip(steps, 0, n_steps - 1)  # rounding: the times are inside
    row = selected.patient.astype(np.int64)
    cell = (row * n_steps + step) * len(names) + column
    cells, cell_of_value, counts = np.unique(cell, return_inverse=True, return_counts=True)
    totals = np.bincount(cell_of_value, selected.values, len(cells))
    shape = (len(observations.ids), n_steps, len(names))
    values = np.zeros(shape, np.float32)
    mask = np.zeros(shape, bool)
    values.reshape(-1)[cells] = totals / counts
    mask.reshape(-1)[cells] = True

    notes = []
    if n_before:
        notes.append(f"{OUTSIDE[0]} (hour 0), left out: {n_before:,}.")
    if n_after:
        notes.append(f"{OUTSIDE[1]} of {window:g} hours, left out: {n_after:,}.")
    n_repeated = _count_repeated(selected, column)
    if n_repeated:
        notes.append(
            "Values with the patient, time and variable of another, averaged with it: "
            f"{n_repeated:,}."
        )
    return Modality(values, mask, np.asarray(names, dtype=str)), tuple(notes)


def is_before(hours: Float64[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
    """Which times are before admission; unknown ones are not."""
    return hours < -_ROUNDING


def is_after(hours: Float64[np.ndarray, " k"], window: float) -> Bool[np.ndarray, " k"]:
    """Which times are after the window, that is at its end or later; unknown ones are not."""
    return hours >= window - _ROUNDING


def _count_repeated(observations: Observations, column: np.ndarray) -> int:
    """How many values have the patient, time and variable of an earlier one."""
    keys = {"patient": observations.patient, "column": column, "hours": observations.hours}
    is_repeated = pd.DataFrame(keys).duplicated()
    return int(is_repeated.sum())


def first_values(observations: Observations, names: Sequence[str], window: float) -> Modality:
    """The first known value of each descriptor up to the window's end, per patient.

    A value from before admission describes the patient, too. Where several values share the first
    time, the smallest counts.

    Returns:
      a modality of values (n, S). A descriptor with levels becomes one column per level,
      "ICUType=1" and so on, 1 where it is that level; all other descriptors are one column.
    """
    values = _first_values(observations, names, window)
    columns, features = [], []
    for j, name in enumerate(names):
        levels = observations.levels.get(name, ())
        if not levels:
            columns.append(values[:, j])
            features.append(name)
            continue
        _check_levels(observations, name, values[:, j], levels)
        is_unknown = np.isnan(values[:, j])
        for level in levels:
            columns.append(np.where(is_unknown, np.nan, values[:, j] == level))
            features.append(f"{name}={level}")
    stacked = np.stack(columns, axis=1).astype(np.float32)
    return Modality(np.nan_to_num(stacked), ~np.isnan(stacked), np.asarray(features, dtype=str))


def _first_values(
    observations: Observations, names: Sequence[str], window: float
) -> Float64[np.ndarray, "n S"]:
    """NaN where nothing is known; a value without a time comes before all others."""
    selected, column = observations.select_variables(names)
    is_inside = ~is_after(selected.hours, window)
    selected = selected.filter_rows(is_inside)
    column = column[is_inside]
    hours = np.nan_to_num(selected.hours, nan=-np.inf, neginf=-np.inf)
    # The last assignment to a cell stands, so the earliest value is written last.
    order = np.lexsort((selected.values, hours))
    latest_first = order[::-1]
    row = selected.patient[latest_first]
    values = np.full((len(observations.ids), len(names)), np.nan)
    values[row, column[latest_first]] = selected.values[latest_first]
    return values


def _check_levels(observations: Observations, name: str, values: np.ndarray, levels: Sequence[int]):
    is_known = ~np.isnan(values)
    wrong = np.flatnonzero(is_known & ~np.isin(values, levels))
    if len(wrong):
        row = wrong[0]
        raise UserError(
            f"{observations.source}: {name} of {observations.ids[row]} is {values[row]:g}; correct "
            f"it to one of {', '.join(map(str, levels))}"
        )
