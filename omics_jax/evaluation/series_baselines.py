"""Simple imputers of irregular series, each variable by itself: mean, last, line, neighbours.

Each is a function (train_values, train_mask, values, mask, hours) -> imputed, all but `hours` (n,
T, D); `hours` (n, T) are the times of the steps, never falling along a row. The training rows give
the variable's mean, which fills a variable that a patient never has; one that no training row has
is filled with 0, its mean in standardised units. Observed cells come back bit for bit, in the dtype
of `values`; unobserved cells are never read. Hand-written on whole arrays because pandas
(`ffill`, `interpolate`) takes one patient and one variable's hours at a time. Left out: anything
that looks from one variable to another.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

TrainValues = Float[np.ndarray, "m S D"]
TrainMask = Bool[np.ndarray, "m S D"]
Values = Float[np.ndarray, "n T D"]
Mask = Bool[np.ndarray, "n T D"]
Hours = Float[np.ndarray, "n T"]
Steps = Int[np.ndarray, "n T D"]  # indices of steps

NEIGHBOURS = 5


def mean_imputer(
    train_values: TrainValues,
    train_mask: TrainMask,
    values: Values,
    mask: Mask,
    hours: Hours,
) -> Float[np.ndarray, "n T D"]:
    """Every missing cell is the variable's mean over the observed training cells."""
    mean = _training_mean(train_values, train_mask)
    return _fill_missing(np.broadcast_to(mean, values.shape), values, mask)


def locf(
    train_values: TrainValues,
    train_mask: TrainMask,
    values: Values,
    mask: Mask,
    hours: Hours,
) -> Float[np.ndarray, "n T D"]:
    """Last observation carried forward; before the first one, that one carried backward.

    The training mean where the patient has none.
    """
    before, after = _last_observed(mask), _next_observed(mask)
    source = np.where(before >= 0, before, after)
    carried = _or_training_mean(_take_step(values, source), mask, train_values, train_mask)
    return _fill_missing(carried, values, mask)


def linear(
    train_values: TrainValues,
    train_mask: TrainMask,
    values: Values,
    mask: Mask,
    hours: Hours,
) -> Float[np.ndarray, "n T D"]:
    """Straight lines between neighbouring observations over `hours`; the ends carried outwards.

    (x_a (t_b - t) + x_b (t - t_a)) / (t_b - t_a), and x_a where both were observed in the same
    hour. The training mean where the patient has no observation.
    """
    _refuse_falling(hours)
    steps = mask.shape[1]
    before, after = _last_observed(mask), _next_observed(mask)
    left = np.where(before >= 0, before, after)
    right = np.where(after < steps, after, before)
    since = hours[:, :, None] - _hours_at(hours, left)
    span = _hours_at(hours, right) - _hours_at(hours, left)
    share = np.divide(since, span, out=np.zeros(span.shape), where=span > 0)
    line = _take_step(values, left) * (1 - share) + _take_step(values, right) * share
    return _fill_missing(_or_training_mean(line, mask, train_values, train_mask), values, mask)


