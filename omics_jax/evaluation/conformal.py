"""Conformal prediction: intervals of numbers and sets of classes that hold the truth at a set rate.

A score says how badly a prediction fits an outcome; an interval or set holds every outcome whose
score is at most q, a quantile of the scores of calibration rows. If these and a new row are
exchangeable, and none of them trained the model, the new row's outcome is in it with a probability
of at least the level, whatever the model and the distribution (split conformal prediction; Vovk,
Gammerman & Shafer 2005, Algorithmic Learning in a Random World; Lei et al. 2018, J. Am. Stat.
Assoc. 113:1094-1111). This is a mean over rows: single classes or kinds of rows can fall short.

Scores:
  of numbers |y - prediction|, so that all intervals have the same width, 2 q;
  of classes the probability of all classes that are more probable than the true one: the adaptive
    score of Romano, Sesia & Candes (2020, Advances in Neural Information Processing Systems 33)
    with its uniform variable at 0. The score of Sadinle, Lei & Wasserman (2019, J. Am. Stat. Assoc.
    114:223-234), 1 - p of the true class, is as valid and gives the smallest sets on average, but
    leaves out every class of a row that the model is unsure of. With the adaptive score the most
    probable class always has the score 0, so that no set is empty, and doubtful rows have large
    sets. Not randomised, it is conservative: where the most probable class is right more often than
    the level, sets hold it alone and the coverage is above the level.

Left out: intervals whose width depends on the row, and survival times, which censoring hides.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

_ROUNDING = 1e-9  # of sums of weights that are whole numbers

Persons = Shaped[np.ndarray, " n"]


def number_scores(
    value: Real[np.ndarray, " n"], observed: Real[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """|y - prediction|, in the units of the outcome."""
    return np.abs(np.asarray(observed, np.float64) - value)


def class_scores(probability: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    """Of every class the summed probability of the classes that are more probable than it."""
    columns = probability.T[:, :, None]
    above = [np.where(probability > own, probability, 0).sum(axis=1) for own in columns]
    return np.stack(above, axis=1)


def conformal_quantile(scores: Float[np.ndarray, " n"], persons: Persons, level: float) -> float:
    """The smallest score q that level (N + 1) of N persons do not exceed; inf if N is too small.

    With a row per person q is the ceil(level (n + 1))-th smallest score, the quantile of split
    conformal prediction. The n rows of a person weigh 1/n each (hierarchical conformal prediction;
    Lee, Barber & Willett 2023, arXiv:2306.06342): persons are exchangeable, their rows are not.
    """
    _, place, rows = np.unique(persons, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / rows[place][order])
    first = np.searchsorted(reached, level * (len(rows) + 1) - _ROUNDING)
    return float(scores[order][first]) if first < len(scores) else float("inf")


def cross_quantiles(
    scores: Float[np.ndarray, " n"],
    persons: Persons,
    fold: Int[np.ndarray, " n"],
    level: float,
) -> Float[np.ndarray, " n"]:
    """For every row the `conformal_quantile` of the other folds; nan where there is no other row.

    A fold's rows are test rows of its own model, so a quantile mixes the scores of several models,
    each trained on most of the rows whose quantile it calibrates. It is the cross-conformal scheme
    of Vovk (2015, Ann. Math. Artif. Intell. 74:9-28) with one interval around one model's
    prediction. Such schemes have no exact guarantee (the CV+ of Barber et al. 2021, Ann. Stat.
    49:486-507, covers 2 level - 1 in the worst case, and about the level in practice), which is why
    the coverage is measured. Rows of a person whom the fold tests calibrate nothing there.
    """
    _, codes = np.unique(persons, return_inverse=True)
    quantiles = np.full(len(scores), np.nan)
    for own in (fold == number for number in np.unique(fold)):
        others = ~np.isin(codes, codes[own])
        if others.any():
            quantiles[own] = conformal_quantile(scores[others], codes[others], level)
    return quantiles


def person_mean(values: Real[np.ndarray, " n"] | Bool[np.ndarray, " n"], persons: Persons) -> float:
    """The mean over persons of the mean over a person's rows; nan without a row."""
    _, place, rows = np.unique(persons, return_inverse=True, return_counts=True)
    if not len(rows):
        return float("nan")
    totals = np.bincount(place, np.asarray(values, np.float64))
    return float((totals / rows).mean())
