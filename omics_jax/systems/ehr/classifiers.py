"""The classifiers on top of an imputer.

Source: Arul Raj, Qian & Ibrahim, *Fine-tuning - a transfer learning approach*.

The paper's four read the output of a pretrained imputer for a stay: `mlp2` (14,081 parameters at
108 hidden units) and `mlp5` its last hidden state; `lstm` (76,721) and `gru` (61,061) a series,
imputed or raw, starting from that state. By these counts the input is one vector of 108, so the two
directions are averaged. `summary` is ours: it reads the plain summaries that a clinical
statistician would compute, encoded piecewise-linearly, a GRU over values, masks and gaps, pooled
over time, and the imputer's state. Each of them may be an ensemble of several members (deep
ensembles, Lakshminarayanan et al. 2017).

Deviates: the widths of `mlp5` are ours; the paper gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

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
CELLS = {"lstm": lstm_parameters, "gru": gru_parameters}
NETWORKS = ("mlp2", "mlp5", "lstm", "gru", "summary")

Parameters = Mapping[str, Any]  # a tree of arrays
Dropout = Callable[..., Array]  # (values, place, rate) -> values


class Inputs(NamedTuple):
    """What a classifier may read of n stays, all on the training scale.

    plain: encoded summaries, None but for `summary`. hidden: mean of both directions' last states.
    x, m: values (0 where missing) and mask. gap: hours since a variable was seen. row: ids that key
    the noise.
    """

    plain: Float[Array, "n P"] | None
    hidden: Float[Array, "n H"]
    imputed: Float[Array, "n T D"]
    x: Float[Array, "n T D"]
    m: Bool[Array, "n T D"]
    gap: Float[Array, "n T D"]
    row: Int[Array, " n"]


def init_classifier(
    key: PRNGKeyArray, config: ConfigDict, hidden: int, variables: int, statics: int
) -> dict[str, Any]:
    """One member's parameters of `config.network`.

    hidden: H, the imputer's hidden units. variables, statics: D and S.
    """
    return draw(key, _described(config, hidden, variables, statics))


def init_members(
    key: PRNGKeyArray, config: ConfigDict, hidden: int, variables: int, statics: int
) -> dict[str, Any]:
    """Parameters of `config.members` classifiers, each drawn by itself, along a first axis."""
    keys = jax.random.split(key, config.members)
    return jax.vmap(lambda k: init_classifier(k, config, hidden, variables, statics))(keys)


def classify_members(
    p: Parameters, config: ConfigDict, inputs: Inputs, key: PRNGKeyArray | None = None
) -> Float[Array, "members n"]:
    """Logits of every member, each with dropout of its own."""
    members = jnp.arange(config.members)
    keys = None
    if key is not None:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(members)

    def logits(p: Parameters, key: PRNGKeyArray | None) -> Float[Array, " n"]:
        return classify(p, config, inputs, key)

    return jax.vmap(logits)(p, keys)


def pooled_logit(logits: Float[Array, "members n"]) -> Float[Array, " n"]:
    """Logit of the mean over members of sigmoid(logits); exact at any magnitude."""

    def log_mean(signed: Float[Array, "members n"]) -> Float[Array, " n"]:
        return jax.nn.logsumexp(jax.nn.log_sigmoid(signed), axis=0)

    return log_mean(logits) - log_mean(-logits)


def _described(config: ConfigDict, hidden: int, variables: int, statics: int) -> dict[str, Any]:
    """The layers of `config.network`, to be drawn."""
    network = config.network
    if network == "mlp5":
        widths = (hidden, *MLP5, 1)
        sizes = zip(widths, widths[1:], strict=False)
        return {
            f"dense_{i}": dense_parameters(inputs, outputs)
            for i, (inputs, outputs) in enumerate(sizes)
        }
    if network == "summary":
        width = plain_width(config, variables, statics) + 3 * config.units + hidden
        return {
            "cell": gru_parameters(3 * variables, config.units),
            "dense_0": dense_parameters(width, HEAD),
            "dense_1": dense_parameters(HEAD, 1),
        }
    head = {"dense_0": dense_parameters(hidden, HEAD), "dense_1": dense_parameters(HEAD, 1)}
    if network in CELLS:
        return {**head, "cell": CELLS[network](variables, hidden)}
    return head


def classify(
    p: Parameters, config: ConfigDict, inputs: Inputs, key: PRNGKeyArray | None = None
) -> Float[Array, " n"]:
    """Logits of the outcome of one member. key: of the dropout, None for none."""

    def drop(x: Array, place: int, rate: float = config.dropout) -> Array:
        if key is None:
            return x
        return row_dropout(jax.random.fold_in(key, place), inputs.row, x, rate)

    if config.network == "summary":
        return _summary_network(p, config, inputs, drop)
    h = inputs.hidden
    if config.network == "mlp5":
        for i in range(len(MLP5)):
            units = jax.nn.relu(dense(p[f"dense_{i}"], h))
            h = drop(units, i)
        return dense(p[f"dense_{len(MLP5)}"], h)[:, 0]
    if config.network in CELLS:
        h = _last_state(p["cell"], config, inputs)
    units = jax.nn.relu(dense(p["dense_0"], h))
    return dense(p["dense_1"], drop(units, 0))[:, 0]


def _last_state(p: Parameters, config: ConfigDict, inputs: Inputs) -> Float[Array, "n H"]:
    """Where the paper's LSTM or GRU arrives, that starts from the imputer's state."""
    series = inputs.imputed if config.series == "imputed" else inputs.x
    h = inputs.hidden
    if config.network == "lstm":
        return run_over_time(lstm_cell, p, (h, jnp.zeros_like(h)), series)[0]
    return run_over_time(gru_cell, p, h, series)[0]


def _summary_network(
    p: Parameters, config: ConfigDict, inputs: Inputs, drop: Dropout
) -> Float[Array, " n"]:
    """A network on encoded summaries, pooled GRU states and the imputer's state."""
    gap = jnp.log1p(jnp.maximum(inputs.gap, 0))
    read = jnp.concatenate([inputs.imputed, inputs.m.astype(gap.dtype), gap], axis=-1)
    start = jnp.zeros((len(read), p["cell"]["hidden"].shape[0]))
    last, states = run_over_time(gru_cell, p["cell"], start, read)
    parts = [last, states.mean(axis=1), states.max(axis=1), inputs.hidden]
    pooled = jnp.concatenate(parts, axis=-1)
    plain = drop(inputs.plain, 2, config.plain_dropout)
    both = jnp.concatenate([plain, drop(pooled, 0)], axis=-1)
    h = jax.nn.relu(dense(p["dense_0"], both))
    return dense(p["dense_1"], drop(h, 1))[:, 0]


