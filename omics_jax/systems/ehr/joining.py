"""Two sets of patients as one dataset: those a model is trained on, and external ones to test it.

Refused are sets that share no variable, differ in steps or outcomes, or hold the same patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from omics_jax.data.clinical_series.observations import STEP_PREFIX
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError

SET = "set"  # the column of the table that holds "internal" or "external"


def join_patients(internal: Dataset, external: Dataset) -> Dataset:
    """The internal patients and below them the external ones, on the internal variables.

    Where ids repeat, external ids and groups are renamed "external ID".

    Raises:
      UserError: they share no variable, differ in their outcome or steps, or are partly the same
        patients or persons.
    """
    _check_variables(internal, external)
    _check_steps_and_outcomes(internal, external)
    repeated = sorted(set(map(str, internal.ids)) & set(map(str, external.ids)))
    if repeated:
        _check_patients(internal, external, repeated)
    else:
        _check_persons(internal, external)
    rename = _external_names if repeated else np.asarray
    ids = np.concatenate([internal.ids, rename(external.ids)])
    groups = np.concatenate([internal.groups, rename(external.groups)])
    origin = ["internal"] * len(internal) + ["external"] * len(external)
    table = pd.DataFrame({SET: origin}, index=ids)
    targets = {
        name: _stack(known, external.targets[name]) for name, known in internal.targets.items()
    }
    return Dataset(
        ids,
        groups,
        _join_modalities(internal, external),
        table,
        targets,
        notes=(*internal.notes, *_notes(internal, external, repeated)),
        warnings=(*internal.warnings, *(f"external: {text}" for text in external.warnings)),
        uses=(*internal.uses, *external.uses),
    )


def _external_names(names: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    return np.array([f"external {name}" for name in names])


def _stack(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(values, mask) of both, one below the other."""
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])


def _join_modalities(internal: Dataset, external: Dataset) -> dict[str, Modality]:
    """The modalities that both sets have, on the internal features; steps are paired by order."""
    joined = {}
    for name, a in internal.modalities.items():
        if name not in external.modalities:
            continue
        b = external.modalities[name]
        if name == "hours":
            b = replace(b, features=a.features)
        else:
            b = b.select_features(a.features)
        joined[name] = Modality(*_stack((a.values, a.mask), (b.values, b.mask)), a.features)
    return joined


def _notes(internal: Dataset, external: Dataset, repeated: Sequence[str]) -> list[str]:
    """Notes for the user on the external patients."""
    notes = [f"external: {note}" for note in external.notes]
    variables, theirs = (d.modalities["series"].features for d in (internal, external))
    shared = int(np.isin(variables, theirs).sum())
    if shared < len(variables):
        notes.append(
            f"external: {shared} of {len(variables)} variables found, the others missing in "
            "all patients."
        )
    if repeated:
        notes.append(
            f"{count_phrase(len(repeated), 'id', repeated)} in both files, of other values: taken "
            "for other patients (and their groups for other persons), and called external in the "
            "second."
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


def _check_patients(internal: Dataset, external: Dataset, repeated: Sequence[str]) -> None:
    """Refuses patients of the training data among those that a model is to be tested on."""
    our_row, their_row = (
        {str(name): row for row, name in enumerate(d.ids)} for d in (internal, external)
    )
    a = internal.modalities["series"]
    b = external.modalities["series"].select_features(a.features)

    def is_same(name: str) -> bool:
        i, j = our_row[name], their_row[name]
        same_cells = a.mask[i].any() and np.array_equal(a.mask[i], b.mask[j])
        return bool(same_cells and np.array_equal(a.values[i], b.values[j]))

    same = [name for name in repeated if is_same(name)]
    if same:
        raise UserError(
            f"{count_phrase(len(same), 'patient', same)} in --config.data.external.path with the "
            "same values as in --config.data.path; a model cannot be tested on patients it was "
            "trained on: remove them from one of the files"
        )


def _check_persons(internal: Dataset, external: Dataset) -> None:
    """Refuses persons with stays on both sides, if both files name the person of a stay."""
    both_name_persons = all((d.groups != d.ids).any() for d in (internal, external))
    both = sorted(set(map(str, internal.groups)) & set(map(str, external.groups)))
    if both_name_persons and both:
        raise UserError(
            f"{count_phrase(len(both), 'group', both)} in --config.data.path and in "
            "--config.data.external.path; a model cannot be tested on persons it was trained on: "
            "remove them from one of the files, or rename them if they are different persons"
        )


def same_steps(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two series have as many steps, and the same hours where both name theirs.

    See `observations.step_names`.
    """
    both_name_hours = all(not names[0].startswith(STEP_PREFIX) for names in (a, b))
    return len(a) == len(b) and (not both_name_hours or list(a) == list(b))


def steps_in_words(steps: Sequence[str]) -> str:
    """As in "48 steps (0, 1, 2 ... 47)"."""
    return f"{len(steps)} steps ({', '.join(steps[:3])} ... {steps[-1]})"
