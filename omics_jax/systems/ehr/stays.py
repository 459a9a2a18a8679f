"""The networks' view of a stay: its series on the training rows' scale, without hidden cells.

A row is a stay of T steps and D variables:

    x, m             (T, D)  what was measured, in the input's units, and which cells are shown
    held             (T, D)  the level (1, 2, ...) at which a cell is held out, 0 for never
    hours            (T,)    the time of every step
    static, static_m (S,)    descriptors of the patient, and which of them are known
    label, labelled  ()      the outcome, and whether it is known
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from omics_jax.nn.noise import row_keys
from omics_jax.systems.ehr import imputers
from omics_jax.systems.ehr.imputers import Imputation, Series
from omics_jax.training.stage import Variables

SLOT = "patients"
Rows = Mapping[str, Array]  # the fields above, (n, ...) each, and "row" (n,), which keys the noise
Constants = Mapping[str, Array]  # fitted to the training rows, see `replicates.constants_of`


@dataclass(frozen=True)
class ModelShape:
    """The settings and sizes that determine the shapes of a model.

    config: of the run. steps, variables, statics: T, D and S. levels: names of the shares of cells
    that are held out.
    """

    config: ConfigDict
    steps: int
    variables: int
    statics: int
    levels: tuple[str, ...]


def observed_series(
    shape: ModelShape, constants: Constants, rows: Rows, visible: Bool[Array, "n T D"]
) -> Series:
    """Rows on the training scale, showing the cells where `visible` is True.

    z = (x - mean) / s.d. of the training rows, at most `config.model.clip` s.d. from 0. A variable
    or descriptor that no training row has is not shown.
    """
    described = plausible(constants, rows["static"], "static_")
    z = (described - constants["static_mean"]) / constants["static_sd"]
    static = jnp.where(known_statics(constants, rows), z, 0)
    shown = visible & seen_in_training(constants)
    x = jnp.where(shown, standardized(shape, constants, rows), 0)
    return Series(x, shown, rows["hours"], static, rows["row"])


def seen_in_training(constants: Constants) -> Bool[Array, " D"]:
    """Variables that a training row has; the cells of the others are never hidden in training."""
    return constants["hiding_rate"] > 0


def known_statics(constants: Constants, rows: Rows) -> Bool[Array, "n S"]:
    """Known descriptors, of those that a training row has; the s.d. of the others is infinite."""
    return rows["static_m"] & jnp.isfinite(constants["static_sd"])


def standardized(shape: ModelShape, constants: Constants, rows: Rows) -> Float[Array, "n T D"]:
    """Values on the training scale, 0 where nothing was measured; see `observed_series`."""
    measured, clip = measured_cells(rows), shape.config.model.clip
    x = plausible(constants, jnp.where(measured, rows["x"], 0))
    z = (x - constants["mean"]) / constants["sd"]
    return jnp.where(measured, jnp.clip(z, -clip, clip), 0)


def plausible(
    constants: Constants, x: Float[Array, "*n D"], prefix: str = ""
) -> Float[Array, "*n D"]:
    """Values in input units, a far one (see `scales`) drawn in to the training range.

    prefix: of the names of the constants, "static_" for descriptors.
    """
    low, high, far_low, far_high = (
        constants[f"{prefix}{name}"] for name in ("low", "high", "far_low", "far_high")
    )
    return jnp.where((x < far_low) | (x > far_high), jnp.clip(x, low, high), x)


def within_range(constants: Constants, z: Float[Array, "*n T D"]) -> Float[Array, "*n T D"]:
    """Imputed values on the training scale, drawn in to the training range and its margin.

    Those of a variable that is constant in the training rows are this constant.
    """
    return jnp.clip(z, constants["least_z"], constants["most_z"])


def measured_cells(rows: Rows) -> Bool[Array, "n T D"]:
    """Cells with a value in the file, shown to the network or held out by the file itself."""
    return rows["m"] | (rows["held"] > 0)


def hidden_cells(constants: Constants, rows: Rows, key: PRNGKeyArray) -> Bool[Array, "n T D"]:
    """CSAI's non-uniform masking: an observed cell of variable d is hidden with probability q_d."""
    cells = rows["m"].shape[1:]
    draw = jax.vmap(lambda k: jax.random.uniform(k, cells))(row_keys(key, rows["row"]))
    return rows["m"] & (draw < constants["hiding_rate"])


def held_out_cells(rows: Rows, level: int) -> Bool[Array, "n T D"]:
    """The cells held out for scoring at the level (1, 2, ...) and at those below it."""
    return (rows["held"] > 0) & (rows["held"] <= level)


def run_imputer(
    shape: ModelShape,
    variables: Variables,
    series: Series,
    key: PRNGKeyArray | None = None,
    *,
    states: bool = False,
) -> Imputation:
    """A pass of the imputer; `key` switches its dropout on, `states` keeps every step's state."""
    parameters = variables["params"]["imputer"]
    usual_gap = variables["constants"]["usual_gap"]
    config = shape.config.model
    return imputers.impute(parameters, config, series, usual_gap, key, states=states)
