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
from jaxtyping import Int

from omics_jax.data.clinical_series.challenge2012 import DESCRIPTORS, read_challenge
from omics_jax.data.clinical_series.cleaning import alike_names, clean, single_value_warnings
from omics_jax.data.clinical_series.long_table import read_long_table
from omics_jax.data.clinical_series.observations import (
    OUTSIDE,
    Observations,
    bin_means,
    first_values,
    step_names,
)
from omics_jax.data.clinical_series.outcomes import add_outcomes
from omics_jax.data.clinical_series.series_arrays import read_arrays
from omics_jax.data.clinical_series.settings import (
    check_settings,
    count_steps,
    locate_source,
    with_defaults,
)
from omics_jax.data.clinical_series.stored_table import StoredTable, named_columns, open_table
from omics_jax.data.clinical_series.wide_table import looks_wide, read_wide_table
from omics_jax.data.dataset.account import Use
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.limits import parse_limits
from omics_jax.data.dataset.quality import describe, is_wrong
from omics_jax.data.formats.checks import quoted_list
from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.options import below_detection
from omics_jax.data.vocabulary import parse_missing
from omics_jax.errors import UserError

OnProgress = Callable[[int, int, str], None]


def read_series(
    settings,
    on_progress: OnProgress = lambda done, total, what: None,
    *,
    may_lack: bool = False,
) -> Dataset:
    """Reads series of patients.

    Args:
      settings: an object with attributes that `settings` describes (`config.data` of a run); one
        that it lacks has its default.
      on_progress: called with (done, total, "records") about every 200 records.
      may_lack: whether the file may lack variables and descriptors that the settings ask for, as
        new patients of a trained model may.

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
    settings = with_defaults(settings)
    check_settings(settings)
    path, kind = locate_source(settings)
    if kind == "arrays":
        dataset = read_arrays(path, settings, may_lack)
    else:
        observations = _read_observations(path, kind, settings, on_progress)
        dataset = _dataset_of(observations, settings, may_lack)
    dataset = replace(dataset, notes=(*dataset.notes, *_describe_gaps(dataset)))
    series = dataset.modalities["series"]
    if not series.mask.any():
        outside = " ".join(note for note in dataset.notes if note.startswith(OUTSIDE))
        raise UserError(
            f"{path}: not one patient has a value of {quoted_list(series.features)} in the window; "
            "check --config.data.variables, hours and time_unit"
            + (f" ({outside.rstrip('.')})" if outside else "")
        )
    return _with_outcomes(dataset, path, kind, settings)


def _with_outcomes(dataset: Dataset, path: Path, kind: str, settings) -> Dataset:
    """The dataset with its outcomes and, where they name them, the groups of its patients."""
    # A table names the groups itself.
    group = settings.columns.get("group", "") if kind != "table" else ""
    if not settings.outcomes:
        if group:
            raise UserError(
                f"--config.data.columns.group is {group!r}, and {path} has no columns; name a "
                "table of patients that has it with --config.data.outcomes"
                + (", or store an array groups" if kind == "arrays" else "")
            )
        return dataset
    if dataset.targets:
        raise UserError(
            f"{path} holds outcomes itself (y); leave --config.data.outcomes empty, or remove y "
            "from it"
        )
    missing = parse_missing(settings.missing_values)
    columns_and_codes = settings.label, settings.outcome_id, settings.event_value, missing, group
    return add_outcomes(dataset, settings.outcomes, *columns_and_codes)


def _read_observations(path: Path, kind: str, settings, on_progress: OnProgress) -> Observations:
    missing, limits = parse_missing(settings.missing_values), parse_limits(settings.limits)
    if kind == "challenge":
        return clean(read_challenge(path, on_progress), missing, limits)
    table = open_table(path, below_detection(settings))
    columns = named_columns(settings.columns, ("id", "time"))
    read = read_wide_table if _is_wide(table, columns, settings.layout) else read_long_table
    if read is read_long_table:
        named_columns(settings.columns, ("variable", "value"))
    asked_for = tuple(settings.variables), tuple(settings.statics)
    return clean(read(table, columns, settings.time_unit, *asked_for, missing), missing, limits)


def _is_wide(table: StoredTable, columns: dict[str, str], layout: str) -> bool:
    if layout != "auto":
        return layout == "wide"
    names_long = columns.get("variable") and columns.get("value")
    return bool(names_long) and looks_wide(table, columns)


def _dataset_of(observations: Observations, settings, may_lack: bool) -> Dataset:
    """The dataset of single observations."""
    n_steps = count_steps(settings)
    statics, static_notes, static_warnings = _choose_statics(
        observations, tuple(settings.statics), may_lack
    )
    variables = _choose_variables(observations, tuple(settings.variables), statics, may_lack)
    series, bin_notes = bin_means(observations, variables, n_steps, settings.bin_hours)
    modalities = {
        "series": series,
        "hours": _bin_starts(len(observations.ids), n_steps, settings.bin_hours),
    }
    if statics:
        window = n_steps * settings.bin_hours
        modalities["static"] = first_values(observations, statics, window)
    left_out = sorted({*map(str, observations.names)} - {*variables, *statics} - {"RecordID"})
    return Dataset(
        ids=observations.ids,
        groups=observations.groups,
        modalities=modalities,
        table=pd.DataFrame({"set": observations.sets}, index=observations.ids),
        notes=(
            f"{Path(observations.source).name} holds {len(observations.ids):,} patients.",
            *observations.notes,
            *bin_notes,
            *static_notes,
            *_left_out_note(left_out),
        ),
        warnings=(
            *observations.warnings,
            *static_warnings,
            *alike_names(observations),
            *_hidden_in_bins(observations, series),
        ),
        uses=(*observations.uses, *_uses(observations, variables, statics, left_out)),
    )


def _bin_starts(n: int, n_steps: int, bin_hours: float) -> Modality:
    """(n, T) hours since admission at which each bin begins."""
    starts = np.arange(n_steps, dtype=np.float32) * np.float32(bin_hours)
    hours = np.tile(starts, (n, 1))
    return Modality(hours, np.ones(hours.shape, bool), step_names(starts))


# --- which variables ------------------------------------------------------------------------------


def _choose_statics(
    observations: Observations, requested: tuple[str, ...], may_lack: bool
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """The descriptors, notes on values of theirs that are not used, and warnings."""
    present = tuple(name for name in requested if name in observations.names)
    is_default = requested == DESCRIPTORS and not observations.statics
    if not is_default:
        if not may_lack:
            _check_known(observations, "static", requested)
        statics = present if may_lack else requested or observations.statics
        # The challenge's own descriptors are recorded at admission by its rules.
        return statics, [] if observations.statics else _later_values(observations, statics), []
    # The configuration's default names the challenge's descriptors; other files may lack them, or
    # measure them again and again.
    series = [name for name in present if _changes(observations, name)]
    statics = tuple(name for name in present if name not in series)
    source = Path(observations.source).name
    warnings = [
        f"{source}: {name} is named like a descriptor but changes in most patients, and is read as "
        f"a series (with --config.data.statics=\"('{name}',)\" its first value alone would count)"
        for name in series
    ]
    return statics, _later_values(observations, statics), warnings


def _changes(observations: Observations, name: str) -> bool:
    """Whether a variable has different values in most of the patients that have it."""
    different = _different_values(observations, name)
    return bool(2 * (different > 1).sum() > len(different))


def _different_values(observations: Observations, name: str) -> Int[np.ndarray, " patients"]:
    """How many different values each patient has who has any."""
    selected, _ = observations.select_variables((name,))
    frame = pd.DataFrame({"patient": selected.patient, "value": selected.values})
    return frame.groupby("patient")["value"].nunique().to_numpy()


def _later_values(observations: Observations, statics: Sequence[str]) -> list[str]:
    """A note for each descriptor that is measured again with another value."""
    notes = []
    for name in statics:
        later = int((_different_values(observations, name) - 1).sum())
        if later:
            notes.append(
                f"{name} is read as a descriptor: the first value of a patient only, {later:,} "
                "later and different ones are not used (data.statics)."
            )
    return notes


def _choose_variables(
    observations: Observations,
    requested: tuple[str, ...],
    statics: tuple[str, ...],
    may_lack: bool,
) -> tuple[str, ...]:
    if may_lack:
        requested = _present(observations, requested)
    else:
        _check_known(observations, "variable", requested)
    names = [str(name) for name in np.sort(observations.names) if name]
    all_but_statics = tuple(name for name in names if name not in statics)
    chosen = requested or observations.variables or all_but_statics
    if not chosen:
        raise UserError(
            f"{observations.source} holds no variable other than the statics "
            f"{quoted_list(statics)}; shorten --config.data.statics"
        )
    return chosen


def _present(observations: Observations, requested: tuple[str, ...]) -> tuple[str, ...]:
    """The variables of a training that the file has.

    Raises:
      UserError: it has none of them.
    """
    names = [str(name) for name in observations.names]
    present = tuple(name for name in requested if name in {*names, *observations.variables})
    if requested and not present:
        theirs = f", the file has {quoted_list(names, 4)}" if names else ""
        raise UserError(
            f"{observations.source} has none of the {len(requested)} variables of the training; "
            f"they must be named alike: the training has {quoted_list(requested, 4)}{theirs}"
        )
    return present


def _check_known(observations: Observations, kind: str, requested: Sequence[str]):
    """Refuses a name that is neither in the file nor known to its format."""
    known = {*map(str, observations.names), *observations.variables, *observations.statics}
    for name in requested:
        if name not in known:
            near = nearest(name, known)
            some = quoted_list(observations.names)
            mend = f"did you mean {near!r}?" if near else f"it has {some}"
            raise UserError(
                f"{observations.source} has no {kind} {name!r} (--config.data.{kind}s); {mend}"
            )


# --- notes ----------------------------------------------------------------------------------------


def _left_out_note(left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    some = count_phrase(len(left_out), "variable", left_out)
    return [f"{some} not among those to keep, and left out."]


def _uses(
    observations: Observations,
    variables: Sequence[str],
    statics: Sequence[str],
    left_out: Sequence[str],
) -> list[Use]:
    """What became of the variables."""
    source = Path(observations.source).name
    uses = [Use(source, "variables", "series", tuple(variables))]
    if statics:
        uses.append(Use(source, "variables", "descriptors", tuple(statics), "first value alone"))
    if left_out:
        uses.append(
            Use(source, "variables", "left out", tuple(left_out), "not among those to keep")
        )
    return uses


def _hidden_in_bins(observations: Observations, series: Modality) -> list[str]:
    """Warnings of single values that look wrong where the means of their bins do not."""
    warnings = []
    names = series.features.tolist()
    for name, note in single_value_warnings(observations, names).items():
        j = names.index(name)
        binned = describe(series.values[..., [j]], series.mask[..., [j]], [name])
        if not is_wrong(binned["note"][0]):
            warnings.append(f"{name}, single values: {note}.")
    return warnings


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
