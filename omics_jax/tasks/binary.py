"""How the probability of an outcome that happens or not is judged.

Discrimination (AUROC, AUPRC), accuracy of the probabilities (Brier) and their calibration; AUROC of
the hard 0/1 decision stands with them because some papers print it. Left out: outcomes of several
classes (`scoring`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real, Shaped

from omics_jax.evaluation import classification
from omics_jax.evaluation.measures import better_sides
from omics_jax.evaluation.tables import Frame

BINARY = "binary"  # the kind of the frames of `binary_frame`
BETTER: Mapping[str, str] = better_sides(
    ("auroc", "auprc", "brier", "calibration_error", "hard_label_auroc")
)
# What is computed over pooled rows, and resampled.
STATISTICS = {
    "auroc": classification.auroc,
    "auprc": classification.auprc,
    "brier": classification.brier,
}


def binary_scores(
    probability: Float[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """auroc, auprc (average precision), brier, calibration_slope and calibration_intercept (of a
    logistic recalibration), calibration_error (expected), hard_label_auroc (of the decision at .5).

    nan where a score is undefined, as with one class.
    """
    intercept, slope = classification.logistic_recalibration(probability, label)
    return {
        "auroc": classification.auroc(probability, label),
        "auprc": classification.auprc(probability, label),
        "brier": classification.brier(probability, label),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "calibration_error": classification.expected_calibration_error(probability, label),
        "hard_label_auroc": classification.hard_label_auroc(probability, label),
    }


def binary_frame(
    ids: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    probability: Real[np.ndarray, " n"],
    label: Real[np.ndarray, " n"],
    known: Bool[np.ndarray, " n"],
) -> Frame:
    """id, person, probability and label of the rows whose outcome is known.

    groups: of the rows, such as the person of several stays, who is resampled as one.
    """
    columns = {
        "id": ids[known].astype(str),
        "person": groups[known].astype(str),
        "probability": np.asarray(probability, np.float64)[known],
        "label": label[known].astype(int),
    }
    return Frame(BINARY, pd.DataFrame(columns))
