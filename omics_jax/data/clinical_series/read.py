"""`read_series`: clinical time series of patients, in hourly (or other) bins, from any form users
have them in.

Source of the binning and of the challenge's 35 variables: the preprocessing of BRITS and CSAI (mean
within an hour, first 48 hours). Left out are scaling, which is fitted on training rows elsewhere,
and dropping anyone: patients without any observation stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.clinical_series import series_arrays
from omics_jax.data.clinical_series.challenge2012 import ARCHIVES, DESCRIPTORS, read_challenge
from omics_jax.data.clinical_series.long_table import SUFFIXES, read_long_table
from omics_jax.data.clinical_series.observations import (
    Observations,
    binned,
    first_values,
    step_names,
)
from omics_jax.data.clinical_series.outcomes import with_outcomes
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.files import existing_file, nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError

Tell = Callable[[int, int, str], None]


def read_series(settings, on_progress: Tell = lambda done, total, what: None) -> Dataset:
    """Reads series of patients.

    Args:
      settings: an object with these attributes (`config.data` of a run).
        path: one of
          a folder, .tar, .tar.gz or .tar.xz of raw records of the PhysioNet/CinC Challenge 2012;
          an .npz or HDF5 (.h5, .hdf5) of X (n, T, D), NaN = missing, and optionally y (n,) of 0 and
          1, X_ori (n, T, D) with the values held out of X, ids (n,), groups (n,), features (D,),
          times (T,) or (n, T) in hours, static
          (n, S), static_features (S,); or of these in each of train, val and test ("train/X" or
          "train_X");
          an .npy of X;
          a long table (.csv, .tsv, .txt, also .gz, or .parquet) with a row per measurement.
        outcomes: a table with one row per record, "" = none. label: its column of 0 and 1.
        outcome_id: its id column. columns: mapping from id, time, variable, value (and group, where
        ids of one group must not be split) to the
          columns of a long table. time_unit: "hours", "minutes" or "days" of its times; dates are
          accepted too.
        hours: the window from admission. bin_hours: the width of a bin, of which the window is a
          multiple; also the step of arrays without times, which are otherwise taken as they are.
        variables: the series to keep, in this order; () = the challenge's 35 in the order of CSAI,
          else all, in the order of the file's arrays or sorted by name.
        statics: variables whose first known value in the window describes the patient; () = the
          challenge's Age, Gender, Height, Weight, ICUType, else none (all of the array `static`).
          That list itself asks, in other files, for those of them that are there.
      tell: called with (done, total, "records") about every 200 records.

    Returns:
      a Dataset of n patients. Modalities: "series" (n, T, D), the mean of the values in each bin;
      "hours" (n, T), when each bin begins, named by these hours, or step 0, step 1, ... where rows
      differ in them; "static" (n, S) where there are descriptors, the challenge's ICUType as four
      columns of 0 and 1; "truth" (n, T, D) where X_ori is given: the values it has and X has not.
      targets: {label: 0 or 1} ("label" for an array y), masked where unknown; {} without outcomes.
      table: set (the file or folder), and split where the file has them.

    Raises:
      UserError: for anything wrong with settings or files.
    """
    n_steps = _steps(settings)
    path, kind = _source(settings.path)
    if kind == "arrays":
        dataset = series_arrays.read_arrays(path, settings)
    elif kind == "challenge":
        dataset = _arranged(read_challenge(path, on_progress), settings, n_steps)
    else:
        observations = read_long_table(
            path, settings.columns, settings.time_unit, tuple(settings.statics)
        )
        dataset = _arranged(observations, settings, n_steps)
    dataset = replace(dataset, notes=(*dataset.notes, *_gaps(dataset)))
    if not dataset.modalities["series"].mask.any():
        raise UserError(
            f"{path}: not one patient has a value of "
            f"{_listed(dataset.modalities['series'].features)} in the window; check variables, "
            "hours and the unit of the times"
        )
    if not settings.outcomes:
        return dataset
    if dataset.targets:
        raise UserError(
            f"{path} holds outcomes itself (y); leave outcomes empty, or remove y from it"
        )
    return with_outcomes(dataset, settings.outcomes, settings.label, settings.outcome_id)


def _steps(settings) -> int:
    """How many bins the window has, once the settings make sense."""
    for name in ("hours", "bin_hours"):
        value = getattr(settings, name)
        if not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise UserError(
                f"{name}={value!r} is no duration; set it to a positive number of hours"
            )
    for name in ("variables", "statics"):
        value = getattr(settings, name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"{name}={value!r} must be a tuple of names; write ({value!r},)")
        if len(set(value)) < len(value):
            twice = next(item for item in value if list(value).count(item) > 1)
            raise UserError(f"{name} names {twice!r} twice; remove one of them")
    n_steps = round(settings.hours / settings.bin_hours)
    if n_steps < 1 or abs(n_steps * settings.bin_hours - settings.hours) > 1e-6 * settings.hours:
        raise UserError(
            f"hours={settings.hours:g} is no multiple of bin_hours={settings.bin_hours:g}; choose "
            "bins that fill the window"
        )
    return n_steps


def _source(path: str) -> tuple[Path, str]:
    """The path, and what it is: challenge, arrays or table."""
    if path and Path(path).expanduser().is_dir():
        return Path(path).expanduser(), "challenge"
    file = existing_file(path)
    name = file.name.lower()
    if name.endswith(ARCHIVES):
        return file, "challenge"
    if name.endswith(series_arrays.SUFFIXES):
        return file, "arrays"
    if name.removesuffix(".gz").endswith(SUFFIXES) and not name.endswith(".parquet.gz"):
        return file, "table"
    known = ", ".join((*ARCHIVES, *series_arrays.SUFFIXES, *SUFFIXES))
    raise UserError(
        f"{file}: its suffix names no known format of series; give a folder of records, or one of "
        f"{known}"
    )


def _arranged(observations: Observations, settings, n_steps: int) -> Dataset:
    """The dataset of single observations."""
    statics = _statics(observations, tuple(settings.statics))
    variables = _variables(observations, tuple(settings.variables), statics)
    series, notes = binned(observations, variables, n_steps, settings.bin_hours)
    n = len(observations.ids)
    starts = np.tile(np.arange(n_steps, dtype=np.float32) * np.float32(settings.bin_hours), (n, 1))
    modalities = {
        "series": series,
        "hours": Modality(starts, np.ones(starts.shape, bool), step_names(starts[0])),
    }
    if statics:
        modalities["static"] = first_values(observations, statics, n_steps * settings.bin_hours)
    left = sorted(set(observations.names) - {*variables, *statics, "RecordID"})
    if left:
        notes = (
            *notes,
            f"{count_phrase(len(left), 'variable', left)} not among those to keep, and left out.",
        )
    return Dataset(
        ids=observations.ids,
        groups=observations.groups,
        modalities=modalities,
        table=pd.DataFrame({"set": observations.sets}, index=observations.ids),
        notes=(
            f"{Path(observations.source).name} holds {n:,} patients.",
            *observations.notes,
            *notes,
        ),
    )


def _statics(observations: Observations, wanted: tuple[str, ...]) -> tuple[str, ...]:
    if wanted == DESCRIPTORS and not observations.statics:
        return tuple(name for name in wanted if name in observations.names)
    _check_found(observations, "static", wanted)
    return wanted or observations.statics


def _variables(
    observations: Observations, wanted: tuple[str, ...], statics: tuple[str, ...]
) -> tuple[str, ...]:
    _check_found(observations, "variable", wanted)
    found = tuple(str(name) for name in np.sort(observations.names) if name not in statics)
    chosen = wanted or observations.variables or found
    if not chosen:
        raise UserError(
            f"{observations.source} holds no variable beside the statics {_listed(statics)}; "
            "shorten statics"
        )
    return chosen


def _check_found(observations: Observations, kind: str, wanted: Sequence[str]):
    """Every wanted name is in the file, or is one that this format knows and these patients happen
    to lack.
    """
    known = {*map(str, observations.names), *observations.variables, *observations.statics}
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            mend = f"did you mean {near!r}?" if near else f"it has {_listed(observations.names)}"
            raise UserError(f"{observations.source} has no {kind} {name!r}; {mend}")


def _gaps(dataset: Dataset) -> list[str]:
    """Sentences on patients and variables without any observation, and on how much is missing."""
    series = dataset.modalities["series"]
    seen, found = series.observed_rows, series.mask.any(axis=(0, 1))
    notes = []
    if seen.any():
        missing = 1 - series.mask[seen].mean()
        notes.append(
            f"{int(seen.sum()):,} patients have observations of {int(found.sum())} variables in "
            f"{series.mask.shape[1]} steps, {missing:.1%} of the cells missing."
        )
    if not seen.all():
        nobody = count_phrase(int((~seen).sum()), "patient", dataset.ids[~seen].tolist())
        notes.append(f"{nobody} without any observation.")
    if not found.all():
        never = count_phrase(int((~found).sum()), "variable", series.features[~found].tolist())
        notes.append(f"{never} never observed; kept, but nothing can be learned of them.")
    return notes


def _listed(names: Sequence[str] | np.ndarray) -> str:
    return ", ".join(repr(str(name)) for name in names[:8]) + (", ..." if len(names) > 8 else "")
