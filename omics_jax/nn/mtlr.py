"""Multi-task logistic regression (MTLR): a survival head whose K outputs are a distribution over K
+ 1 bins of time.

Source: Yu, Greiner, Lin & Baracos 2011, "Learning patient-specific cancer survival distributions as
a sequence of dependent regressors" (NIPS 24); the other conventions are those of OmiEmbed's
released code (Zhang et al. 2021). Left out: the layer that makes the outputs, competing risks,
time-dependent covariates.

Common to all functions: y (n, K) are the outputs; edges (K + 1,) are times 0 = t_0 < ... < t_K; bin
j < K is
[t_j, t_{j+1}) and bin K is [t_K, inf), "survives past the grid". With scores s (see `scores`), p =
softmax(s) is the probability of each bin and S_j = sum_{i>=j} p_i = P(T >= t_j). Everything stays
in logarithms, so that outputs of any size are harmless; a plain exp overflows float32 at 256
outputs of 1/2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real

from omics_jax.errors import UserError

Vector = Real[Array | np.ndarray, " n"]
Flags = Bool[Array | np.ndarray, " n"] | Real[Array | np.ndarray, " n"]
Edges = Float[Array | np.ndarray, " edges"]

MARGIN = 1.1  # an equal grid ends this much later than the last time seen


def scores(y: Float[Array, "*n K"]) -> Float[Array, "*n K+1"]:
    """s_j = sum_{i>=j} y_i for j < K and s_K = 0, so that p = softmax(s) and y_j = log(p_j /
    p_{j+1}).
    """
    tail = jax.lax.cumsum(y, axis=y.ndim - 1, reverse=True)
    return jnp.concatenate([tail, jnp.zeros_like(y[..., :1])], axis=-1)


def log_pmf(y: Float[Array, "*n K"]) -> Float[Array, "*n K+1"]:
    """log p_j, the log probability of an event in bin j."""
    return jax.nn.log_softmax(scores(y), axis=-1)


def survival_at_edges(y: Float[Array, "*n K"]) -> Float[Array, "*n K+1"]:
    """S_j = sum_{i>=j} p_i at the left edge t_j of every bin; S_0 = 1 exactly, never rising."""
    _, tail = _scores_and_tails(y)
    # The tails are summed as a tree, whose rounding could lift a later one by a bit.
    return jax.lax.cummin(jnp.exp(tail - tail[..., :1]), axis=y.ndim - 1)


def mtlr_loss(
    y: Float[Array, "n K"], bin: Int[Array | np.ndarray, " n"], event: Flags, weight: Flags
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum_n w_n NLL_n, sum_n w_n) with NLL = logsumexp(s) - logsumexp(s over the bins that are
    still possible).

    Possible is the bin itself where the event was seen, and every bin from it on, itself included,
    where the time is censored: it says only that T lies at or after the left edge. (To leave the
    bin of censoring out, give bin + 1.)
    The gradient with respect to s is w (softmax(s) - target), the target being p within the
    possible bins.

    bin: see `bins_of`; one outside 0..K (a negative time) makes the loss infinite.
    event: 1 or True where the time is that of the event.
    weight: >= 0; 0 where there is no label or no patient. Whatever y, bin and event hold there, nan
      included, adds exactly nothing to value and gradient.
    """
    live = weight != 0
    # Before the scores: the gradient of a `where` after them would be 0 times nan.
    s = scores(jnp.where(live[:, None], y, 0))
    s = s - jax.lax.stop_gradient(
        s.max(axis=-1, keepdims=True)
    )  # large scores would cost the difference its digits
    bin, outcome = jnp.where(live, bin, 0)[:, None], jnp.arange(s.shape[-1])
    possible = jnp.where((event == 1)[:, None], outcome == bin, outcome >= bin) & (bin >= 0)
    nll = jax.nn.logsumexp(s, axis=-1) - jax.nn.logsumexp(jnp.where(possible, s, -jnp.inf), axis=-1)
    weight = jnp.asarray(weight, y.dtype)
    return jnp.sum(weight * nll), jnp.sum(weight)


CONVENTIONS, HAZARDS = ("containing", "omiembed"), ("proper", "omiembed")


def hazards(y: Float[Array, "*n K"], hazard: str = "proper") -> Float[Array, "*n K"]:
    """The hazard of every bin within the grid.

    "proper":   h_j = p_j / S_j = P(event in bin j | alive at t_j), in [0, 1];
    "omiembed": p_j / S_{j+1}, as OmiEmbed's code has it: the odds h_j / (1 - h_j), unbounded, inf
    past float32.

    Errors: UserError for another one.
    """
    s, tail = _scores_and_tails(y)
    if hazard == "proper":
        return jnp.exp(s - tail)[..., :-1]
    if hazard == "omiembed":
        return jnp.exp(s[..., :-1] - tail[..., 1:])
    raise UserError(f"an MTLR hazard is 'proper' or 'omiembed', not {hazard!r}; choose one of them")


def risk(y: Float[Array, "*n K"], hazard: str = "proper") -> Float[Array, "*n"]:
    """sum_j H_j, the cumulative hazard H_j = sum_{i<=j} h_i summed over the grid; higher means an
    earlier event.

    For ranking patients. In [0, K (K + 1) / 2] for the proper hazard; `hazard` as in `hazards`.
    """
    bins = y.shape[-1]
    return jnp.sum(
        hazards(y, hazard) * jnp.arange(bins, 0, -1), axis=-1
    )  # h_i is in bins - i of the H_j


