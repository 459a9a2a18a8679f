"""BRITS (Cao et al. 2018) and CSAI (Qian et al., arXiv 2312.16713): bidirectional imputation.

A recurrent network steps through the hours. Before it sees step t it estimates every variable: from
its state, from the other variables, and from both, weighted by the time since the variable was last
observed. A second network with its own weights runs backwards. With input x (0 where missing), mask
m, gap d (hours since a variable was last observed), state h:

    h <- h * exp(-relu(W d + b))                       memory fades               (1)
    xhat = W h + b                                     from the state             (2)
    zhat = W (m x + (1 - m) xhat) + b, diag(W) = 0     from the other variables   (3, 4)
    beta = sigmoid(W [exp(-relu(w d + b)); m] + b)                                (5)
    chat = beta zhat + (1 - beta) xhat;  c = m x + (1 - m) chat                   (5, 6)
    h <- cell(h, [c; m])                               LSTM in BRITS, GRU in CSAI (7)

CSAI starts from a state conditioned on the patient: the last observations and an embedding of the
gaps, relative to each variable's usual one, are 2T tokens of a transformer layer, mixed to one
vector. Both directions are one scan with their parameters stacked; everything that a step needs is
computed inside it, because on a CPU memory traffic costs more than arithmetic.

Deviates: biases of the decays start at 0 (uninitialised in the released CSAI), attention runs
within a patient (across the batch in the release), the backward gaps are those of the reversed
mask, and the consistency loss averages over cells that were imputed (over all cells in both
releases); `config.compat` restores the last three. Source of the equations: the papers, and the
released code for what the papers do not state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

from omics_jax.nn import attention
from omics_jax.nn.decay import (
    diagonal_decay,
    diagonal_parameters,
    feature_regression,
    temporal_decay,
    time_gap_embedding,
)
from omics_jax.nn.gaps import last_observed, reverse_hours, time_gaps
from omics_jax.nn.initial import draw
from omics_jax.nn.noise import row_dropout
from omics_jax.nn.recurrent import (
    dense,
    dense_parameters,
    gru_cell,
    gru_parameters,
    hidden_of,
    lstm_cell,
    lstm_parameters,
)

ROWS_AT_ONCE = 2  # patients whose attention is computed together
EMBEDDED = 4  # the place of dropout on the first half of the tokens, after those of `attention`

Parameters = Mapping[str, Any]  # a tree of arrays
Hidden = Float[Array, "2 n H"]
State = Hidden | tuple[Hidden, Hidden]  # h of a GRU, (h, c) of an LSTM
Cell = Callable[..., Any]  # (parameters, state, input) -> state


class Series(NamedTuple):
    """A batch of series on the training scale.

    x: 0 where m is False. static: 0 where unknown. row: ids that key the noise.
    """

    x: Float[Array, "n T D"]
    m: Bool[Array, "n T D"]
    hours: Float[Array, "n T"]
    static: Float[Array, "n S"]
    row: Int[Array, " n"]


class Imputation(NamedTuple):
    """The output of a pass over a batch.

    estimates: chat of the forward and of the backward network, both in forward time.
    hidden: last states. states: those of every step, in forward time, or None.
    errors: sums of |x - xhat|, |x - zhat|, |x - chat| over observed cells, in each network's own
      time.
    """

    estimates: Float[Array, "2 n T D"]
    hidden: Float[Array, "2 n H"]
    states: Float[Array, "2 n T H"] | None
    errors: Float[Array, "3 T 2"]


def init_imputer(
    key: PRNGKeyArray, config: ConfigDict, steps: int, variables: int, statics: int
) -> dict[str, Any]:
    """Parameters of both directions, stacked along a first axis of 2.

    Per direction, for D variables and H hidden units (BRITS): LSTM 4H(2D + H) + 8H, decay of h HD +
    H, decay of x 2D, history HD + D, feature regression D^2 + D, combination 2D^2 + D. The releases
    hold the diagonal decay of x as a full D x D matrix, whose off-diagonal weights never act.
    """
    d, h, c = variables, config.hidden, config.channels
    recurrent_layer = lstm_parameters if config.imputer == "brits" else gru_parameters
    described = {
        "decay_h": dense_parameters(d, h),
        "decay_x": diagonal_parameters(d),
        "history": dense_parameters(h, d),
        "feature": dense_parameters(d, d),
        "combine": dense_parameters(2 * d, d),
        "cell": recurrent_layer(2 * d, h),
    }
    if config.imputer == "csai":
        described |= {
            "gap": dense_parameters(d, d),
            "embed": dense_parameters(d, c),
            "encoder": attention.transformer_parameters(c, config.feedforward),
            "to_hidden": dense_parameters(c, h),
            "mix": dense_parameters(2 * steps, 1),
        }
    if config.static:
        described["static"] = dense_parameters(statics, h)
    return jax.vmap(lambda k: draw(k, described))(jax.random.split(key, 2))


def impute(
    p: Parameters,
    config: ConfigDict,
    series: Series,
    usual_gap: Float[Array, " D"],
    key: PRNGKeyArray | None = None,
    *,
    states: bool = False,
) -> Imputation:
    """One pass of both networks over a batch.

    usual_gap: median hours between two observations, of the training rows. key: of the dropout in
    CSAI's conditional state, None for none. states: whether to keep every step's hidden state.
    """
    x, m = _both_directions(series.x), _both_directions(series.m)
    gap = gaps_of(config, series)
    h = initial_state(p, config, series, gap, usual_gap, key)
    state = (h, jnp.zeros_like(h)) if config.imputer == "brits" else h
    cell = lstm_cell if config.imputer == "brits" else gru_cell

    def step(state: State, inputs: tuple[Array, Array, Array]) -> tuple[State, Any]:
        x, m, gap = inputs
        state, errors, estimate = imputing_step(p, config, cell, state, x, m, gap)
        return state, (errors, estimate, hidden_of(state) if states else None)

    time_major = tuple(jnp.moveaxis(a, 2, 0) for a in (x, m, gap))
    last, (errors, estimates, every_state) = jax.lax.scan(step, state, time_major)
    return Imputation(
        estimates=_in_forward_time(estimates),
        hidden=hidden_of(last),
        states=_in_forward_time(every_state) if states else None,
        errors=jnp.moveaxis(errors, 1, 0),
    )


def imputing_step(
    p: Parameters,
    config: ConfigDict,
    cell: Cell,
    state: State,
    x: Float[Array, "2 n D"],
    m: Bool[Array, "2 n D"],
    gap: Float[Array, "2 n D"],
) -> tuple[State, Float[Array, "3 2"], Float[Array, "2 n D"]]:
    """Equations (1) to (7) for one hour of both directions.

    Returns the new state, the summed absolute errors of xhat, zhat and chat over observed cells,
    and chat.
    """
    fade = temporal_decay(p["decay_h"], gap)
    state = (state[0] * fade, state[1]) if isinstance(state, tuple) else state * fade
    xhat = dense(p["history"], hidden_of(state))
    zhat = feature_regression(p["feature"], jnp.where(m, x, xhat))
    seen_recently = diagonal_decay(p["decay_x"], gap)
    beta = dense(p["combine"], jnp.concatenate([seen_recently, m.astype(x.dtype)], axis=-1))
    beta = jax.nn.sigmoid(beta) if config.sigmoid_beta else beta
    chat = beta * zhat + (1 - beta) * xhat
    errors = [jnp.sum(jnp.where(m, jnp.abs(x - e), 0), axis=(1, 2)) for e in (xhat, zhat, chat)]
    completed_step = jnp.where(m, x, chat)
    seen = jnp.concatenate([completed_step, m.astype(x.dtype)], axis=-1)
    return cell(p["cell"], state, seen), jnp.stack(errors), chat


def gaps_of(config: ConfigDict, series: Series) -> Float[Array, "2 n T D"]:
    """Gaps of the series and of its reversal, by the convention of `config.gaps`."""
    forward = time_gaps(series.m, series.hours, config.gaps)
    # The BRITS release reverses the mask twice, and so not at all.
    if config.compat.double_reversed_gaps:
        return jnp.stack([forward, forward])
    backward = time_gaps(series.m[:, ::-1], reverse_hours(series.hours), config.gaps)
    return jnp.stack([forward, backward])


def initial_state(
    p: Parameters,
    config: ConfigDict,
    series: Series,
    gap: Float[Array, "2 n T D"],
    usual_gap: Float[Array, " D"],
    key: PRNGKeyArray | None,
) -> Float[Array, "2 n H"]:
    """h_0: zeros in BRITS, conditioned on the patient in CSAI.

    With `config.static` the descriptors are added.
    """
    h = jnp.zeros((2, len(series.row), config.hidden))
    if config.imputer == "csai":
        forward = last_observed(series.x, series.m)
        backward = last_observed(series.x[:, ::-1], series.m[:, ::-1])
        last = jnp.stack([forward, backward])
        keys = None if key is None else jnp.stack([jax.random.fold_in(key, k) for k in (0, 1)])

        def of_direction(
            p: Parameters, last: Array, gap: Array, key: PRNGKeyArray | None
        ) -> Float[Array, "n H"]:
            return conditional_state(p, config, last, gap, usual_gap, series.row, key)

        h = jax.vmap(of_direction)(p, last, gap, keys)
    if config.static:
        h = h + jax.vmap(dense, in_axes=(0, None))(p["static"], series.static)
    return h


def conditional_state(
    p: Parameters,
    config: ConfigDict,
    last: Float[Array, "n T D"],
    gap: Float[Array, "n T D"],
    usual_gap: Float[Array, " D"],
    row: Int[Array, " n"],
    key: PRNGKeyArray | None,
) -> Float[Array, "n H"]:
    """CSAI's h_0 of one direction from last observations and gaps.

    Both halves pass through one embedding and share their positions, as released; only their values
    distinguish them. The published order is a projection C -> H of all 2T tokens and then their
    linear mix to one; both are linear, so the mix comes first here. Deviates: no dropout on the
    attention weights, which are the largest array. Because h_0 depends on every observation, the
    estimate at an observed cell depends on the cell's own value; at hidden and held-out cells it
    does not.
    """
    if config.compat.cross_patient_attention:
        return _state_from_tokens(p, config, last, gap, usual_gap, row, key)
    few = math.gcd(len(row), ROWS_AT_ONCE)

    # A few patients at a time, recomputed in the backward pass, so that their attention weights
    # never leave the cache.
    @jax.checkpoint
    def state_of_few(part: tuple[Array, Array, Array]) -> Float[Array, "few H"]:
        last, gap, row = part
        return _state_from_tokens(p, config, last, gap, usual_gap, row, key)

    parts = tuple(a.reshape(-1, few, *a.shape[1:]) for a in (last, gap, row))
    return jax.lax.map(state_of_few, parts).reshape(len(row), -1)


def _state_from_tokens(
    p: Parameters,
    config: ConfigDict,
    last: Float[Array, "n T D"],
    gap: Float[Array, "n T D"],
    usual_gap: Float[Array, " D"],
    row: Int[Array, " n"],
    key: PRNGKeyArray | None,
) -> Float[Array, "n H"]:
    """`conditional_state` of patients whose attention is computed together."""

    def drop(x: Array, place: int) -> Array:
        if key is None or place == attention.ATTENTION_WEIGHTS:
            return x
        return row_dropout(jax.random.fold_in(key, place), row, x, config.dropout)

    positions = attention.sinusoidal_positions(last.shape[1], config.channels)
    relative_gap = jax.vmap(time_gap_embedding, in_axes=(None, 0, None))(p["gap"], gap, usual_gap)
    embedded = [
        drop(dense(p["embed"], half) + positions, EMBEDDED + place)
        for place, half in enumerate((last, relative_gap))
    ]
    tokens = jnp.concatenate(embedded, axis=1)
    if config.compat.cross_patient_attention:
        by_token = tokens.swapaxes(0, 1)
        encoded = attention.encoder_layer(p["encoder"], by_token, config.heads).swapaxes(0, 1)
    else:
        encoded = attention.encoder_layer(p["encoder"], tokens, config.heads, drop)
    mix = p["mix"]["kernel"][:, 0]
    mixed = jnp.einsum("ntc,t->nc", encoded, mix) @ p["to_hidden"]["kernel"]
    return mixed + p["to_hidden"]["bias"] * mix.sum() + p["mix"]["bias"]


def completed(series: Series, imputation: Imputation) -> Float[Array, "n T D"]:
    """Observed cells as they are, missing ones the mean of both directions' estimates."""
    return jnp.where(series.m, series.x, imputation.estimates.mean(axis=0))


def _both_directions(a: Array) -> Array:
    """(n, T, ...) -> (2, n, T, ...): forward and reversed in time."""
    return jnp.stack([a, a[:, ::-1]])


def _in_forward_time(by_step: Float[Array, "T 2 n k"]) -> Float[Array, "2 n T k"]:
    """The output of a scan over both directions, with the backward half in forward time."""
    a = jnp.moveaxis(by_step, 0, 2)
    return jnp.stack([a[0], a[1][:, ::-1]])