def knn(
    train_values: TrainValues,
    train_mask: TrainMask,
    values: Values,
    mask: Mask,
    hours: Hours,
    k: int = NEIGHBOURS,
) -> Float[np.ndarray, "n T D"]:
    """Mean of the patient's k observations of the variable nearest in time.

    Weights are 1 / (1 + gap in hours). Of equally near observations before and after, the one
    before goes first; with fewer than k observations all count; without any the cell is the
    training mean. Raises ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"a mean over neighbours needs k of at least 1, not {k}")
    _refuse_falling(hours)
    steps = mask.shape[1]
    before, after = _last_observed(mask), _next_observed(mask)
    earlier, later = _previous_step(before), _following_step(after)
    known = np.where(mask, values, 0)
    total, weights = np.zeros(mask.shape), np.zeros(mask.shape)
    now = hours[:, :, None]
    # A merge of the observations before and after, each already in order of nearness.
    for _ in range(k):
        gap_before = np.where(before >= 0, now - _hours_at(hours, before), np.inf)
        gap_after = np.where(after < steps, _hours_at(hours, after) - now, np.inf)
        backward = gap_before <= gap_after
        weight = 1 / (1 + np.minimum(gap_before, gap_after))
        total += weight * _take_step(known, np.where(backward, before, after))
        weights += weight
        before = np.where(backward, _take_step(earlier, before, outside=-1), before)
        after = np.where(backward, after, _take_step(later, after, outside=steps))
    mean = total / np.where(weights > 0, weights, 1)
    return _fill_missing(_or_training_mean(mean, mask, train_values, train_mask), values, mask)


IMPUTERS = {"mean": mean_imputer, "locf": locf, "linear": linear, "knn": knn}


def _training_mean(values: TrainValues, mask: TrainMask) -> Float[np.ndarray, " D"]:
    """float64 mean of the observed cells, 0 where there are none."""
    count = mask.sum(axis=(0, 1))
    total = values.sum(axis=(0, 1), where=mask, dtype=np.float64)
    return total / np.maximum(count, 1)


def _or_training_mean(
    imputed: Values,
    mask: Mask,
    train_values: TrainValues,
    train_mask: TrainMask,
) -> Values:
    """The imputed series, and the training mean where the patient never has the variable."""
    ever_observed = mask.any(axis=1, keepdims=True)
    return np.where(ever_observed, imputed, _training_mean(train_values, train_mask))


def _fill_missing(imputed: Values, values: Values, mask: Mask) -> Values:
    return np.where(mask, values, imputed.astype(values.dtype))


def _last_observed(mask: Mask) -> Steps:
    """Index of the last observed step at or before each step, -1 where there is none."""
    steps = np.arange(mask.shape[1])[:, None]
    return np.maximum.accumulate(np.where(mask, steps, -1), axis=1)


def _next_observed(mask: Mask) -> Steps:
    """Index of the first observed step at or after each step, T where there is none."""
    steps = np.arange(mask.shape[1])[:, None]
    observed = np.where(mask, steps, mask.shape[1])
    return np.minimum.accumulate(observed[:, ::-1], axis=1)[:, ::-1]


def _previous_step(index: Steps) -> Steps:
    """The entry one step earlier, -1 at the first step: the observation strictly before a step."""
    shifted = np.full_like(index, -1)
    shifted[:, 1:] = index[:, :-1]
    return shifted


def _following_step(index: Steps) -> Steps:
    """The entry one step later, T at the last step: the observation strictly after a step."""
    shifted = np.full_like(index, index.shape[1])
    shifted[:, :-1] = index[:, 1:]
    return shifted


def _take_step(
    series: Shaped[np.ndarray, "n T D"],
    index: Steps,
    outside: int | None = None,
) -> Shaped[np.ndarray, "n T D"]:
    """series[i, index[i, t, d], d].

    An index outside the steps gives `outside` or, without it, the nearest step's entry.
    """
    steps = series.shape[1]
    taken = np.take_along_axis(series, np.clip(index, 0, steps - 1), axis=1)
    if outside is None:
        return taken
    return np.where((index < 0) | (index >= steps), outside, taken)


def _hours_at(hours: Hours, index: Steps) -> Float[np.ndarray, "n T D"]:
    """The hour of the step that each entry of `index` names."""
    return _take_step(np.broadcast_to(hours[:, :, None], index.shape), index)


def _refuse_falling(hours: Hours) -> None:
    falling = np.argwhere(np.diff(hours, axis=1) < 0)
    if len(falling):
        row, step = (int(i) for i in falling[0])
        raise ValueError(
            f"the hours of row {row} fall from {hours[row, step]} to {hours[row, step + 1]}; sort "
            "its steps"
        )
