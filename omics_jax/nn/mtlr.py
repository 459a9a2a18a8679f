"""Multi-task logistic regression (MTLR): K outputs are a distribution over K + 1 bins of time.

Source: Yu, Greiner, Lin & Baracos 2011, "Learning patient-specific cancer survival distributions as
a sequence of dependent regressors" (NIPS 24). The conventions named "omiembed" are those of
OmiEmbed's released code (Zhang et al. 2021). Left out: the layer that makes the outputs, competing
risks and time-dependent covariates.

Common to all functions: y (n, K) are the outputs; edges (K + 1,) are times 0 = t_0 < ... < t_K; bin
j < K is [t_j, t_{j+1}) and bin K is [t_K, inf), survival past the grid. With scores s (see
`scores`), p = softmax(s) is the probability of each bin and S_j = sum_{i>=j} p_i = P(T >= t_j).
Everything stays in logarithms, so that outputs of any size are harmless; a plain exp overflows
float32 at 256 outputs of 1/2.

A grid of fewer bins has the shape of a larger one when its first edges are all 0 (`pad_edges`). Of
the outputs of `within_grid`, bins of no width have the probability 0, so that likelihood, survival,
risk, medians and all gradients are those of the bins that have a width.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jaxtyping import Array, Bool, Float, Int, Real

from omics_jax.errors import UserError

AnyArray = Array | np.ndarray

Outputs = Float[Array, "*n K"]
PerBin = Float[Array, "*n K+1"]
Times = Real[AnyArray, " n"]
Events = Bool[AnyArray, " n"] | Times
Weights = Events
Bins = Int[AnyArray, " n"]
Edges = Float[AnyArray, " edges"]

CONVENTIONS = ("containing", "omiembed")
HAZARDS = ("proper", "omiembed")
EQUAL_GRID_MARGIN = 1.1  # an equal grid ends at this multiple of the last time
NO_WIDTH = -1e30  # an output whose bin has a probability of exactly 0; a sum of many stays finite


def pad_edges(edges: Float[np.ndarray, " edges"], bins: int) -> Float[np.ndarray, " padded"]:
    """The grid with bins of no width at time 0 before its own, `bins` in all; edges (bins + 1,)."""
    return np.pad(edges, (bins + 1 - len(edges), 0))


def within_grid(y: Outputs, edges: Edges) -> Outputs:
    """The outputs, `NO_WIDTH` for bins of no width, whose gradient is 0."""
    edges = jnp.asarray(edges)
    return jnp.where(edges[1:] > edges[:-1], y, NO_WIDTH)


def scores(y: Outputs) -> PerBin:
    """s_j = sum_{i>=j} y_i for j < K and s_K = 0: p = softmax(s), y_j = log(p_j / p_{j+1})."""
    tail = jax.lax.cumsum(y, axis=y.ndim - 1, reverse=True)
    last = jnp.zeros_like(y[..., :1])
    return jnp.concatenate([tail, last], axis=-1)


def log_pmf(y: Outputs) -> PerBin:
    """log p_j, the log probability of an event in bin j."""
    return jax.nn.log_softmax(scores(y), axis=-1)


def survival_at_edges(y: Outputs) -> PerBin:
    """S_j = sum_{i>=j} p_i at the left edge t_j of every bin; S_0 = 1 exactly, never rising."""
    _, log_tail = _scores_and_log_tails(y)
    survival = jnp.exp(log_tail - log_tail[..., :1])
    # The tails are summed as a tree, whose rounding could lift a later one by a bit.
    return jax.lax.cummin(survival, axis=y.ndim - 1)


def mtlr_loss(
    y: Float[Array, "n K"], bin: Bins, event: Events, weight: Weights
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum_n w_n NLL_n, sum_n w_n), NLL = logsumexp(s) - logsumexp(s over the possible bins).

    Where the event was observed, its own bin alone is possible. Where the time is censored, its bin
    and every later one are possible: censoring says only that T lies at or after the left edge. (To
    leave the bin of censoring out, give bin + 1.) The gradient with respect to s is
    w (softmax(s) - target), where target is p within the possible bins, scaled to sum to 1.

    bin: see `bin_index`; one outside 0..K (a negative time) makes the loss infinite.
    event: 1 or True where the time is that of the event.
    weight: >= 0; 0 where there is no label or no patient. Whatever y, bin and event hold there, NaN
      included, adds exactly nothing to value and gradient.
    """
    live = weight != 0
    # Masked before the scores: the gradient of a `where` after them would be 0 times NaN.
    y = jnp.where(live[:, None], y, 0)
    s = _less_largest(scores(y))
    bin = jnp.where(live, bin, 0)[:, None]
    every_bin = jnp.arange(s.shape[-1])
    observed = (event == 1)[:, None]
    possible = jnp.where(observed, every_bin == bin, every_bin >= bin)
    possible = possible & (bin >= 0)
    s_possible = jnp.where(possible, s, -jnp.inf)
    nll = logsumexp(s, axis=-1) - logsumexp(s_possible, axis=-1)
    weight = jnp.asarray(weight, y.dtype)
    return jnp.sum(weight * nll), jnp.sum(weight)


