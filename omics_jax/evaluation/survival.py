"""How far predicted survival curves can be trusted: numpy in, float64 numbers out.

The Brier score under censoring (Graf et al. 1999), D-calibration (Haider et al. 2020), calibration
at one time and median survival. Ranking is in `concordance`, Kaplan-Meier and the conventions for
times, events, `train` and `test` in `follow_up`. Left out: other weights than Kaplan-Meier's of
censoring, and intervals of scores.

Curves (n, m) are survival probabilities on a grid (m,) of rising times: 1 at time 0 unless the grid
holds it, linear in between, held after the end. Hand-written because lifelines has neither Brier
score nor D-calibration, and reads curves as step functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import (
    Events,
    Test,
    Times,
    Train,
    censoring_at,
    checked_events,
    checked_outcome,
    checked_times,
    clip_times,
    follow_up_end,
    life_table,
    no_events_error,
    risk_groups,
)
from omics_jax.evaluation.proportions import wilson_interval

Curves = Real[np.ndarray, "n m"]
Grid = Real[np.ndarray, " m"]

ROUNDING = 1e-6  # float32 sums of probabilities may pass 1 by this much


class DCalibration(NamedTuple):
    """`p` of the chi-squared `statistic` on B - 1 degrees of freedom, and rows per bin of survival.

    Counts are fractional, because a censored row is spread over several bins.
    """

    statistic: float
    p: float
    counts: Float[np.ndarray, " B"]


def brier_score(train: Train, test: Test, survival: Curves, times: Grid) -> Float[np.ndarray, " m"]:
    """The Brier score under censoring (Graf et al. 1999) at each of `times`.

    BS(t) = 1/n sum_i [S_i(t)^2 1(T_i <= t, E_i = 1) / G(T_i) + (1 - S_i(t))^2 1(T_i > t) / G(t)].
    survival: S_i(t) of the test rows at `times`. G: of the training rows. Times after its end are
    scored at that end, by the curves interpolated there, with a FollowUpWarning (`clip_times`).
    """
    clipped = clip_times(train, times)
    event_times, events = checked_outcome(*test)
    if len(survival) != len(events):
        raise ValueError(f"{len(survival)} curves and {len(events)} test rows do not pair")
    curves, grid = _from_zero(survival, times)
    left, share = _interval_and_share(grid, clipped)
    before, after = curves[:, left], curves[:, left + 1]
    survival = before * (1 - share) + after * share
    dead = events[:, None] & (event_times[:, None] <= clipped)
    alive = event_times[:, None] > clipped
    # G may be 0 at later events; they count as alive here, so any weight will do.
    g_event = np.where(event_times <= clipped[-1], censoring_at(train, event_times), 1.0)
    loss_of_dead = np.where(dead, survival**2 / g_event[:, None], 0.0)
    loss_of_alive = np.where(alive, (1 - survival) ** 2 / censoring_at(train, clipped), 0.0)
    return (loss_of_dead + loss_of_alive).mean(axis=0)


def integrated_brier_score(train: Train, test: Test, survival: Curves, times: Grid) -> float:
    """Integral of BS(t) over `times`, at least 2, by trapezoids, divided by the length.

    It reaches no further than `follow_up_end`, with the warning of `brier_score`; where only one
    time is left of the clipped ones, it is the score there.
    """
    if len(times) < 2:
        raise ValueError(f"an integrated Brier score needs at least 2 times, not {len(times)}")
    scores = brier_score(train, test, survival, times)
    clipped = np.minimum(times, follow_up_end(train))
    length = clipped[-1] - clipped[0]
    if length == 0:
        return float(scores[-1])
    return float(np.trapezoid(scores, clipped) / length)


def survival_at_own_time(curves: Curves, grid: Grid, times: Times) -> Float[np.ndarray, " n"]:
    """S_i(T_i): every row's curve at the row's own time."""
    curves, grid = _from_zero(curves, grid)
    if len(curves) != len(times):
        raise ValueError(f"{len(curves)} curves and {len(times)} times do not pair")
    left, share = _interval_and_share(grid, np.asarray(times, dtype=np.float64))
    rows = np.arange(len(curves))
    before, after = curves[rows, left], curves[rows, left + 1]
    return before * (1 - share) + after * share


def median_survival(curves: Curves, grid: Grid) -> Float[np.ndarray, " n"]:
    """The first time at which a curve is 1/2 or less; inf where it stays above on all the grid."""
    curves, grid = _from_zero(curves, grid)
    below = curves <= 0.5
    rows = np.arange(len(curves))
    right = below.argmax(axis=1)
    left = np.maximum(right - 1, 0)
    fall = curves[rows, left] - curves[rows, right]
    excess = curves[rows, left] - 0.5
    share = np.divide(excess, fall, out=np.zeros(len(curves)), where=fall > 0)
    median = grid[left] + share * (grid[right] - grid[left])
    return np.where(below.any(axis=1), median, np.inf)


def d_calibration(survival: Real[np.ndarray, " n"], events: Events, bins: int = 10) -> DCalibration:
    """Test that S_i(T_i) is uniform on [0, 1], as under the true curves (Haider et al. 2020, 3.5).

    survival: S_i(T_i), see `survival_at_own_time`. B bins [b/B, (b + 1)/B), the last one closed. An
    event adds 1 to its bin; a row censored at c = S_i(T_i) is spread evenly over [0, c], where its
    event will fall. The statistic is sum_b (N_b - n/B)^2 / (n/B), Pearson's; it needs n/B of 5 or
    more, and spread rows make its p too large.
    """
    from scipy.stats import chisquare

    survival, events = _probabilities(survival), checked_events(events)
    if survival.shape != events.shape:
        raise ValueError(
            f"{len(survival)} survival probabilities and {len(events)} events do not pair"
        )
    if bins < 2:
        raise ValueError(f"D-calibration needs at least 2 bins, not {bins}")
    if not events.any():
        raise no_events_error(len(events))
    bin_of_event = np.minimum((survival[events] * bins).astype(int), bins - 1)
    died = np.bincount(bin_of_event, minlength=bins)
    counts = died + _spread_over_bins(survival[~events], bins).sum(axis=0)
    test = chisquare(counts)
    return DCalibration(float(test.statistic), float(test.pvalue), counts)


def calibration_at(
    times: Times,
    events: Events,
    survival: Real[np.ndarray, " n"],
    time: float,
    groups: int = 10,
) -> dict[str, np.ndarray]:
    """Observed against predicted survival at `time` in quantile groups of `survival`, S_i(time).

    Columns, a row per group, x rising: x, the mean predicted survival; y, the group's Kaplan-Meier
    S(time); low and high, its 95 % interval, Wilson's (1927) with the effective size
    n' = S (1 - S) / Var S, Var by Greenwood (Rothman 1978), which is the rows still followed where
    S = 1 and the events where S = 0; count, rows. Equal predictions always share a group, so there
    may be fewer groups than asked for. y, low and high are nan for a group that nobody left alive
    was followed in to `time`; UserError if that is so of every group.
    """
    times, events = checked_outcome(times, events)
    survival = _probabilities(survival)
    if survival.shape != times.shape:
        raise ValueError(
            f"{len(survival)} survival probabilities and {len(times)} times do not pair"
        )
    group = risk_groups(survival, groups)
    members = [np.flatnonzero(group == code) for code in np.unique(group)]
    observed = [_observed_survival(times[rows], events[rows], time) for rows in members]
    y, effective_size = np.array(observed, dtype=np.float64).T
    if np.isnan(y).all():
        raise UserError(
            f"none of {len(times)} rows was followed to time {time:g} (the last one to "
            f"{times.max():g}), so that survival was not observed there; choose an earlier time"
        )
    low, high = wilson_interval(y, effective_size)
    mean = np.array([survival[rows].mean() for rows in members])
    count = np.array([len(rows) for rows in members])
    return {"x": mean, "y": y, "low": low, "high": high, "count": count}


def _from_zero(
    curves: Curves,
    grid: Grid,
) -> tuple[Float[np.ndarray, "n g"], Float[np.ndarray, " g"]]:
    """Checked curves and grid, with S(0) = 1 put before a grid that starts later."""
    curves, grid = _probabilities(curves), checked_times(grid)
    if curves.shape[1] != len(grid):
        raise ValueError(f"curves of {curves.shape[1]} columns and {len(grid)} times do not pair")
    if grid[-1] == 0:
        raise ValueError("a survival curve needs a time after 0")
    if grid[0] == 0:
        return curves, grid
    return np.insert(curves, 0, 1.0, axis=1), np.insert(grid, 0, 0.0)


def _interval_and_share(
    grid: Float[np.ndarray, " g"],
    at: Float[np.ndarray, " k"],
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """(left, share) with at = grid[left] (1 - share) + grid[left + 1] share.

    Times outside the grid get its end.
    """
    left = np.searchsorted(grid, at, side="right") - 1
    left = np.clip(left, 0, len(grid) - 2)
    share = (at - grid[left]) / (grid[left + 1] - grid[left])
    return left, np.clip(share, 0.0, 1.0)


def _probabilities(survival: Real[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Survival in float64, clipped to [0, 1]; ValueError outside by more than rounding."""
    survival = np.asarray(survival, dtype=np.float64)
    wrong = ~((survival >= -ROUNDING) & (survival <= 1 + ROUNDING))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"row {row} has a survival probability of {survival[wrong][0]:g}, outside [0, 1]"
        )
    return np.clip(survival, 0.0, 1.0)


def _spread_over_bins(censored: Float[np.ndarray, " c"], bins: int) -> Float[np.ndarray, "c B"]:
    """The share of [0, c] in every bin; all in the first one for c = 0."""
    start = np.arange(bins) / bins
    overlap = np.clip(censored[:, None] - start, 0.0, 1 / bins)
    zero = censored == 0
    overlap[zero, 0] = 1.0
    length = np.where(zero, 1.0, censored)
    return overlap / length[:, None]


def _observed_survival(
    times: Float[np.ndarray, " n"],
    events: Bool[np.ndarray, " n"],
    time: float,
) -> tuple[float, float]:
    """(Kaplan-Meier S(time), its effective number of rows), nan where it is not defined."""
    table = life_table(times, events)
    passed = table.times <= time
    died, at_risk = table.died[passed], table.at_risk[passed]
    followed = (times >= time).sum()
    survival = float(np.prod(1 - died / at_risk))
    if survival == 0:
        return (survival, float(died.sum()))
    if not followed:
        return (np.nan, np.nan)
    if survival == 1:
        return (survival, float(followed))
    greenwood = (died / (at_risk * (at_risk - died))).sum()  # Var S / S^2
    return (survival, float((1 - survival) / (survival * greenwood)))
