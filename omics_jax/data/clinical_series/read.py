"""Clinical time series of patients as a `Dataset`, in hourly (or other) bins.

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

from omics_jax.data.clinical_series.challenge2012 import DESCRIPTORS, read_challenge
from omics_jax.data.clinical_series.long_table import read_long_table
from omics_jax.data.clinical_series.observations import (
    Observations,
    bin_means,
    first_values,
    step_names,
)
from omics_jax.data.clinical_series.outcomes import add_outcomes
from omics_jax.data.clinical_series.series_arrays import read_arrays
from omics_jax.data.clinical_series.settings import check_settings, count_steps, locate_source
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.checks import quoted_list
from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.options import below_detection
from omics_jax.errors import UserError

OnProgress = Callable[[int, int, str], None]


def read_series(settings, on_progress: OnProgress = lambda done, total, what: None) -> Dataset:
    """Reads series of patients.

    Args:
      settings: an object with the attributes that `settings` describes (`config.data` of a run).
      on_progress: called with (done, total, "records") about every 200 records.

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
    check_settings(settings)
    path, kind = locate_source(settings)
    if kind == "arrays":
        dataset = read_arrays(path, settings)
    else:
        observations = _read_observations(path, kind, settings, on_progress)
        dataset = _dataset_of(observations, settings)
    dataset = replace(dataset, notes=(*dataset.notes, *_describe_gaps(dataset)))
    series = dataset.modalities["series"]
    if not series.mask.any():
        raise UserError(
            f"{path}: not one patient has a value of {quoted_list(series.features)} in the window; "
            "check variables, hours and the unit of the times"
        )
    if not settings.outcomes:
        return dataset
    if dataset.targets:
        raise UserError(
            f"{path} holds outcomes itself (y); leave outcomes empty, or remove y from it"
        )
    return add_outcomes(dataset, settings.outcomes, settings.label, settings.outcome_id)


def _read_observations(path: Path, kind: str, settings, on_progress: OnProgress) -> Observations:
    if kind == "challenge":
        return read_challenge(path, on_progress)
    return read_long_table(
        path,
        settings.columns,
        settings.time_unit,
        tuple(settings.statics),
        below_detection(settings),
    )


def _dataset_of(observations: Observations, settings) -> Dataset:
    """The dataset of single observations."""
    n_steps = count_steps(settings)
    statics = _choose_statics(observations, tuple(settings.statics))
    variables = _choose_variables(observations, tuple(settings.variables), statics)
    series, bin_notes = bin_means(observations, variables, n_steps, settings.bin_hours)
    modalities = {
        "series": series,
        "hours": _bin_starts(len(observations.ids), n_steps, settings.bin_hours),
    }
    if statics:
        window = n_steps * settings.bin_hours
        modalities["static"] = first_values(observations, statics, window)
    return Dataset(
        ids=observations.ids,
        groups=observations.groups,
        modalities=modalities,
        table=pd.DataFrame({"set": observations.sets}, index=observations.ids),
        notes=(
            f"{Path(observations.source).name} holds {len(observations.ids):,} patients.",
            *observations.notes,
            *bin_notes,
            *_left_out_note(observations, {*variables, *statics}),
        ),
    )


def _bin_starts(n: int, n_steps: int, bin_hours: float) -> Modality:
    """(n, T) hours since admission at which each bin begins."""
    starts = np.arange(n_steps, dtype=np.float32) * np.float32(bin_hours)
    hours = np.tile(starts, (n, 1))
    return Modality(hours, np.ones(hours.shape, bool), step_names(starts))


# --- which variables ------------------------------------------------------------------------------


def _choose_statics(observations: Observations, requested: tuple[str, ...]) -> tuple[str, ...]:
    if requested == DESCRIPTORS and not observations.statics:
        # The configuration's default names the challenge's descriptors; other files may lack them.
        return tuple(name for name in requested if name in observations.names)
    _check_known(observations, "static", requested)
    return requested or observations.statics


def _choose_variables(
    observations: Observations, requested: tuple[str, ...], statics: tuple[str, ...]
) -> tuple[str, ...]:
    _check_known(observations, "variable", requested)
    names = [str(name) for name in np.sort(observations.names)]
    all_but_statics = tuple(name for name in names if name not in statics)
    chosen = requested or observations.variables or all_but_statics
    if not chosen:
        raise UserError(
            f"{observations.source} holds no variable other than the statics "
            f"{quoted_list(statics)}; shorten statics"
        )
    return chosen


def _check_known(observations: Observations, kind: str, requested: Sequence[str]):
    """Refuses a name that is neither in the file nor known to its format."""
    known = {*map(str, observations.names), *observations.variables, *observations.statics}
    for name in requested:
        if name not in known:
            near = nearest(name, known)
            some = quoted_list(observations.names)
            mend = f"did you mean {near!r}?" if near else f"it has {some}"
            raise UserError(f"{observations.source} has no {kind} {name!r}; {mend}")


# --- notes ----------------------------------------------------------------------------------------


def _left_out_note(observations: Observations, used: set[str]) -> list[str]:
    left_out = sorted(set(observations.names) - used - {"RecordID"})
    if not left_out:
        return []
    some = count_phrase(len(left_out), "variable", left_out)
    return [f"{some} not among those to keep, and left out."]


def _describe_gaps(dataset: Dataset) -> list[str]:
    """Sentences on patients and variables without any observation, and on how much is missing."""
    series = dataset.modalities["series"]
    has_values = series.observed_rows
    is_observed = series.mask.any(axis=(0, 1))
    notes = []
    if has_values.any():
        missing = 1 - series.mask[has_values].mean()
        notes.append(
            f"{int(has_values.sum()):,} patients have observations of {int(is_observed.sum())} "
            f"variables in {series.mask.shape[1]} steps, {missing:.1%} of the cells missing."
        )
    if not has_values.all():
        empty_ids = dataset.ids[~has_values].tolist()
        empty = count_phrase(len(empty_ids), "patient", empty_ids)
        notes.append(f"{empty} without any observation.")
    if not is_observed.all():
        unobserved_names = series.features[~is_observed].tolist()
        unobserved = count_phrase(len(unobserved_names), "variable", unobserved_names)
        notes.append(f"{unobserved} never observed; kept, but nothing can be learned about them.")
    return notes
