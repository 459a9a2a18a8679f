"""Impute missing modalities, each from its sources: the imputers' loss, stages and predictions.

    pretrain_M   the imputer of modality M on patients of other classes, if the config asks for it
    impute_M     the same imputer on the training patients that have M and a source

Source: as `imputer`, which holds the network. `model` then embeds the imputed values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.study.patients.columns import Rows, chosen, in_rows, scaled, unscaled
from omics_jax.systems.multiomics import imputer
from omics_jax.systems.multiomics.patients import (
    OTHERS,
    SLOT,
    ModelShape,
    imputable,
    imputed_values,
    measured,
)
from omics_jax.training.freezing import path_part
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.stage_builder import build_stage


def init(shape: ModelShape, key: PRNGKeyArray, batch: Batch, constants: Variables) -> Variables:
    """{"imputer": modality -> the parameters of its imputer}, for every modality with sources."""
    settings = shape.config.imputation
    imputers = {}
    for i, (name, sources) in enumerate(shape.edges.items()):
        inputs = imputer.input_size(shape.inputs, sources)
        imputers[name] = imputer.init_imputer(
            jax.random.fold_in(key, i),
            inputs,
            settings.hidden,
            shape.inputs[name],
            settings.members,
        )
    return {"params": {"imputer": imputers}, "batch_stats": {}}


def loss(
    shape: ModelShape, name: str, slot: str, variables: Variables, batch: Batch
) -> tuple[Terms, dict[str, Any]]:
    """The term "squares" (E,): every member's squared errors over the cells it learns from.

    These are the observed cells of patients that also have a source.
    """
    rows, constants = batch[slot], variables["constants"]
    cells = _learned_cells(shape, name, constants, rows)
    residual = imputed_values(shape, variables, rows, name) - scaled(constants, rows, name)
    squares = jnp.sum(jnp.where(cells, residual**2, 0), axis=(1, 2))
    count = jnp.sum(cells, dtype=squares.dtype)
    return {"squares": Term(squares, jnp.full_like(squares, count))}, {}


def objective(terms: Terms) -> Float[Array, ""]:
    """TDimpute's loss, the RMSE of the batch, summed over members, which share no parameters."""
    mean = terms["squares"].mean
    # The inner `where` keeps the gradient of the root finite at 0.
    root = jnp.sqrt(jnp.where(mean > 0, mean, 1))
    return jnp.sum(jnp.where(mean > 0, root, 0))


def monitor(shape: ModelShape, name: str, variables: Variables, batch: Batch) -> Float[Array, ""]:
    """RMSE of the members' mean over the same cells of the validation patients, in [0, 1]."""
    rows, constants = batch[SLOT], variables["constants"]
    cells = _learned_cells(shape, name, constants, rows)
    estimate = imputed_values(shape, variables, rows, name).mean(axis=0)
    residual = estimate - scaled(constants, rows, name)
    squares = jnp.sum(jnp.where(cells, residual**2, 0))
    count = jnp.sum(cells, dtype=residual.dtype)
    return jnp.sqrt(Term(squares, count).mean)


def _learned_cells(
    shape: ModelShape, name: str, constants: Variables, rows: Rows
) -> Bool[Array, "n w"]:
    """The observed cells of live patients with a source, of features that the replicate chose."""
    has_source = imputable(shape, measured(shape, rows), name)
    is_learned = rows["live"] & has_source
    observed = chosen(constants, name, rows[f"m_{name}"])
    return is_learned[:, None] & observed & constants[f"{name}_alive"]


