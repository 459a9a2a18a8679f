"""Two sets of patients as one dataset: those a model is trained on, and external ones to test it.

Refused are sets that share no feature of a modality, differ in outcomes or classes, or hold the
same patients. Left out: whether batches differ, which a score on external patients is to show.
"""

from __future__ import annotations

from dataclasses import replace

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.preprocessing.log2 import looks_like
from omics_jax.errors import UserError
from omics_jax.study.external import Settings, check_groups, check_outcomes, join_sets
from omics_jax.study.new_rows import match_features

FILES = Settings("--config.data", "--config.data.external")


def join_patients(internal: Dataset, external: Dataset) -> Dataset:
    """The internal patients and below them the external ones, on the internal features.

    Both in the units of their files. Features and modalities that the external patients lack are
    missing cells, and named in a note.

    Raises:
      UserError: see `study.external`; no modality, or no feature of one, that the internal patients
        have.
    """
    check_outcomes(internal, external, FILES)
    check_groups(internal, external, FILES, "patient")
    modalities, notes = {}, []
    for name, ours in internal.modalities.items():
        if name not in external.modalities:
            notes.append(f"external: {name}: no file, missing in every external patient")
            continue
        source = f"external: {name}"
        names = ours.features.astype(str).tolist()
        modalities[name], said = match_features(
            external.modalities[name], names, source, "features"
        )
        notes.append(f"{source}: {said}")
    unused = [name for name in external.modalities if name not in internal.modalities]
    if not modalities:
        raise UserError(
            f"{FILES.external} has the modalities {', '.join(unused)}, and {FILES.internal} "
            f"{', '.join(internal.modalities)}; name them alike"
        )
    if unused:
        notes.append(f"external: not used, as the training has none: {', '.join(unused)}")
    warnings = (*external.warnings, *_scale_warnings(internal, external))
    return join_sets(internal, replace(external, modalities=modalities, warnings=warnings), notes)


def _scale_warnings(internal: Dataset, external: Dataset) -> list[str]:
    """A warning of modalities of which one set looks like counts and the other like logarithms."""
    warnings = []
    for name in internal.modalities.keys() & external.modalities.keys():
        ours, theirs = (looks_like(d.modalities[name]) for d in (internal, external))
        if {ours, theirs} == {"counts", "logarithms"}:
            warnings.append(
                f"{name}: the values of {FILES.external} look like {theirs} and those of "
                f"{FILES.internal} like {ours}; give both on one scale."
            )
    return warnings
