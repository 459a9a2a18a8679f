"""Single measurements without those that cannot be: codes for missing, values outside of limits.

Before values are averaged in bins, where -999 and 80 would become -459. Nothing else is changed;
values that only look wrong are named in warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from omics_jax.data.clinical_series.observations import Observations
from omics_jax.data.dataset.limits import (
    Limits,
    bounds_of,
    counted,
    in_words,
    is_outside,
    limits_note,
    unused_limits,
)
from omics_jax.data.dataset.quality import describe, is_wrong
from omics_jax.data.identity import alike_ids
from omics_jax.data.vocabulary import Missing


def clean(observations: Observations, missing: Missing, limits: Limits) -> Observations:
    """The observations without what is missing by the user's settings, which is a note."""
    names, variable = observations.names, observations.variable
    is_code = missing.is_number(observations.values)
    low, high = bounds_of(limits, names)
    outside = ~is_code & is_outside(observations.values, low[variable], high[variable])

    def counts(rows: np.ndarray) -> dict[str, int]:
        return counted(names, np.bincount(variable[rows], minlength=len(names)))

    notes = [*missing_note(counts(is_code)), *limits_note(counts(outside))]
    kept = observations.filter_rows(~(is_code | outside))
    return replace(
        kept,
        notes=(*observations.notes, *notes),
        warnings=(*observations.warnings, *unused_limits(observations.source, limits, names)),
    )


def missing_note(counts: dict[str, int]) -> list[str]:
    """A note on the values that mean missing; [] if there are none."""
    return (
        [f"Values that mean missing (data.missing_values): {in_words(counts)}."] if counts else []
    )


def single_value_warnings(observations: Observations, names: Sequence[str]) -> dict[str, str]:
    """Variable -> what looks wrong among its single values, of the variables where something does.

    In bins they are averaged, and may look right.
    """
    selected, column = observations.select_variables(names)
    by_variable = pd.Series(selected.values).groupby(column)
    warnings = {}
    for j, single_values in by_variable:
        values = single_values.to_numpy()[:, None]
        table = describe(values, np.ones(values.shape, bool), [names[j]])
        warnings[names[j]] = table["note"][0]
    return {name: note for name, note in warnings.items() if is_wrong(note)}


def alike_names(observations: Observations) -> list[str]:
    """Warnings of ids, and of variables, that differ in case, zeros or punctuation alone."""
    warnings = []
    for what, names in (("ids", observations.ids), ("variables", observations.names)):
        alike = alike_ids(map(str, names))
        if alike:
            shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:4])
            warnings.append(
                f"{observations.source}: {len(alike):,} sets of {what} are spelled almost alike "
                f"and taken for different ones: {shown}"
            )
    return warnings
