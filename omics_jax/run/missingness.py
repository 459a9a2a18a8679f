"""Warnings where the missing values of a dataset predict an outcome, for every system."""

from __future__ import annotations

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.mask_model import fit_mask_model, mask_sentence


def missingness_warnings(dataset: Dataset) -> list[str]:
    """A sentence for every modality and outcome where the mask alone predicts the outcome."""
    warnings = []
    for name, modality in dataset.modalities.items():
        if modality.mask.all():
            continue
        for outcome, (values, known) in dataset.targets.items():
            rows = np.flatnonzero(known)
            if not len(rows):
                continue
            model = fit_mask_model(modality.mask[rows], values[rows], dataset.groups[rows])
            if model is not None and model.predicts_outcome:
                warnings.append(mask_sentence(name, outcome, model))
    return warnings
