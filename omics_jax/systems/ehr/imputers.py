"""BRITS (Cao et al. 2018) and CSAI (Qian et al., arXiv 2312.16713): imputing an irregular series
from both sides.

A recurrent network walks through the hours and, before it sees step t, estimates every variable:
from its state, from the other variables, and from both weighed by how long the variable has not
been seen. A second network of its own weights walks backwards. With input x (0 where missing), mask
m, gap d (hours since a variable was last seen), state h:

    h <- h * exp(-relu(W d + b))                       memory fades                              (1)
    xhat = W h + b                                     from the state                            (2)
    zhat = W (m x + (1 - m) xhat) + b, diag(W) = 0     from the other variables                  (3, 4)
    beta = sigmoid(W [exp(-relu(w d + b)); m] + b)                                               (5)
    chat = beta zhat + (1 - beta) xhat;  c = m x + (1 - m) chat                                  (5, 6)
    h <- cell(h, [c; m])                               LSTM in BRITS, GRU in CSAI                (7)

CSAI starts from a state conditioned on the patient: the last observations and an embedding of the
gaps, relative to each variable's usual one, are 2T tokens of a transformer layer, mixed to one
vector. Both directions are one scan with their parameters stacked; everything a step needs is
computed inside it, because on a CPU memory is dearer than maths.

Deviates: biases of the decays start at 0 (uninitialised in the released CSAI), attention runs
within a patient (across the batch in the release), the backward gaps are those of the reversed
mask, and the consistency loss averages over cells that were imputed (over all cells in both
releases); `config.compat` brings the last three back. Source of the equations: the paper's, and the
released code where the paper is silent.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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

ROWS_AT_ONCE = 2


class Series(NamedTuple):
    """A batch of series on the training scale: x (n, T, D) with 0 where m (n, T, D) bool is False,
    hours (n, T).

    static: (n, S), 0 where unknown; row: (n,) ids that key the noise.
    """

    x: jax.Array
    m: jax.Array
    hours: jax.Array
    static: jax.Array
    row: jax.Array


class Imputation(NamedTuple):
    """What a pass over a batch yields.

    estimates: (2, n, T, D) chat of the forward and the backward network, both in forward time.
    hidden: (2, n, H) last states. states: (2, n, T, H) of every step, in forward time, or None.
    errors: (3, T, 2) sums of |x - xhat|, |x - zhat|, |x - chat| over observed cells, in each
      network's own time.
    """

    estimates: jax.Array
    hidden: jax.Array
    states: jax.Array | None
    errors: jax.Array


def init_imputer(
    key: jax.Array, config: Any, steps: int, variables: int, statics: int
) -> dict[str, Any]:
    """Parameters of both directions, stacked along a first axis of 2.

    Per direction, for D variables and H hidden units (BRITS): LSTM 4H(2D + H) + 8H, decay of h HD +
    H, decay of x 2D, history HD + D, feature regression D^2 + D, combination 2D^2 + D. The releases
    hold the diagonal decay of x as a full D x D matrix, whose off-diagonal weights never act.
    """
    d, h, c = variables, config.hidden, config.channels

    described = {
        "decay_h": dense_parameters(d, h),
        "decay_x": diagonal_parameters(d),
        "history": dense_parameters(h, d),
        "feature": dense_parameters(d, d),
        "combine": dense_parameters(2 * d, d),
        "cell": (lstm_parameters if config.imputer == "brits" else gru_parameters)(2 * d, h),
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
    p: dict[str, Any],
    config: Any,
    series: Series,
    usual_gap: jax.Array,
    key: jax.Array | None = None,
    *,
    states=False,
) -> Imputation:
    """One pass of both networks over a batch.

    usual_gap: (D,) median hours between two observations, of the training rows. key: of the dropout
    in CSAI's conditional state, None for none. states: whether to keep every step's hidden state.
    """
    x, m = _both(series.x), _both(series.m)
    gap = gaps_of(config, series)
    h = initial_state(p, config, series, gap, usual_gap, key)
    state = (h, jnp.zeros_like(h)) if config.imputer == "brits" else h
    cell = lstm_cell if config.imputer == "brits" else gru_cell

    def step(state, at):
        x, m, gap = at
        state, errors, estimate = imputing_step(p, config, cell, state, x, m, gap)
        return state, (errors, estimate, hidden_of(state) if states else None)

    time_major = lambda a: jnp.moveaxis(a, 2, 0)
    last, (errors, estimates, every) = jax.lax.scan(
        step, state, tuple(map(time_major, (x, m, gap)))
    )
    in_forward_time = lambda a: _both_back(jnp.moveaxis(a, 0, 2))
    return Imputation(
        estimates=in_forward_time(estimates),
        hidden=hidden_of(last),
        states=in_forward_time(every) if states else None,
        errors=jnp.moveaxis(errors, 1, 0),
    )


def imputing_step(p, config, cell, state, x, m, gap):
    """Equations (1) to (7) for one hour of both directions; x, m, gap (2, n, D).

    Returns the new state, (3, 2) summed absolute errors of xhat, zhat and chat over observed cells,
    and chat.
    """
    fade = temporal_decay(p["decay_h"], gap)
    state = (state[0] * fade, state[1]) if isinstance(state, tuple) else state * fade
    xhat = dense(p["history"], hidden_of(state))
    zhat = feature_regression(p["feature"], jnp.where(m, x, xhat))
    beta = dense(
        p["combine"],
        jnp.concatenate([diagonal_decay(p["decay_x"], gap), m.astype(x.dtype)], axis=-1),
    )
    beta = jax.nn.sigmoid(beta) if config.sigmoid_beta else beta
    chat = beta * zhat + (1 - beta) * xhat
    errors = [jnp.sum(jnp.where(m, jnp.abs(x - e), 0), axis=(1, 2)) for e in (xhat, zhat, chat)]
    seen = jnp.concatenate([jnp.where(m, x, chat), m.astype(x.dtype)], axis=-1)
    return cell(p["cell"], state, seen), jnp.stack(errors), chat


def gaps_of(config: Any, series: Series) -> jax.Array:
    """(2, n, T, D) gaps of the series and of its reversal, by the convention of `config.gaps`."""
    forward = time_gaps(series.m, series.hours, config.gaps)
    if (
        config.compat.double_reversed_gaps
    ):  # the BRITS release reverses the mask twice, and so not at all
        return jnp.stack([forward, forward])
    return jnp.stack(
        [forward, time_gaps(series.m[:, ::-1], reverse_hours(series.hours), config.gaps)]
    )


def initial_state(p, config: Any, series: Series, gap, usual_gap, key) -> jax.Array:
    """h_0 (2, n, H): zeros in BRITS, conditioned on the patient in CSAI; plus the static
    descriptors where wanted.
    """
    n = len(series.row)
    h = jnp.zeros((2, n, config.hidden))
    if config.imputer == "csai":
        last = jnp.stack(
            [last_observed(series.x, series.m), last_observed(series.x[:, ::-1], series.m[:, ::-1])]
        )
        keys = jnp.stack([jax.random.fold_in(key, k) for k in (0, 1)]) if key is not None else None
        of_direction = lambda p, last, gap, key: conditional_state(
            p, config, last, gap, usual_gap, series.row, key
        )
        h = jax.vmap(of_direction)(p, last, gap, keys)
    if config.static:
        h = h + jax.vmap(dense, in_axes=(0, None))(p["static"], series.static)
    return h


def conditional_state(p, config: Any, last, gap, usual_gap, row, key) -> jax.Array:
    """CSAI's h_0 (n, H) of one direction from last observations and gaps, each (n, T, D).

    Both halves pass through one embedding and share their positions, as released; nothing tells the
    halves apart but what they hold. The published order is a projection C -> H of all 2T tokens and
    then their linear mix to one; both are linear, so the mix goes first here. Deviates: no dropout
    on the attention weights, of which there are most. As h_0 has read every observation, an
    estimate at an observed cell is not blind to it; at hidden and held-out cells it is.
    """
    if config.compat.cross_patient_attention:
        return _conditional_state(p, config, last, gap, usual_gap, row, key)
    # A few patients at a time, recomputed on the way back: their attention weights then never leave
    # the cache.
    few = math.gcd(len(row), ROWS_AT_ONCE)
    cut = lambda a: a.reshape(-1, few, *a.shape[1:])
    one = jax.checkpoint(
        lambda part: _conditional_state(p, config, *part[:2], usual_gap, part[2], key)
    )
    return jax.lax.map(one, (cut(last), cut(gap), cut(row))).reshape(len(row), -1)


def _conditional_state(p, config: Any, last, gap, usual_gap, row, key) -> jax.Array:
    drop = lambda x, place: x
    if key is not None:
        noisy = lambda x, place: row_dropout(jax.random.fold_in(key, place), row, x, config.dropout)
        drop = lambda x, place: noisy(x, place) if place != attention.ATTENTION_WEIGHTS else x
    positions = attention.sinusoidal_positions(last.shape[1], config.channels)
    halves = last, jax.vmap(time_gap_embedding, in_axes=(None, 0, None))(p["gap"], gap, usual_gap)
    tokens = [
        drop(dense(p["embed"], part) + positions, 4 + half) for half, part in enumerate(halves)
    ]
    tokens = jnp.concatenate(tokens, axis=1)
    if config.compat.cross_patient_attention:
        along = attention.encoder_layer(p["encoder"], tokens.swapaxes(0, 1), config.heads).swapaxes(
            0, 1
        )
    else:
        along = attention.encoder_layer(p["encoder"], tokens, config.heads, drop)
    mix = p["mix"]["kernel"][:, 0]
    mixed = jnp.einsum("ntc,t->nc", along, mix) @ p["to_hidden"]["kernel"]
    return mixed + p["to_hidden"]["bias"] * mix.sum() + p["mix"]["bias"]


def completed(series: Series, found: Imputation) -> jax.Array:
    """(n, T, D): observed cells as they are, missing ones the mean of both directions' estimates."""
    return jnp.where(series.m, series.x, found.estimates.mean(axis=0))


def _both(a: jax.Array) -> jax.Array:
    """(2, n, T, ...): forward and reversed in time."""
    return jnp.stack([a, a[:, ::-1]])


def _both_back(a: jax.Array) -> jax.Array:
    """(2, n, T, ...) with the second half turned back into forward time."""
    return jnp.stack([a[0], a[1][:, ::-1]])