def plain_width(config: ConfigDict, variables: int, statics: int) -> int:
    """Columns of `Inputs.plain`."""
    return config.bins * (SUMMARIES * variables + statics) + statics


def summaries(
    x: Float[Array, "n T D"],
    m: Bool[Array, "n T D"],
    hours: Float[Array, "n T"],
    static: Float[Array, "n S"],
    static_m: Bool[Array, "n S"],
) -> tuple[Float[Array, "n F"], Bool[Array, "n F"]]:
    """Plain summaries of n stays, F = 8 D + S values, 0 where unknown, and which of them are known.

    The boosted trees read them too.

    Per variable mean, min, max, last, rate of observation, first, sample s.d. and slope per hour;
    then the statics.
    """
    count = m.sum(axis=1)
    seen = count > 0
    share = jnp.maximum(count, 1)
    mean = jnp.where(m, x, 0).sum(axis=1) / share
    low = jnp.where(m, x, jnp.inf).min(axis=1)
    high = jnp.where(m, x, -jnp.inf).max(axis=1)
    first = _values_at(x, jnp.argmax(m, axis=1))
    last = _values_at(x, m.shape[1] - 1 - jnp.argmax(m[:, ::-1], axis=1))
    rate = count / m.shape[1]
    off = jnp.where(m, x - mean[:, None], 0)
    sd = jnp.sqrt((off**2).sum(axis=1) / jnp.maximum(count - 1, 1))
    hour = jnp.where(m, hours[..., None], 0)
    mean_hour = (hour.sum(axis=1) / share)[:, None]
    hour_off = jnp.where(m, hour - mean_hour, 0)
    spread = (hour_off**2).sum(axis=1)
    covariance = (hour_off * off).sum(axis=1)
    slope = covariance / jnp.where(spread > 0, spread, 1)
    columns = [
        (mean, seen),
        (low, seen),
        (high, seen),
        (last, seen),
        (rate, jnp.ones_like(seen)),
        (first, seen),
        (sd, count > 1),
        (slope, spread > 0),
        (static, static_m),
    ]
    values, known = (jnp.concatenate(parts, axis=-1) for parts in zip(*columns, strict=True))
    return jnp.where(known, values, 0), known


def _values_at(x: Float[Array, "n T D"], step: Int[Array, "n D"]) -> Float[Array, "n D"]:
    """The value of every variable at a step of its own."""
    return jnp.take_along_axis(x, step[:, None], axis=1)[:, 0]