def stages(shape: ModelShape, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """A stage per imputed modality, after one on patients of other classes if there are any.

    rows: slot -> the most rows of it that a replicate has.
    """
    return tuple(
        _stage(shape, name, slot, rows[slot])
        for name in shape.edges
        for slot in (OTHERS, SLOT)
        if rows.get(slot)
    )


def _stage(shape: ModelShape, name: str, slot: str, rows: int) -> Stage:
    settings = shape.config.imputation
    if slot == OTHERS:
        stage_name = f"pretrain_{name}"
        epochs, batch_size = settings.transfer_epochs, settings.transfer_batch_size
    else:
        stage_name = f"impute_{name}"
        epochs, batch_size = settings.epochs, settings.batch_size
    return build_stage(
        stage_name,
        loss=lambda variables, batch, key: loss(shape, name, slot, variables, batch),
        objective=objective,
        rows={slot: rows},
        batch_size={slot: batch_size},
        epochs=epochs,
        optimizer_settings=settings.optimizer.to_dict(),
        trainable=(f"imputer/{re.escape(path_part(name))}/.*",),
        monitor=lambda variables, batch: monitor(shape, name, variables, batch),
        patience=settings.patience,
    )


def predict(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """The imputed values of every modality M that has sources.

    Returns:
      In the rows' units: M (n, F), whose observed cells are bit-identical. Other cells are the mean
      of the members, or the training mean in patients without a source; 0 for features that this
      replicate did not choose (see `predict_new`). M_sd (n, F), the s.d. of the members, 0 where a
      cell was observed. M_source (n,), whether the patient has a source.
      For scoring, on the training rows' scale [0, 1]: M_estimate (n, F), the mean of the members in
      every cell, M_truth (n, F), the measured values, and M_scored (n, F), where there are both.
    """
    constants = variables["constants"]
    has = measured(shape, rows)
    fields = {}
    for name in shape.edges:
        span = constants[f"{name}_high"] - constants[f"{name}_low"]
        members = imputed_values(shape, variables, rows, name)
        has_source = imputable(shape, has, name)
        observed = rows[f"m_{name}"]
        estimated = has_source[:, None] & constants[f"{name}_alive"]
        mean = members.mean(axis=0)
        imputed = unscaled(constants, name, mean)
        estimate = jnp.where(estimated, imputed, constants[f"{name}_fill"])
        place = partial(in_rows, constants, name, shape.sizes[name])
        fields[name] = jnp.where(observed, rows[f"x_{name}"], place(estimate))
        fields[f"{name}_sd"] = jnp.where(observed, 0, place(span * members.std(axis=0)))
        fields[f"{name}_source"] = has_source
        fields[f"{name}_estimate"] = place(mean)
        fields[f"{name}_truth"] = place(scaled(constants, rows, name))
        fields[f"{name}_scored"] = observed & place(estimated)
    return fields


def predict_new(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """What `predict` imputes, with nan for cells that only other replicates can estimate.

    Returns:
      M (n, F): nan where a cell was not observed and this replicate did not choose the feature.
      M_sd (n, F): nan there too, and in patients without a source, whose cells are the training
      mean. M_source (n,).
    """
    predicted = predict(shape, variables, rows)
    fields = {}
    for name in shape.edges:
        observed = rows[f"m_{name}"]
        constants = variables["constants"]
        alive = in_rows(constants, name, shape.sizes[name], constants[f"{name}_alive"])
        has_source = predicted[f"{name}_source"]
        sd, has_sd = predicted[f"{name}_sd"], observed | (alive & has_source[:, None])
        fields[name] = jnp.where(observed | alive, predicted[name], jnp.nan)
        fields[f"{name}_sd"] = jnp.where(has_sd, sd, jnp.nan)
        fields[f"{name}_source"] = has_source
    return fields


def in_user_units(
    logged: Collection[str], predictions: Mapping[str, np.ndarray], new: Dataset
) -> dict[str, np.ndarray]:
    """Imputed modalities in the units of the user's files: where logarithms were taken, 2^y - 1.

    Observed cells are the user's values. The s.d. is that of the members' logarithms y times the
    slope dx/dy = ln 2 (x + 1), the delta method.
    """
    converted = dict(predictions)
    for name in logged:
        if name not in predictions:
            continue
        modality = new.modalities[name]
        power = np.exp2(np.asarray(predictions[name], np.float64))
        imputed = np.maximum(power - 1, 0)
        values = np.where(modality.mask, modality.values, imputed)
        converted[name] = values.astype(np.float32)
        slope = np.log(2) * power
        converted[f"{name}_sd"] = (slope * predictions[f"{name}_sd"]).astype(np.float32)
    return converted
