"""What was observed of patients whose follow-up may be censored: numpy in, float64 numbers out.

Kaplan & Meier (1958) of events and of censoring, how far follow-up reaches, quantile groups of risk
and log-rank tests between groups. Left out: competing risks, delayed entry, and bands around the
curves.

Common to all functions, also of `survival` and `concordance`: `times` holds follow-ups of 0 or more
in any one unit, `events` 0 (censored) or 1 (bool, int or float); where both happen at one time,
events come first. `train` and `test` are pairs (times, events). Anything else raises ValueError;
too few rows, events or follow-up raise UserError.

The life table and the curves made of it are hand-written: inverse censoring weights need the curve
of censoring with events first at ties, which lifelines does not offer, and both curves, Breslow's
hazard and Greenwood's variance should count the same rows.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

from omics_jax.errors import UserError

Times = Real[np.ndarray, " n"]
Events = Shaped[np.ndarray, " n"]
Test = tuple[Real[np.ndarray, " n"], Shaped[np.ndarray, " n"]]
Train = tuple[Real[np.ndarray, " r"], Shaped[np.ndarray, " r"]]


class FollowUpWarning(UserWarning):
    """Times lie after the end of the training rows' follow-up, where censoring is unknown."""


class LifeTable(NamedTuple):
    """Per distinct time, rising: events and censorings at it, and rows at risk just before it."""

    times: Float[np.ndarray, " k"]
    died: Int[np.ndarray, " k"]
    censored: Int[np.ndarray, " k"]
    at_risk: Int[np.ndarray, " k"]


class LogRankTrend(NamedTuple):
    """`z` is above 0 where higher groups have more events than expected; `p` is two-sided."""

    z: float
    p: float


class LogRank(NamedTuple):
    """`p` of the chi-squared `statistic` on `df` degrees of freedom."""

    statistic: float
    p: float
    df: int


def life_table(times: Times, events: Events) -> LifeTable:
    """The counts that all estimates here are made of."""
    times, events = checked_outcome(times, events)
    distinct, time_index = np.unique(times, return_inverse=True)
    left = np.bincount(time_index)
    died = np.bincount(time_index[events], minlength=len(distinct))
    at_risk = np.cumsum(left[::-1])[::-1]
    return LifeTable(distinct, died, left - died, at_risk)


