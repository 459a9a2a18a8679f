"""How well a risk score orders patients whose follow-up may be censored.

Harrell's concordance (Harrell et al. 1996), Uno's with weights against censoring (Uno et al. 2011),
and the area under the ROC curve of "dead by t" against "alive at t" (Uno et al. 2007; Hung & Chiang
2010). Times, events, `train` and `test` are as in `follow_up`; higher risk means an earlier event,
only its order counts and infinite values rank at the ends; results are float64. Left out: incident
cases, and concordance of whole curves (Antolini et al. 2005).

Hand-written because lifelines has only Harrell's; Uno's needs the same counts of pairs row by row.
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import (
    Events,
    FollowUpWarning,
    Test,
    Times,
    Train,
    censoring_at,
    checked_outcome,
    clip_times,
    follow_up_end,
    kaplan_meier_at,
    no_events_error,
)

Risk = Real[np.ndarray, " n"]


def concordance(times: Times, events: Events, risk: Risk) -> float:
    """P(the row with the earlier event has the higher risk) over comparable pairs.

    Equal risks count half. (i, j) is comparable with E_i = 1 and T_i < T_j, or T_i = T_j and E_j =
    0; two events at one time are not.
    """
    concordant, tied, comparable = concordance_pairs(times, events, risk)
    return (concordant + 0.5 * tied) / comparable


def concordance_pairs(times: Times, events: Events, risk: Risk) -> tuple[int, int, int]:
    """(concordant pairs, pairs of equal risk, all comparable pairs), in O(n log n).

    UserError without a comparable pair.
    """
    below, equal, comparable = _pairs_by_row(*_checked(times, events, risk))
    _refuse_without_pairs(comparable)
    return int(below.sum()), int(equal.sum()), int(comparable.sum())


def concordance_within(
    times: Times, events: Events, risk: Risk, stratum: Shaped[np.ndarray, " n"]
) -> float:
    """As `concordance`, over pairs of rows of one stratum (a disease, a centre) alone.

    What a risk owes to knowing the stratum does not count. UserError without a comparable pair.
    """
    times, events, risk = _checked(times, events, risk)
    parts = [np.flatnonzero(stratum == name) for name in np.unique(stratum)]
    counts = [_pairs_by_row(times[rows], events[rows], risk[rows]) for rows in parts]
    below, equal, comparable = (np.concatenate(part) for part in zip(*counts, strict=True))
    _refuse_without_pairs(comparable)
    return float((below.sum() + 0.5 * equal.sum()) / comparable.sum())


def concordance_uno(train: Train, test: Test, risk: Risk, tau: float | None = None) -> float:
    """As `concordance`, each pair weighted by 1 / G(T_i)^2 (Uno et al. 2011).

    Only events at T_i < tau count; G is of the training rows. Events after `follow_up_end`, where G
    is unknown, count as censored there, with one FollowUpWarning saying how many: tau is then no
    later than that end.
    """
    times, events, risk = _checked(*test, risk)
    end = follow_up_end(train)
    counted = events if tau is None else events & (times < tau)
    beyond = int((counted & (times > end)).sum())
    if beyond:
        warnings.warn(
            f"{beyond} of {int(counted.sum())} test events lie outside the training rows' "
            f"follow-up, 0 to {end:g}, and count as censored at {end:g}",
            FollowUpWarning,
            stacklevel=2,
        )
    below, equal, comparable = _pairs_by_row(times, events, risk)
    weight = _inverse_weights(train, times, counted & (times <= end)) ** 2
    _refuse_without_pairs(comparable * (weight > 0))
    concordant = (weight * (below + 0.5 * equal)).sum()
    return float(concordant / (weight * comparable).sum())


def cumulative_dynamic_auc(
    train: Train,
    test: Test,
    risk: Real[np.ndarray, "n ..."],
    times: Real[np.ndarray, " k"],
) -> tuple[Float[np.ndarray, " k"], float]:
    """(AUC at `times` (k,), their mean): whether those dead by t had higher risks than those alive.

    P(risk_i > risk_j | T_i <= t with an event, T_j > t), equal risks half, estimated by
    AUC(t) = sum_ij w_i 1(T_j > t) [1(risk_i > risk_j) + 1(risk_i = risk_j) / 2]
             / (n_alive(t) sum_i w_i)
    with w_i = 1(T_i <= t, E_i = 1) / G(T_i), G of the training rows. risk: (n,), or (n, k) with a
    column for each time. The mean weights AUC(t_k) by S(t_{k-1}) - S(t_k), S(t_0) = 1, the
    Kaplan-Meier of the test rows.

    AUC is nan at times by which nobody has died or after which nobody is left, and those do not
    enter the mean; UserError if all are. Times after `follow_up_end` are clipped to it, with a
    FollowUpWarning; a risk with columns is interpolated there.
    """
    test_times, events = checked_outcome(*test)
    clipped = clip_times(train, times)
    columns = _risk_columns(risk, np.asarray(times, dtype=np.float64), clipped, len(events))
    weight = _inverse_weights(train, test_times, events & (test_times <= clipped[-1]))
    pairs = zip(clipped, columns.T, strict=True)
    auc = np.array([_auc_at(t, test_times, weight, risk_at_t) for t, risk_at_t in pairs])
    defined = ~np.isnan(auc)
    if not defined.any():
        shown = np.array2string(clipped, precision=4, threshold=6)
        raise UserError(
            f"none of the times {shown} divides the {len(events)} test rows into rows with an "
            "event by then and rows still followed; choose times between the first event and the "
            "last follow-up"
        )
    share = -np.diff(kaplan_meier_at(test_times, events, clipped), prepend=1.0)
    return auc, float((share[defined] * auc[defined]).sum() / share[defined].sum())


def _checked(
    times: Times,
    events: Events,
    risk: Risk,
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Times and events as in `follow_up`, with at least one event, and float64 risks."""
    times, events = checked_outcome(times, events)
    risk = np.asarray(risk, dtype=np.float64)
    if risk.shape != times.shape:
        raise ValueError(f"risks of shape {risk.shape} and {len(times)} times do not pair")
    _refuse_nan(risk)
    if not events.any():
        raise no_events_error(len(events))
    return times, events, risk


