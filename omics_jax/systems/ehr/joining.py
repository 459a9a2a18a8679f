"""Two sets of patients as one dataset: those a model is trained on, and external ones to test it.

Refused are sets that share no variable, differ in steps or outcomes, or hold the same patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from omics_jax.data.clinical_series.observations import STEP_PREFIX
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError
from omics_jax.study.external import (
    check_groups,
    check_repeated_rows,
    join_sets,
    repeated_names,
)


def join_patients(internal: Dataset, external: Dataset) -> Dataset:
    """The internal patients and below them the external ones, on the internal variables.

    Where ids repeat, external ids and groups are renamed "external ID". Steps are paired by their
    order.

    Raises:
      UserError: they share no variable, differ in their outcome or steps, or are partly the same
        patients or persons.
    """
    _check_variables(internal, external)
    _check_steps_and_outcomes(internal, external)
    if repeated_names(internal.ids, external.ids):
        check_repeated_rows(internal, external, ("series",), "patient")
    else:
        _check_persons(internal, external)
    shared = [name for name in internal.modalities if name in external.modalities]
    hours = replace(external.modalities["hours"], features=internal.modalities["hours"].features)
    theirs = {**external.modalities, "hours": hours}
    return join_sets(
        _without_annotations(internal, {name: internal.modalities[name] for name in shared}),
        _without_annotations(external, theirs),
        _notes(internal, external),
    )


def _without_annotations(dataset: Dataset, modalities: Mapping[str, Modality]) -> Dataset:
    """The dataset with these modalities, and without the parts of a file that its table names."""
    return replace(dataset, modalities=modalities, table=dataset.table[[]])


def _notes(internal: Dataset, external: Dataset) -> list[str]:
    """Notes for the user on what one of the sets lacks."""
    notes = []
    variables, theirs = (d.modalities["series"].features for d in (internal, external))
    shared = int(np.isin(variables, theirs).sum())
    if shared < len(variables):
        notes.append(
            f"external: {shared} of {len(variables)} variables found, the others missing in "
            "all patients."
        )
    in_one_only = set(internal.modalities) ^ set(external.modalities)
    if "static" in in_one_only:
        notes.append("Static descriptors are in one of the files only, and left out.")
    if "truth" in in_one_only:
        notes.append(
            "X_ori is in one of the files only, and not used: cells are held out at the rates of "
            "held_out."
        )
    return notes


def _check_variables(internal: Dataset, external: Dataset) -> None:
    ours, theirs = (list(map(str, d.modalities["series"].features)) for d in (internal, external))
    if not set(ours) & set(theirs):
        raise UserError(
            "--config.data.external.path shares no variable with --config.data.path "
            f"({', '.join(theirs[:5])} ... against {', '.join(ours[:5])} ...); name them alike"
        )


def _check_steps_and_outcomes(internal: Dataset, external: Dataset) -> None:
    ours, theirs = (d.modalities["hours"].features.tolist() for d in (internal, external))
    if not same_steps(ours, theirs) or set(internal.targets) != set(external.targets):
        raise UserError(
            f"--config.data.path has {steps_in_words(ours)} and the outcomes "
            f"{sorted(internal.targets)}, --config.data.external.path {steps_in_words(theirs)} and "
            f"{sorted(external.targets)}; give both the same"
        )


def _check_persons(internal: Dataset, external: Dataset) -> None:
    """Refuses persons with stays on both sides, if both files name the person of a stay."""
    if all((d.groups != d.ids).any() for d in (internal, external)):
        check_groups(internal, external)


def same_steps(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two series have as many steps, and the same hours where both name theirs.

    See `observations.step_names`.
    """
    both_name_hours = all(not names[0].startswith(STEP_PREFIX) for names in (a, b))
    return len(a) == len(b) and (not both_name_hours or list(a) == list(b))


def steps_in_words(steps: Sequence[str]) -> str:
    """As in "48 steps (0, 1, 2 ... 47)"."""
    return f"{len(steps)} steps ({', '.join(steps[:3])} ... {steps[-1]})"
