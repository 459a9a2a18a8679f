"""What the networks see of a stay: series on the training rows' scale, without the cells that are
hidden or held out.

The first half of the story that `model` tells. A row is a stay: x (T, D) in the input's units, its
mask m, hours (T,), static descriptors, the level at which each cell is held out for scoring (0:
never), and the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from omics_jax.nn.noise import row_keys
from omics_jax.systems.ehr import imputers
from omics_jax.systems.ehr.imputers import Imputation, Series
from omics_jax.training.stage import Variables

SLOT = "patients"


@dataclass(frozen=True)
class Network:
    """The shapes of a model: config (of the run), steps T, variables D, statics S. levels: names of
    held-out shares.
    """

    config: Any
    steps: int
    variables: int
    statics: int
    levels: tuple[str, ...]


def observed_series(network: Network, constants, rows, visible: jax.Array) -> Series:
    """Rows on the training scale, showing the cells where `visible` (n, T, D) is True.

    z = (x - mean) / s.d. of the training rows, at most `config.model.clip` s.d. from 0. What no
    training row has is
    not shown.
    """
    z = (rows["static"] - constants["static_mean"]) / constants["static_sd"]
    static = jnp.where(known_statics(constants, rows), z, 0)
    shown = visible & learned(constants)
    return Series(
        jnp.where(shown, standardized(network, constants, rows), 0),
        shown,
        rows["hours"],
        static,
        rows["row"],
    )


def learned(constants) -> jax.Array:
    """(D,): variables that a training row has; the others' cells are never hidden in training."""
    return constants["hiding_rate"] > 0


def known_statics(constants, rows) -> jax.Array:
    """(n, S): descriptors with a value, of those that a training row has; the others' s.d. is inf."""
    return rows["static_m"] & jnp.isfinite(constants["static_sd"])


def standardized(network: Network, constants, rows) -> jax.Array:
    """(n, T, D) values on the training scale, 0 where nothing was measured; see `observed_series`."""
    z = (jnp.where(known(rows), rows["x"], 0) - constants["mean"]) / constants["sd"]
    return jnp.where(
        known(rows), jnp.clip(z, -network.config.model.clip, network.config.model.clip), 0
    )


def known(rows) -> jax.Array:
    """(n, T, D): cells with a value in the file, shown to the network or held out by the file
    itself.
    """
    return rows["m"] | (rows["held"] > 0)


def hidden_cells(constants, rows, key: jax.Array) -> jax.Array:
    """(n, T, D): CSAI's non-uniform masking, each observed cell of variable d hidden with
    probability q_d.
    """
    shape = rows["m"].shape[1:]
    draw = jax.vmap(lambda k: jax.random.uniform(k, shape))(row_keys(key, rows["row"]))
    return rows["m"] & (draw < constants["hiding_rate"])


def held_out(rows, level: int) -> jax.Array:
    """(n, T, D): the cells held out for scoring at the level (1, 2, ...) and those below it."""
    return (rows["held"] > 0) & (rows["held"] <= level)


def run_imputer(
    network: Network, variables: Variables, series: Series, key=None, *, states=False
) -> Imputation:
    """A pass of the imputer; `key` switches its dropout on."""
    usual = variables["constants"]["usual_gap"]
    return imputers.impute(
        variables["params"]["imputer"], network.config.model, series, usual, key, states=states
    )
