"""The classifiers on top of an imputer (Arul Raj, Qian & Ibrahim, *Fine-tuning - a transfer
learning approach*).

The paper's four read what a pretrained imputer makes of a stay: `mlp2` (14,081 parameters at 108
hidden units) and `mlp5` its last hidden state; `lstm` (76,721) and `gru` (61,061) a series, imputed
or raw, starting from that state. One vector of 108 goes in (the counts leave no room for two), so
the directions are averaged. `summary` is ours: the plain summaries a clinical statistician would
compute, encoded piecewise-linearly, beside a GRU over values, masks and gaps, pooled over time, and
the imputer's state. Any of them
may be several members that are trained side by side and averaged (Lakshminarayanan et al. 2017,
deep ensembles).

Deviates: the widths of `mlp5` are ours, the paper names none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from omics_jax.nn.initial import draw
from omics_jax.nn.noise import row_dropout
from omics_jax.nn.recurrent import (
    dense,
    dense_parameters,
    gru_cell,
    gru_parameters,
    lstm_cell,
    lstm_parameters,
    run_over_time,
)

HEAD = 128
SUMMARIES = 8  # of every variable
MLP5 = (256, 128, 64, 32)
NETWORKS = ("mlp2", "mlp5", "lstm", "gru", "summary")


class Inputs(NamedTuple):
    """What a classifier may read of n stays, all on the training scale.

    plain: (n, P) encoded summaries, None but for `summary`. hidden: (n, H) mean of both directions'
    last states. imputed: (n, T, D). x, m: (n, T, D) values (0 where missing) and mask. gap: (n, T,
    D) hours since one was seen.
    row: (n,) ids that key the noise.
    """

    plain: jax.Array | None
    hidden: jax.Array
    imputed: jax.Array
    x: jax.Array
    m: jax.Array
    gap: jax.Array
    row: jax.Array


def init_classifier(
    key: jax.Array, config: Any, hidden: int, variables: int, statics: int
) -> dict[str, Any]:
    """One member's parameters of `config.network`, for H = hidden units of the imputer, D
    variables, S descriptors.
    """
    return draw(key, _described(config, hidden, variables, statics))


def init_members(
    key: jax.Array, config: Any, hidden: int, variables: int, statics: int
) -> dict[str, Any]:
    """Parameters of `config.members` classifiers that differ in their initial values, along a first
    axis.
    """
    keys = jax.random.split(key, config.members)
    return jax.vmap(lambda k: init_classifier(k, config, hidden, variables, statics))(keys)


def classify_members(
    p: dict[str, Any], config: Any, inputs: Inputs, key: jax.Array | None = None
) -> jax.Array:
    """(members, n) logits, every member with dropout of its own."""
    keys = (
        None
        if key is None
        else jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(config.members))
    )
    return jax.vmap(lambda p, key: classify(p, config, inputs, key))(p, keys)


def pooled_logit(logits: jax.Array) -> jax.Array:
    """(n,) logit of the mean over members of sigmoid(logits), logits (members, n); exact at any
    magnitude.
    """
    log_mean = lambda signed: jax.nn.logsumexp(jax.nn.log_sigmoid(signed), axis=0)
    return log_mean(logits) - log_mean(-logits)


def _described(config: Any, hidden: int, variables: int, statics: int) -> dict[str, Any]:
    network = config.network
    if network == "mlp5":
        widths = (hidden, *MLP5, 1)
        return {
            f"dense_{i}": dense_parameters(a, b)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        }
    if network == "summary":
        width = plain_width(config, variables, statics) + 3 * config.units + hidden
        return {
            "cell": gru_parameters(3 * variables, config.units),
            "dense_0": dense_parameters(width, HEAD),
            "dense_1": dense_parameters(HEAD, 1),
        }
    head = {"dense_0": dense_parameters(hidden, HEAD), "dense_1": dense_parameters(HEAD, 1)}
    cells = {"lstm": lstm_parameters, "gru": gru_parameters}
    return {**head, "cell": cells[network](variables, hidden)} if network in cells else head


def classify(
    p: dict[str, Any], config: Any, inputs: Inputs, key: jax.Array | None = None
) -> jax.Array:
    """(n,) logits of the outcome of one member. key: of the dropout, None for none."""

    def drop(x, place, rate=config.dropout):
        return (
            x if key is None else row_dropout(jax.random.fold_in(key, place), inputs.row, x, rate)
        )

    if config.network == "summary":
        return _summary_network(p, config, inputs, drop)
    if config.network == "mlp5":
        h = inputs.hidden
        for i in range(len(MLP5)):
            h = drop(jax.nn.relu(dense(p[f"dense_{i}"], h)), i)
        return dense(p[f"dense_{len(MLP5)}"], h)[:, 0]
    h = inputs.hidden
    if config.network in ("lstm", "gru"):
        series = inputs.imputed if config.series == "imputed" else inputs.x
        cell, state = (
            (lstm_cell, (h, jnp.zeros_like(h))) if config.network == "lstm" else (gru_cell, h)
        )
        h, _ = run_over_time(cell, p["cell"], state, series)
    return dense(p["dense_1"], drop(jax.nn.relu(dense(p["dense_0"], h)), 0))[:, 0]


def _summary_network(p, config, inputs: Inputs, drop) -> jax.Array:
    """A network on encoded summaries, pooled GRU states and the imputer's state."""
    gap = jnp.log1p(jnp.maximum(inputs.gap, 0))
    read = jnp.concatenate([inputs.imputed, inputs.m.astype(gap.dtype), gap], axis=-1)
    start = jnp.zeros((len(read), p["cell"]["hidden"].shape[0]))
    last, states = run_over_time(gru_cell, p["cell"], start, read)
    pooled = jnp.concatenate(
        [last, states.mean(axis=1), states.max(axis=1), inputs.hidden], axis=-1
    )
    both = jnp.concatenate([drop(inputs.plain, 2, config.plain_dropout), drop(pooled, 0)], axis=-1)
    h = jax.nn.relu(dense(p["dense_0"], both))
    return dense(p["dense_1"], drop(h, 1))[:, 0]


