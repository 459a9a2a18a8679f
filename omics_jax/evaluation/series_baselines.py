"""Classical imputers of irregular series, each variable by itself: mean, last observation, straight
line, neighbours.

Each is a function (train_values, train_mask, values, mask, hours) -> imputed, all but `hours` (n,
T, D); `hours`
(n, T) are the times of the steps, never falling along a row. From the training rows they take the
variable's mean, which fills a variable that a patient never has; one that no training row has is
filled with 0, its mean in
standardised units. Observed cells come back bit for bit, in the dtype of `values`; unobserved cells
are never read. Left out: anything that looks from one variable to another.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

TrainValues = Float[np.ndarray, "m S D"]
TrainMask = Bool[np.ndarray, "m S D"]
Values = Float[np.ndarray, "n T D"]
Mask = Bool[np.ndarray, "n T D"]
Hours = Float[np.ndarray, "n T"]

NEIGHBOURS = 5


def mean_imputer(
    train_values: TrainValues, train_mask: TrainMask, values: Values, mask: Mask, hours: Hours
) -> Float[np.ndarray, "n T D"]:
    """Every missing cell is the variable's mean over the observed training cells."""
    return _filled(
        np.broadcast_to(_training_mean(train_values, train_mask), values.shape), values, mask
    )


def locf(
    train_values: TrainValues, train_mask: TrainMask, values: Values, mask: Mask, hours: Hours
) -> Float[np.ndarray, "n T D"]:
    """Last observation carried forward; before the first one, that one carried backward; else the
    training mean.
    """
    before, after = _last_observed(mask), _next_observed(mask)
    source = np.where(before >= 0, before, after)
    return _filled(
        _or_training_mean(_at(values, source), mask, train_values, train_mask), values, mask
    )


def linear(
    train_values: TrainValues, train_mask: TrainMask, values: Values, mask: Mask, hours: Hours
) -> Float[np.ndarray, "n T D"]:
    """Straight lines between neighbouring observations over `hours`; the ends carried outwards;
    else training mean.

    (x_a (t_b - t) + x_b (t - t_a)) / (t_b - t_a), and x_a where both were observed in the same
    hour.
    """
    _refuse_falling(hours)
    steps = mask.shape[1]
    before, after = _last_observed(mask), _next_observed(mask)
    left, right = np.where(before >= 0, before, after), np.where(after < steps, after, before)
    since, span = (
        hours[:, :, None] - _hour_at(hours, left),
        _hour_at(hours, right) - _hour_at(hours, left),
    )
    share = np.divide(since, span, out=np.zeros(span.shape), where=span > 0)
    line = _at(values, left) * (1 - share) + _at(values, right) * share
    return _filled(_or_training_mean(line, mask, train_values, train_mask), values, mask)


def knn(
    train_values: TrainValues,
    train_mask: TrainMask,
    values: Values,
    mask: Mask,
    hours: Hours,
    k: int = NEIGHBOURS,
) -> Float[np.ndarray, "n T D"]:
    """Mean of the patient's k observations of the variable nearest in time, weighted 1 / (1 + gap
    in hours).

    Of equally near observations before and after, the one before goes first; with fewer than k
    observations all
    count; without any the cell is the training mean. Raises ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"a mean over neighbours needs k of at least 1, not {k}")
    _refuse_falling(hours)
    steps = mask.shape[1]
    before, after = _last_observed(mask), _next_observed(mask)
    earlier, later = _shifted(before, -1, fill=-1), _shifted(after, 1, fill=steps)
    known, total, weights = np.where(mask, values, 0), np.zeros(mask.shape), np.zeros(mask.shape)
    for _ in range(
        k
    ):  # a merge of the observations before and after, each already in order of nearness
        gap_before = np.where(before >= 0, hours[:, :, None] - _hour_at(hours, before), np.inf)
        gap_after = np.where(after < steps, _hour_at(hours, after) - hours[:, :, None], np.inf)
        backward = gap_before <= gap_after
        weight = 1 / (1 + np.minimum(gap_before, gap_after))
        total += weight * _at(known, np.where(backward, before, after))
        weights += weight
        before = np.where(backward, _at(earlier, before, outside=-1), before)
        after = np.where(backward, after, _at(later, after, outside=steps))
    neighbours = total / np.where(weights > 0, weights, 1)
    return _filled(_or_training_mean(neighbours, mask, train_values, train_mask), values, mask)


IMPUTERS = {"mean": mean_imputer, "locf": locf, "linear": linear, "knn": knn}


def _training_mean(values, mask):
    """(D,) float64 mean of the observed cells, 0 where there are none."""
    count = mask.sum(axis=(0, 1))
    return values.sum(axis=(0, 1), where=mask, dtype=np.float64) / np.maximum(count, 1)


def _or_training_mean(imputed, mask, train_values, train_mask):
    return np.where(
        mask.any(axis=1, keepdims=True), imputed, _training_mean(train_values, train_mask)
    )


def _filled(imputed, values, mask):
    return np.where(mask, values, imputed.astype(values.dtype))


def _last_observed(mask):
    """(n, T, D) index of the last observed step at or before each step, -1 where there is none."""
    steps = np.arange(mask.shape[1])[:, None]
    return np.maximum.accumulate(np.where(mask, steps, -1), axis=1)


def _next_observed(mask):
    """(n, T, D) index of the first observed step at or after each step, T where there is none."""
    steps = np.arange(mask.shape[1])[:, None]
    return np.minimum.accumulate(np.where(mask, steps, mask.shape[1])[:, ::-1], axis=1)[:, ::-1]


def _shifted(index, by, fill):
    """The entry of the step before (by = -1) or after (by = 1): the observation strictly before or
    after a step.
    """
    shifted = np.full_like(index, fill)
    if by < 0:
        shifted[:, 1:] = index[:, :-1]
    else:
        shifted[:, :-1] = index[:, 1:]
    return shifted


def _at(series, index, outside=None):
    """series[i, index[i, t, d], d]; an index outside the steps gives `outside`, or the nearest
    step's entry.
    """
    steps = series.shape[1]
    found = np.take_along_axis(series, np.clip(index, 0, steps - 1), axis=1)
    return found if outside is None else np.where((index < 0) | (index >= steps), outside, found)


def _hour_at(hours, index):
    return _at(np.broadcast_to(hours[:, :, None], index.shape), index)


def _refuse_falling(hours):
    falling = np.argwhere(np.diff(hours, axis=1) < 0)
    if len(falling):
        row, step = (int(i) for i in falling[0])
        raise ValueError(
            f"the hours of row {row} fall from {hours[row, step]} to {hours[row, step + 1]}; sort "
            "its steps"
        )