def hazards(y: Outputs, hazard: str = "proper") -> Outputs:
    """The hazard of every bin within the grid.

    "proper":   h_j = p_j / S_j = P(event in bin j | alive at t_j), in [0, 1];
    "omiembed": p_j / S_{j+1}, as in OmiEmbed's code: the odds h_j / (1 - h_j), unbounded, inf past
                float32.

    Errors: UserError for another hazard.
    """
    s, log_tail = _scores_and_log_tails(y)
    if hazard == "proper":
        return jnp.exp(s - log_tail)[..., :-1]
    if hazard == "omiembed":
        log_later = log_tail[..., 1:]
        return jnp.exp(s[..., :-1] - log_later)
    raise UserError(f"an MTLR hazard is 'proper' or 'omiembed', not {hazard!r}; choose one of them")


def risk(y: Outputs, hazard: str = "proper") -> Float[Array, "*n"]:
    """sum_j H_j, with the cumulative hazard H_j = sum_{i<=j} h_i; higher means an earlier event.

    For ranking patients. In [0, K (K + 1) / 2] for the proper hazard; `hazard` as in `hazards`.
    """
    bins = y.shape[-1]
    cumulative_hazards_with = jnp.arange(bins, 0, -1)  # h_i is part of K - i of the H_j
    terms = hazards(y, hazard) * cumulative_hazards_with
    return jnp.sum(terms, axis=-1)


def survival_at(
    y: Float[Array, "n K"], edges: Edges, times: Real[AnyArray, " m"]
) -> Float[Array, "n m"]:
    """S(t) of every row at every time, linear between edges: events are spread evenly over a bin.

    Past t_K the model says only that S(t) <= S_K. S_K is returned there, as a Kaplan-Meier curve
    keeps its last value; a score over time (an integrated Brier score) should end at t_K.
    """
    edges = jnp.asarray(edges)
    times = jnp.asarray(times)

    def interpolate(survival: Float[Array, " edges"]) -> Float[Array, " m"]:
        return jnp.interp(times, edges, survival)

    return jax.vmap(interpolate)(survival_at_edges(y))


def median_survival(y: Float[Array, "n K"], edges: Edges) -> Float[Array, " n"]:
    """The first time at which `survival_at` is 1/2, in the units of `edges`; inf where S_K > 1/2.

    inf means "not reached within the grid", not that the patient lives on: report t_K with it.
    """
    edges = jnp.asarray(edges)
    survival = survival_at_edges(y)
    reached = survival[:, -1] <= 0.5
    right = jnp.argmax(survival <= 0.5, axis=-1)  # 0 only where it is not reached, since S_0 = 1
    left = right - 1
    before = _entry(survival, left)
    after = _entry(survival, right)
    fall = jnp.where(reached, before - after, 1)
    share = (before - 0.5) / fall
    start, end = edges[left], edges[right]
    crossing = start + share * (end - start)
    return jnp.where(reached, crossing, jnp.inf)


def bin_index(times: Times, edges: Edges, convention: str = "containing") -> Int[Array, " n"]:
    """The bin of every time, of an event or of censoring alike.

    "containing": j with t_j <= t < t_{j+1}; K from t_K on;
    "omiembed":   j < K with t_j nearest to t, the lower of two: an event late in a bin counts in
                  the next one, an event past the grid in the last bin within.

    times: >= 0, in the units of `edges`, compared in the precision of the device: a time within a
      rounding error of an edge is at the edge. NaN gets some bin, so give it no weight in
      `mtlr_loss`.

    Errors: UserError for another convention.
    """
    edges = jnp.asarray(edges)
    times = jnp.asarray(times, edges.dtype)
    if convention == "containing":
        return jnp.searchsorted(edges, times, side="right") - 1
    if convention == "omiembed":
        left_edges, has_width = edges[:-1], edges[1:] > edges[:-1]
        distance = jnp.where(has_width, jnp.abs(times[:, None] - left_edges), jnp.inf)
        return jnp.argmin(distance, axis=-1)
    raise UserError(
        f"an MTLR convention is 'containing' or 'omiembed', not {convention!r}; choose one of them"
    )