def plain_width(config: Any, variables: int, statics: int) -> int:
    """Columns of `Inputs.plain`."""
    return config.bins * (SUMMARIES * variables + statics) + statics


def summaries(x: jax.Array, m: jax.Array, hours: jax.Array, static: jax.Array, static_m: jax.Array):
    """Values (n, 8 D + S), 0 where unknown, and which are known: the summaries that boosting is
    given, too.

    Per variable mean, min, max, last, rate of observation, first, sample s.d. and slope per hour;
    then the statics.
    """
    count = m.sum(axis=1)
    seen, share = count > 0, jnp.maximum(count, 1)
    mean = jnp.where(m, x, 0).sum(axis=1) / share
    low, high = jnp.where(m, x, jnp.inf).min(axis=1), jnp.where(m, x, -jnp.inf).max(axis=1)
    pick = lambda at: jnp.take_along_axis(x, at[:, None], axis=1)[:, 0]
    first, last = pick(jnp.argmax(m, axis=1)), pick(m.shape[1] - 1 - jnp.argmax(m[:, ::-1], axis=1))
    rate = count / m.shape[1]
    off = jnp.where(m, x - mean[:, None], 0)
    hour = jnp.where(m, hours[..., None], 0)
    hour = jnp.where(m, hour - (hour.sum(axis=1) / share)[:, None], 0)
    sd = jnp.sqrt((off**2).sum(axis=1) / jnp.maximum(count - 1, 1))
    spread = (hour**2).sum(axis=1)
    slope = (hour * off).sum(axis=1) / jnp.where(spread > 0, spread, 1)
    values = [mean, low, high, last, rate, first, sd, slope, static]
    known = [seen, seen, seen, seen, jnp.ones_like(seen), seen, count > 1, spread > 0, static_m]
    known = jnp.concatenate(known, axis=-1)
    return jnp.where(known, jnp.concatenate(values, axis=-1), 0), known
