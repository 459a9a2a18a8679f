"""Several trainings that are all tested on the same patients, as when a model goes to another
hospital.

Their scores differ by their training sets alone, so that their spread says nothing of other test
patients, and a t-test over them is one of the trainings. Here patients (or whole groups of them)
and trainings are both drawn with replacement, as in the bootstrap of two crossed factors (Owen
2007, Annals of Applied Statistics 1:386-411), which is conservative. Left out: that trainings share
rows, which makes their spread too small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Shaped

from omics_jax.evaluation.classification import draws_of_rows, interval_and_p, percentiles

METHOD = "bootstrap of test patients and trainings"


def resampled(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    scores: Float[np.ndarray, "trainings n"],
    label: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "draws trainings"]:
    """statistic(score, label) of every training on n draws of patients; the draws depend on the
    seed and groups alone.

    So that those of two models of the same patients can be subtracted, draw by draw.
    """
    drawn = draws_of_rows(len(label), groups, n, seed)
    return np.array(
        [[statistic(score[rows], label[rows]) for score in scores] for rows in drawn], np.float64
    )


def interval(values: Float[np.ndarray, "draws trainings"], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean over trainings, from `resampled` values; trainings drawn
    anew in every draw.

    (nan, nan) where more than 5 % of the draws are undefined.
    """
    return percentiles(_means(values, seed))


def difference(
    a: Float[np.ndarray, "draws trainings"], b: Float[np.ndarray, "draws trainings"], seed: int = 0
) -> tuple[tuple[float, float], float]:
    """((low, high), p) of the mean of a - b, both `resampled` with one seed; trainings of one place
    are a pair.

    p is two-sided, by inverting the percentile interval as in `classification.paired_bootstrap`.
    """
    low, high, p = interval_and_p(_means(a - b, seed))
    return (low, high), p


def _means(values: np.ndarray, seed: int) -> np.ndarray:
    """(draws,) each draw's mean over as many trainings, drawn with replacement."""
    draws, trainings = values.shape
    chosen = np.random.default_rng([seed, trainings]).integers(trainings, size=(draws, trainings))
    return np.take_along_axis(values, chosen, axis=1).mean(axis=1)