def time_grid(
    times: Times, events: Events, bins: int, grid: str = "quantile"
) -> Float[np.ndarray, " edges"]:
    """Edges (bins + 1,) from 0 in float32, strictly increasing. On the host, of training rows.

    "quantile": t_j is the first event time by which a share j / bins of the events has happened,
                t_K the last of all. Where ties put two edges at one time, the later one moves on to
                the next event time (or, at the end, the earlier ones back). So all bins but the
                first hold an event, and bin K the last.
    "equal":    equal steps from 0 to 1.1 max(times), censored times included, as in OmiEmbed (there
                over all rows).

    Errors: UserError for a time that is negative or not finite, an event that is neither 0 nor 1,
      fewer distinct event times after 0 than bins (quantile), no time after 0 (equal), no bins,
      another `grid`.
    """
    times = np.asarray(times, np.float32)
    events = np.asarray(events)
    _check_labels(times, events)
    if bins < 1:
        raise UserError(f"a survival grid has at least 1 bin, not {bins}; ask for more bins")
    if grid == "quantile":
        return _quantile_edges(times[events == 1], bins)
    if grid == "equal":
        return _equal_edges(times, bins)
    raise UserError(f"a survival grid is 'quantile' or 'equal', not {grid!r}; choose one of them")


def _less_largest(s: Float[Array, "*n bins"]) -> Float[Array, "*n bins"]:
    """The scores less their largest, because large scores would cost differences their digits."""
    largest = s.max(axis=-1, keepdims=True)
    return s - jax.lax.stop_gradient(largest)


def _scores_and_log_tails(y: Outputs) -> tuple[PerBin, PerBin]:
    """s less its largest, and log sum_{i>=j} exp s_i; log S_j = log_tail_j - log_tail_0."""
    s = _less_largest(scores(y))
    return s, jax.lax.cumlogsumexp(s, axis=s.ndim - 1, reverse=True)


def _entry(values: Float[Array, "n m"], column: Int[Array, " n"]) -> Float[Array, " n"]:
    """values[i, column[i]] of every row i."""
    entries = jnp.take_along_axis(values, column[:, None], axis=-1)
    return entries[:, 0]


def _check_labels(times: Real[np.ndarray, " n"], events: Events) -> None:
    valid = np.isfinite(times) & (times >= 0)
    if not valid.all():
        row = int(valid.argmin())
        raise UserError(
            f"the survival time of training row {row} is {times[row]}; a "
            "time is finite and not negative, so correct it or mark the patient as unlabelled"
        )
    known = np.isin(events, (0, 1))
    if not known.all():
        row = int(known.argmin())
        raise UserError(
            f"the event of training row {row} is {events[row]}; write 1 "
            "where the event was seen and 0 where the time is censored"
        )


def _quantile_edges(
    event_times: Float[np.ndarray, " events"], bins: int
) -> Float[np.ndarray, " edges"]:
    distinct, count = np.unique(event_times[event_times > 0], return_counts=True)
    if len(distinct) < bins:
        raise UserError(
            f"a quantile grid of {bins} bins needs as many distinct event times after 0, and the "
            f"training rows have {len(distinct)}; ask for fewer bins or for an equal grid"
        )
    bin = np.arange(bins)
    # In whole numbers: cumulative count / events >= (j + 1) / bins.
    happened = np.cumsum(count)
    needed = (bin + 1) * count.sum()
    chosen = np.searchsorted(happened * bins, needed)
    # Strictly increasing: ties move later edges on, and the end moves earlier ones back.
    chosen = np.maximum.accumulate(chosen - bin) + bin
    chosen = np.minimum(chosen, len(distinct) - bins + bin)
    start = np.zeros(1, np.float32)
    return np.concatenate([start, distinct[chosen]])


def _equal_edges(times: Float[np.ndarray, " n"], bins: int) -> Float[np.ndarray, " edges"]:
    last = times.max(initial=0)
    if last == 0:
        raise UserError(
            "an equal survival grid needs a time after 0, and the training rows have none; check "
            "the times"
        )
    end = EQUAL_GRID_MARGIN * float(last)
    edges = np.linspace(0, end, bins + 1)
    return edges.astype(np.float32)
