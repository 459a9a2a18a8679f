"""Intervals and tests for several trainings that are all tested on the same patients.

This is the case when models are tested in another hospital. Their scores differ by the training
sets alone, so their spread says nothing about other test patients, and a t-test over them would
judge the trainings only. Here patients (or whole groups of them) and trainings are both drawn with
replacement, as in the bootstrap of two crossed factors (Owen 2007, Annals of Applied Statistics
1:386-411), which is conservative. Left out: trainings that share rows, which makes their spread
too small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped

from omics_jax.evaluation.bootstrap import draw_rows, interval_and_p, percentile_interval

METHOD = "bootstrap of test patients and trainings"


def resample(
    statistic: Callable[[np.ndarray, np.ndarray], float | Float[np.ndarray, " metrics"]],
    scores: Shaped[np.ndarray, "trainings n ..."],
    label: Shaped[np.ndarray, "n ..."],
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "draws trainings ..."]:
    """statistic(score, label) of every training on n draws of patients.

    statistic: one number, or an array of several metrics.

    The draws depend on the seed and the groups alone, so the values of two models of the same
    patients can be subtracted draw by draw.
    """
    values = [
        [statistic(score[rows], label[rows]) for score in scores]
        for rows in draw_rows(len(label), groups, n, seed)
    ]
    return np.array(values, np.float64)


def interval(values: Float[np.ndarray, "draws trainings"], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean over trainings, from the values of `resample`.

    Trainings are drawn anew in every draw. (nan, nan) where more than 5 % of the draws are
    undefined.
    """
    return percentile_interval(_means(values, seed))


def difference(
    a: Float[np.ndarray, "draws trainings"],
    b: Float[np.ndarray, "draws trainings"],
    seed: int = 0,
) -> tuple[tuple[float, float], float]:
    """((low, high), p) of the mean of a - b, both from `resample` with one seed.

    Trainings in the same column are a pair. p is two-sided, as in `bootstrap.interval_and_p`.
    """
    low, high, p = interval_and_p(_means(a - b, seed))
    return (low, high), p


def _means(values: Float[np.ndarray, "draws trainings"], seed: int) -> Float[np.ndarray, " draws"]:
    """The mean of each draw over as many trainings, drawn with replacement."""
    draws, trainings = values.shape
    random = np.random.default_rng([seed, trainings])
    chosen = random.integers(trainings, size=(draws, trainings))
    return np.take_along_axis(values, chosen, axis=1).mean(axis=1)