def survival_at(
    y: Float[Array, "n K"], edges: Edges, times: Real[Array | np.ndarray, " m"]
) -> Float[Array, "n m"]:
    """S(t) of every row at every time, linear between the edges: events are spread evenly over a
    bin.

    Past t_K the model says only that S(t) <= S_K. S_K is what stands there, as a Kaplan-Meier curve
    keeps its last value; a score over time (an integrated Brier score) should end at t_K.
    """
    edges, times = jnp.asarray(edges), jnp.asarray(times)
    return jax.vmap(lambda survival: jnp.interp(times, edges, survival))(survival_at_edges(y))


def median_survival(y: Float[Array, "n K"], edges: Edges) -> Float[Array, " n"]:
    """The first time at which `survival_at` is 1/2, in the units of `edges`; inf where S_K > 1/2.

    inf is "not reached within the grid", and no statement that the patient lives on: name t_K
    beside it.
    """
    edges, survival = jnp.asarray(edges), survival_at_edges(y)
    reached = survival[:, -1] <= 0.5
    right = jnp.argmax(survival <= 0.5, axis=-1)  # 0 only where it is not reached, for S_0 = 1
    before, after = (
        jnp.take_along_axis(survival, j[:, None], axis=-1)[:, 0] for j in (right - 1, right)
    )
    share = (before - 0.5) / jnp.where(reached, before - after, 1)
    return jnp.where(reached, edges[right - 1] + share * (edges[right] - edges[right - 1]), jnp.inf)


def bins_of(times: Vector, edges: Edges, convention: str = "containing") -> Int[Array, " n"]:
    """The bin of every time, of an event or of censoring alike; can be compiled, for edges that are
    constants.

    "containing": j with t_j <= t < t_{j+1}; K from t_K on;
    "omiembed":   j < K with t_j nearest to t, the lower of two: an event late in a bin counts in the next one, one past
                  the grid in the last bin within.

    times: >= 0, in the units of `edges`; nan gets some bin, so give it no weight in `mtlr_loss`.
    Compared in the precision of the device: a time within a rounding error of an edge is at the
    edge.
    Errors: UserError for another convention.
    """
    edges = jnp.asarray(edges)
    times = jnp.asarray(times, edges.dtype)
    if convention == "containing":
        return jnp.searchsorted(edges, times, side="right") - 1
    if convention == "omiembed":
        return jnp.argmin(jnp.abs(times[:, None] - edges[:-1]), axis=-1)
    raise UserError(
        f"an MTLR convention is 'containing' or 'omiembed', not {convention!r}; choose one of them"
    )


def time_grid(
    times: Vector, events: Flags, bins: int, how: str = "quantile"
) -> Float[np.ndarray, " edges"]:
    """Edges (bins + 1,) from 0, in float32 and strictly increasing in it. Host side; give training
    rows alone.

    "quantile": t_j is the first event time by which a share j / bins of the events has happened,
                t_K the last of all. Where ties put two at one time, the later moves on to the next
                event time (or, at the end, the earlier ones back). So all bins but the first hold
                an event, and bin K the last.
    "equal":    equal steps from 0 to 1.1 max(times), censored ones included, as in OmiEmbed (there over all rows).

    Errors: UserError for a time that is negative or not finite, an event that is neither 0 nor 1,
    fewer distinct event times after 0 than bins (quantile), no time after 0 (equal), no bins,
    another `how`.
    """
    times, events = np.asarray(times, np.float32), np.asarray(events)
    _check_labels(times, events)
    if bins < 1:
        raise UserError(f"a survival grid has at least 1 bin, not {bins}; ask for more bins")
    if how == "quantile":
        return _quantile_edges(times[events == 1], bins)
    if how == "equal":
        return _equal_edges(times, bins)
    raise UserError(f"a survival grid is 'quantile' or 'equal', not {how!r}; choose one of them")


def _scores_and_tails(y):
    """s less its largest, and log sum_{i>=j} exp s_i of it, both (..., K + 1); log S_j = tail_j -
    tail_0.
    """
    s = scores(y)
    s = s - jax.lax.stop_gradient(s.max(axis=-1, keepdims=True))
    return s, jax.lax.cumlogsumexp(s, axis=s.ndim - 1, reverse=True)


def _check_labels(times, events):
    broken = ~(np.isfinite(times) & (times >= 0))
    if broken.any():
        raise UserError(
            f"the survival time of training row {int(broken.argmax())} is {times[broken][0]}; a "
            "time is finite and not negative, so correct it or mark the patient as unlabelled"
        )
    unknown = ~np.isin(events, (0, 1))
    if unknown.any():
        raise UserError(
            f"the event of training row {int(unknown.argmax())} is {events[unknown][0]}; write 1 "
            "where the event was seen and 0 where the time is censored"
        )


def _quantile_edges(event_times, bins):
    distinct, count = np.unique(event_times[event_times > 0], return_counts=True)
    if len(distinct) < bins:
        raise UserError(
            f"a quantile grid of {bins} bins needs as many distinct event times after 0, and the "
            f"training rows have {len(distinct)}; ask for fewer bins or for an equal grid"
        )
    place = np.arange(bins)
    # In whole numbers: cumulative count / events >= j / bins.
    chosen = np.searchsorted(np.cumsum(count) * bins, (place + 1) * count.sum())
    chosen = np.maximum.accumulate(chosen - place) + place
    chosen = np.minimum(chosen, len(distinct) - bins + place)
    return np.concatenate([np.zeros(1, np.float32), distinct[chosen]])


def _equal_edges(times, bins):
    last = times.max(initial=0)
    if last == 0:
        raise UserError(
            "an equal survival grid needs a time after 0, and the training rows have none; check "
            "the times"
        )
    return np.linspace(0, MARGIN * float(last), bins + 1).astype(np.float32)