def kaplan_meier(
    times: Times,
    events: Events,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """(t, S, r): distinct times, rising; S(t) = prod_{s <= t} (1 - d_s / r_s); r_t rows at risk.

    d_s: events at s; r_t: rows followed to t or longer.
    """
    table = life_table(times, events)
    return table.times, np.cumprod(1 - table.died / table.at_risk), table.at_risk


def kaplan_meier_censoring(
    times: Times,
    events: Events,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """As `kaplan_meier`, for G(t) = P(censored after t).

    Rows with an event at t are no longer at risk of censoring at t.
    """
    table = life_table(times, events)
    at_risk = table.at_risk - table.died
    return table.times, np.cumprod(1 - table.censored / np.maximum(at_risk, 1)), at_risk


def kaplan_meier_at(
    times: Times,
    events: Events,
    at: Real[np.ndarray, " m"],
) -> Float[np.ndarray, " m"]:
    """S(at), 1 before the first of the times and held after the last."""
    distinct, survival, _ = kaplan_meier(times, events)
    return _step_at(distinct, survival, at)


def censoring_at(train: Train, at: Real[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """G(at) of the training rows, held after the last of their times: see `follow_up_end`."""
    distinct, uncensored, _ = kaplan_meier_censoring(*train)
    return _step_at(distinct, uncensored, at)


def follow_up_end(train: Train) -> float:
    """The last time with a known G > 0.

    It is the last training time, or just before it if G falls to 0 there. UserError where all
    follow-ups are 0.
    """
    distinct, uncensored, _ = kaplan_meier_censoring(*train)
    last = float(distinct[-1])
    if last == 0:
        raise UserError(
            f"all {len(train[0])} training rows have a follow-up of 0, so censoring is unknown; "
            "check the column of times"
        )
    return last if uncensored[-1] > 0 else float(np.nextafter(last, 0.0))


def clip_times(train: Train, times: Real[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Times of evaluation, those after `follow_up_end` set to it.

    One FollowUpWarning says how many were.
    """
    times, end = checked_times(times), follow_up_end(train)
    beyond = int((times > end).sum())
    if beyond:
        warnings.warn(
            f"{beyond} of {len(times)} times of evaluation lie outside the training rows' "
            f"follow-up, 0 to {end:g}, and are clipped to {end:g}",
            FollowUpWarning,
            stacklevel=3,
        )
    return np.minimum(times, end)


def risk_groups(
    risk: Real[np.ndarray, " n"],
    groups: int = 3,
    reference: Real[np.ndarray, " r"] | None = None,
) -> Int[np.ndarray, " n"]:
    """0 (lowest risk) to groups - 1, by quantiles of `reference`.

    reference: training risks, say; the risks themselves by default. A risk equal to a quantile is
    above it, and equal risks stay together, so groups may be uneven or empty.
    """
    if groups < 2:
        raise ValueError(f"a division needs at least 2 groups, not {groups}")
    reference = risk if reference is None else reference
    for name, values in (("risk", risk), ("reference risk", reference)):
        wrong = ~np.isfinite(values)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"the {name} of row {row} is {values[row]} and belongs to no group; mask it first"
            )
    if not len(reference):
        raise UserError(
            f"there is no risk to take {groups} quantile groups from; give at least one row"
        )
    edges = np.quantile(reference, np.arange(1, groups) / groups)
    return np.searchsorted(edges, risk, side="right")


def log_rank(times: Times, events: Events, groups: Shaped[np.ndarray, " n"]) -> LogRank:
    """Log-rank test that all groups have one hazard (Mantel 1966), by lifelines.

    The variance at ties is hypergeometric. UserError for a single group and without events.
    """
    from lifelines.statistics import multivariate_logrank_test

    times, events = checked_outcome(times, events)
    names, codes = np.unique(groups, return_inverse=True)
    if len(codes) != len(times):
        raise ValueError(f"{len(times)} times and {len(codes)} groups do not pair")
    if len(names) < 2:
        raise UserError(
            f"a log-rank test needs two groups, and all {len(times)} rows are in "
            f"{str(names[0])!r}; divide them"
        )
    if not events.any():
        raise no_events_error(len(events))
    test = multivariate_logrank_test(times, codes, events)
    return LogRank(float(test.test_statistic), float(test.p_value), len(names) - 1)


def log_rank_trend(
    times: Times,
    events: Events,
    group: Real[np.ndarray, " groups"],
    stratum: Shaped[np.ndarray, " strata"] | None = None,
) -> LogRankTrend:
    """Log-rank test for trend over ordered groups (Tarone 1975), within strata.

    z = sum_st (G_st - d_st mean_st) / sqrt(sum_st d_st (r_st - d_st) / (r_st - 1) var_st) over the
    event times t of the strata s: G adds up `group` over the d events, mean and var (1 / r) are
    those of `group` over the r rows of the stratum at risk. Of two groups z^2 is the (stratified)
    log-rank statistic. Hand-written because lifelines has neither strata nor a trend.

    group: a number per row that rises with the expected risk, such as those of `risk_groups`.
    stratum: what is only compared within itself, such as a fold or a disease; None for one stratum.

    UserError without an event at which a stratum has rows of different groups at risk.
    """
    from scipy.stats import norm

    times, events = checked_outcome(times, events)
    group = np.asarray(group, np.float64)
    strata = np.zeros(len(times)) if stratum is None else np.asarray(stratum)
    if not len(group) == len(strata) == len(times):
        raise ValueError(f"{len(times)} times, {len(group)} groups and {len(strata)} strata")
    if not events.any():
        raise no_events_error(len(events))
    members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    parts = [_trend(times[rows], events[rows], group[rows]) for rows in members]
    excess, variance = np.sum(parts, axis=0)
    if not variance > 0:
        raise UserError(
            "a log-rank test needs an event while rows of two groups are followed in one stratum, "
            f"and {len(times)} rows in {len(members)} strata have none; form larger groups"
        )
    z = float(excess / np.sqrt(variance))
    return LogRankTrend(z, float(2 * norm.sf(abs(z))))


def _trend(
    times: Float[np.ndarray, " n"],
    events: Bool[np.ndarray, " n"],
    group: Float[np.ndarray, " n"],
) -> tuple[float, float]:
    """Numerator and variance of `log_rank_trend` in one stratum."""
    table = life_table(times, events)
    time_index = np.searchsorted(table.times, times)

    def at_risk_sum(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        leaving = np.bincount(time_index, values, minlength=len(table.times))
        return np.cumsum(leaving[::-1])[::-1]

    # About their mean, so that the variance of equal numbers is exactly 0 or nearly so.
    group = group - group.mean()
    died, at_risk = table.died, table.at_risk
    of_died = np.bincount(time_index[events], group[events], minlength=len(table.times))
    mean = at_risk_sum(group) / at_risk
    variance = np.maximum(at_risk_sum(group**2) / at_risk - mean**2, 0)
    hypergeometric = died * (at_risk - died) / np.maximum(at_risk - 1, 1)
    return (of_died - died * mean).sum(), (hypergeometric * variance).sum()


def checked_outcome(
    times: Times,
    events: Events,
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """float64 times and bool events of at least one row; errors name the row of anything else."""
    times, events = np.asarray(times, dtype=np.float64), checked_events(events)
    if times.shape != events.shape:
        raise ValueError(f"{len(times)} times and {len(events)} events do not pair")
    wrong = ~(np.isfinite(times) & (times >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"the time of row {row} is {times[row]:g}, not a finite number of 0 or more; mask it "
            "first"
        )
    return times, events


def checked_events(events: Events) -> Bool[np.ndarray, " n"]:
    """Bool events of at least one row."""
    events = np.asarray(events)
    if not len(events):
        raise UserError("there is no row with a time and an event to evaluate; give at least one")
    wrong = ~np.isin(events, (0, 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"the event of row {row} is {events[row]}, neither 0 nor 1; mask it first")
    return events.astype(bool)


def checked_times(times: Real[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """float64 times of evaluation or of a grid.

    ValueError unless there is one, and all are finite, 0 or more and strictly rising.
    """
    times = np.asarray(times, dtype=np.float64)
    rising = np.isfinite(times).all() and (np.diff(times) > 0).all()
    if not len(times) or times[0] < 0 or not rising:
        shown = np.array2string(times, precision=6, threshold=8)
        raise ValueError(
            f"times of evaluation rise strictly from 0 or more and are finite, unlike {shown}"
        )
    return times


def no_events_error(rows: int) -> UserError:
    """The error for rows without any event."""
    return UserError(
        f"none of {rows} rows has an event; check that 1 codes the event and 0 censoring, or add "
        "rows"
    )


def _step_at(
    times: Float[np.ndarray, " k"],
    values: Float[np.ndarray, " k"],
    at: Real[np.ndarray, " m"],
) -> Float[np.ndarray, " m"]:
    """A right-continuous step function that starts at 1."""
    return np.insert(values, 0, 1.0)[np.searchsorted(times, at, side="right")]