def _refuse_nan(risk: Float[np.ndarray, ...]) -> None:
    if np.isnan(risk).any():
        row = int(np.argwhere(np.isnan(risk))[0][0])
        raise ValueError(f"the risk of row {row} is nan; a patient without one cannot rank")


def _refuse_without_pairs(comparable: Int[np.ndarray, " n"]) -> None:
    if not comparable.any():
        raise UserError(
            f"none of {len(comparable)} rows has a counted event before the time of another row, "
            "so no two can be compared; take more rows or a longer follow-up"
        )


def _inverse_weights(
    train: Train,
    times: Float[np.ndarray, " n"],
    counted: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """1 / G(T_i) of the counted rows, 0 of the others."""
    g = censoring_at(train, times)
    return np.divide(1.0, g, out=np.zeros(len(times)), where=counted)


def _pairs_by_row(
    times: Float[np.ndarray, " n"],
    events: Bool[np.ndarray, " n"],
    risk: Float[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Per row i: its comparable rows j of lower risk, those of equal risk, and all of them.

    All three are 0 for a row without an event.
    """
    time_rank = np.unique(times, return_inverse=True)[1]
    key = 2 * time_rank + ~events  # an event precedes a censoring at the same time
    order = np.argsort(key, kind="stable")
    rank = np.unique(risk, return_inverse=True)[1]
    start = np.searchsorted(key[order], key, side="right")
    below, equal = _below_and_equal(rank[order], start, rank)
    return below * events, equal * events, (len(times) - start) * events


def _below_and_equal(
    sequence: Int[np.ndarray, " n"],
    start: Int[np.ndarray, " n"],
    value: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """#{k >= start_i: sequence_k < value_i} and #{k >= start_i: sequence_k = value_i}, every i.

    Bit by bit from the highest, as in a wavelet matrix: the entries that agree with value_i so far
    are a stretch [low, high) of the reordered sequence, and those of them whose next bit is 0 where
    value_i has 1 are below it.
    """
    low, high = start, np.full(len(start), len(sequence))
    below = np.zeros(len(start), dtype=np.int64)
    for bit in reversed(range(int(sequence.max()).bit_length())):
        one = (sequence >> bit) & 1 == 1
        zeros = np.concatenate([[0], np.cumsum(~one)])
        goes_right = (value >> bit) & 1 == 1
        below += np.where(goes_right, zeros[high] - zeros[low], 0)
        low = np.where(goes_right, zeros[-1] + low - zeros[low], zeros[low])
        high = np.where(goes_right, zeros[-1] + high - zeros[high], zeros[high])
        sequence = np.concatenate([sequence[~one], sequence[one]])
    return below, high - low


def _auc_at(
    t: float,
    times: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
    risk: Float[np.ndarray, " n"],
) -> float:
    """AUC(t); nan where nobody has died by t or nobody is left."""
    case = (weight > 0) & (times <= t)
    alive = np.sort(risk[times > t])
    if not case.any() or not len(alive):
        return float("nan")
    below = np.searchsorted(alive, risk[case], side="left")
    below_or_tied = np.searchsorted(alive, risk[case], side="right")
    concordant = (weight[case] * (below + below_or_tied)).sum()
    return float(concordant / (2 * len(alive) * weight[case].sum()))


def _risk_columns(
    risk: Real[np.ndarray, "n ..."],
    times: Float[np.ndarray, " k"],
    clipped: Float[np.ndarray, " k"],
    rows: int,
) -> Float[np.ndarray, "n k"]:
    """Risks at the clipped times."""
    risk = np.asarray(risk, dtype=np.float64)
    if risk.shape not in ((rows,), (rows, len(times))):
        raise ValueError(
            f"risks of shape {risk.shape} fit neither {rows} rows nor {rows} rows at {len(times)} "
            "times"
        )
    _refuse_nan(risk)
    if risk.ndim == 1:
        return np.broadcast_to(risk[:, None], (rows, len(times)))
    if np.array_equal(times, clipped):
        return risk
    return np.stack([np.interp(clipped, times, row) for row in risk])
