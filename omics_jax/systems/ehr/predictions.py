"""Predictions of the EHR networks for a stay: its imputed series, and the outcome's probability.

Series are returned in the input's units, with observed values unchanged to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.systems.ehr.model import classifier_inputs, classify, encode
from omics_jax.systems.ehr.stays import (
    Constants,
    ModelShape,
    Rows,
    held_out_cells,
    hidden_cells,
    observed_series,
    run_imputer,
    seen_in_training,
    within_range,
)
from omics_jax.training.stage import Variables

SHOWN = 6  # variables named in a warning


def predict_imputation(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """The imputed series of a stay, its uncertainty, and the imputer's hidden states.

    Returns (input units where a series, observed cells bit-identical):
      imputed (n, T, D); disagreement (n, T, D), half the distance of both directions' estimates, 0
      where observed; clipped (n, D), how many imputed values of a variable were drawn in to the
      training range and its margin; hidden_forward, hidden_backward, hidden (n, H); imputed_LEVEL
      and disagreement_LEVEL (n, T, D) for every held-out share, from the cells that are left; with
      `config.predict.draws` also sd (n, T, D), the s.d. of the imputed over so many passes in which
      observed cells are hidden at the training rates; with `config.predict.steps` also hidden_steps
      (n, T, 2, H).
    """
    constants, config = variables["constants"], shape.config.predict
    shown = rows["m"]
    series = observed_series(shape, constants, rows, shown)
    imputation = run_imputer(shape, variables, series, states=config.steps)
    estimates = within_range(constants, imputation.estimates)
    varies = constants["least_z"] < constants["most_z"]
    was_outside = ~shown & varies & (estimates != imputation.estimates).any(axis=0)
    predictions = {
        "imputed": in_input_units(constants, rows, shown, estimates.mean(axis=0)),
        "disagreement": disagreement(constants, shown, estimates),
        "clipped": was_outside.sum(axis=1, dtype=jnp.float32),
        "hidden_forward": imputation.hidden[0],
        "hidden_backward": imputation.hidden[1],
        "hidden": imputation.hidden.mean(axis=0),
    }
    for level, name in enumerate(shape.levels, 1):
        imputed, spread = impute_level(shape, variables, rows, level)
        predictions |= {f"imputed_{name}": imputed, f"disagreement_{name}": spread}
    if config.draws:
        sd = masking_sd(shape, variables, rows, config.draws)
        predictions["sd"] = jnp.where(shown, 0, sd * constants["sd"])
    if config.steps:
        predictions["hidden_steps"] = jnp.moveaxis(imputation.states, 0, 2)
    return predictions


def predict_new_imputation(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """`predict_imputation` of new stays: no cell is held out, and what cannot be imputed is nan.

    A replicate cannot impute a variable of which its training rows have no value.
    """
    predictions = predict_imputation(replace(shape, levels=()), variables, rows)
    imputable = rows["m"] | seen_in_training(variables["constants"])
    by_cell = {"imputed", "disagreement", "sd"} & set(predictions)
    masked = {name: jnp.where(imputable, predictions[name], jnp.nan) for name in by_cell}
    return {**predictions, **masked}


def impute_level(
    shape: ModelShape, variables: Variables, rows: Rows, level: int
) -> tuple[Float[Array, "n T D"], Float[Array, "n T D"]]:
    """Imputed values when a held-out share is hidden, and the disagreement of both directions.

    Both are in the input's units.
    """
    constants = variables["constants"]
    shown = rows["m"] & ~held_out_cells(rows, level)
    series = observed_series(shape, constants, rows, shown)
    estimates = within_range(constants, run_imputer(shape, variables, series).estimates)
    imputed = in_input_units(constants, rows, shown, estimates.mean(axis=0))
    return imputed, disagreement(constants, shown, estimates)


def disagreement(
    constants: Constants, shown: Bool[Array, "n T D"], estimates: Float[Array, "2 n T D"]
) -> Float[Array, "n T D"]:
    """Half the distance of both directions' estimates in input units, 0 where a value was seen."""
    distance = jnp.abs(estimates[0] - estimates[1])
    return jnp.where(shown, 0, distance / 2 * constants["sd"])


def masking_sd(
    shape: ModelShape, variables: Variables, rows: Rows, draws: int
) -> Float[Array, "n T D"]:
    """S.d. of the estimates over passes that hide observed cells, on the training scale.

    The draws are fixed and the same for all rows, so that it depends neither on the other rows nor
    on their order.
    """
    constants = variables["constants"]
    same_noise = {**rows, "row": jnp.zeros_like(rows["row"])}

    def one_pass(key: PRNGKeyArray) -> Float[Array, "n T D"]:
        shown = rows["m"] & ~hidden_cells(constants, same_noise, key)
        series = observed_series(shape, constants, rows, shown)
        estimates = within_range(constants, run_imputer(shape, variables, series).estimates)
        return estimates.mean(axis=0)

    return jnp.std(jax.lax.map(one_pass, jax.random.split(jax.random.key(1), draws)), axis=0)


def in_input_units(
    constants: Constants,
    rows: Rows,
    shown: Bool[Array, "n T D"],
    estimate: Float[Array, "n T D"],
) -> Float[Array, "n T D"]:
    """Observed cells unchanged, other cells the estimate in the input's units."""
    return jnp.where(shown, rows["x"], estimate * constants["sd"] + constants["mean"])


def predict_outcome(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """probability (n,) of the outcome.

    With `config.predict.forgetting` also imputed_LEVEL of the first level.
    """
    inputs = classifier_inputs(shape, variables, rows, encode(shape, variables, rows))
    predictions = {"probability": jax.nn.sigmoid(classify(shape, variables, inputs))}
    if shape.config.predict.forgetting:
        predictions[f"imputed_{shape.levels[0]}"] = impute_level(shape, variables, rows, 1)[0]
    return predictions


def training_range(variables: Variables) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Modality -> the smallest and largest value of one replicate's training rows, per variable.

    variables: with or without an axis of length 1 of that replicate.
    """
    constants = variables["constants"]
    ranges = {"series": ("low", "high"), "static": ("static_low", "static_high")}
    return {
        modality: tuple(np.asarray(constants[name], np.float64).reshape(-1) for name in names)
        for modality, names in ranges.items()
        if constants[names[0]].size
    }


def clipped_warnings(
    names: Sequence[str], replicates: Sequence[Mapping[str, np.ndarray]]
) -> list[str]:
    """A sentence on imputed values that were drawn in to the training range; [] for none.

    names: (D,) of the variables.
    """
    clipped = np.mean([fields["clipped"].sum(axis=0) for fields in replicates], axis=0)
    if not clipped.any():
        return []
    n, steps, _ = replicates[0]["imputed"].shape
    share = clipped / (n * steps)
    most = [j for j in np.argsort(-share, kind="stable")[:SHOWN] if share[j]]
    shown = ", ".join(f"{names[j]} {share[j]:.1%}" for j in most)
    return [
        f"imputed: {share.mean():.1%} of the cells of the series were imputed beyond the range of "
        f"the training values and drawn in to it (most often {shown})"
    ]
