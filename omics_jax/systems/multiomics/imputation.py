"""Impute missing modalities, each from its sources: the imputers' loss, stages and predictions.

    pretrain_M   the imputer of modality M on patients of other classes, if the config asks for it
    impute_M     the same on the training patients that have M and a source

Source: as `imputer`, which holds the network. What `model` does with the imputed values comes next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.systems.multiomics import imputer
from omics_jax.systems.multiomics.patients import (
    OTHERS,
    SLOT,
    ModelShape,
    Rows,
    imputable,
    imputed_values,
    measured,
    scaled,
    unscaled,
)
from omics_jax.training.freezing import path_part
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.stage_builder import build_stage


def init(shape: ModelShape, key: jax.Array, batch: Batch, constants: Variables) -> Variables:
    """{"imputer": modality -> the parameters of its imputer}, for every modality with sources."""
    settings = shape.config.imputation
    imputers = {}
    for i, (name, sources) in enumerate(shape.edges.items()):
        inputs = imputer.input_size(shape.sizes, sources)
        imputers[name] = imputer.init_imputer(
            jax.random.fold_in(key, i),
            inputs,
            settings.hidden,
            shape.sizes[name],
            settings.members,
        )
    return {"params": {"imputer": imputers}, "batch_stats": {}}


def loss(
    shape: ModelShape, name: str, slot: str, variables: Variables, batch: Batch
) -> tuple[Terms, Any]:
    """squares (E,): of every member, over the cells that were observed in patients that have a
    source too.
    """
    rows, constants = batch[slot], variables["constants"]
    cells = _learned_cells(shape, name, constants, rows)
    residual = imputed_values(shape, variables, rows, name) - scaled(constants, rows, name)
    squares = jnp.sum(jnp.where(cells, residual**2, 0), axis=(1, 2))
    count = jnp.sum(cells, dtype=squares.dtype)
    return {"squares": Term(squares, jnp.full_like(squares, count))}, {}


def objective(terms: Terms) -> Float[Array, ""]:
    """sum over members of the RMSE of the batch, TDimpute's loss; members share nothing."""
    mean = terms["squares"].mean
    return jnp.sum(jnp.where(mean > 0, jnp.sqrt(jnp.where(mean > 0, mean, 1)), 0))


def monitor(shape: ModelShape, name: str, variables: Variables, batch: Batch) -> Float[Array, ""]:
    """RMSE of the members' mean on the validation patients that have the modality and a source, on
    the 0-1 scale.
    """
    rows, constants = batch[SLOT], variables["constants"]
    cells = _learned_cells(shape, name, constants, rows)
    estimate = imputed_values(shape, variables, rows, name).mean(axis=0)
    residual = estimate - scaled(constants, rows, name)
    squares = jnp.sum(jnp.where(cells, residual**2, 0))
    return jnp.sqrt(Term(squares, jnp.sum(cells, dtype=residual.dtype)).mean)


def _learned_cells(
    shape: ModelShape, name: str, constants: Variables, rows: Rows
) -> Bool[Array, "n F"]:
    """The observed cells of live patients with a source, of features that the replicate chose."""
    able = rows["live"] & imputable(shape, measured(shape, rows), name)
    return able[:, None] & rows[f"m_{name}"] & constants[f"{name}_alive"]


def stages(shape: ModelShape, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """A stage per imputed modality; with patients of other classes one on these before it."""
    return tuple(
        _stage(shape, name, slot, rows[slot])
        for name in shape.edges
        for slot in (OTHERS, SLOT)
        if rows.get(slot)
    )


def _stage(shape: ModelShape, name: str, slot: str, rows: int) -> Stage:
    settings = shape.config.imputation
    stage, epochs, batch_size = f"impute_{name}", settings.epochs, settings.batch_size
    if slot == OTHERS:
        stage, epochs = f"pretrain_{name}", settings.transfer_epochs
        batch_size = settings.transfer_batch_size
    return build_stage(
        stage,
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
    """What the imputers make of patients, of every modality M with sources.

    Returns:
      M (n, F): the rows' units, observed cells bit-identical, the others the members' mean, or, in
      patients without a source (M_source (n,) False), the training mean; 0 where the training rows'
      features are others (see `predict_new`). M_sd: s.d. of the members, 0 where a cell was
      observed. For scoring, on the training rows' 0-1 scale: M_estimate, whatever was measured,
      M_truth, what was, and M_scored, where there are both.
    """
    constants, has, fields = variables["constants"], measured(shape, rows), {}
    for name in shape.edges:
        span = constants[f"{name}_high"] - constants[f"{name}_low"]
        members = imputed_values(shape, variables, rows, name)
        source, seen = imputable(shape, has, name), rows[f"m_{name}"]
        alive = constants[f"{name}_alive"]
        mean = members.mean(axis=0)
        imputed = unscaled(constants, name, mean)
        estimate = jnp.where(source[:, None] & alive, imputed, constants[f"{name}_fill"])
        fields[name] = jnp.where(seen, rows[f"x_{name}"], estimate)
        fields[f"{name}_sd"] = jnp.where(seen, 0, span * members.std(axis=0))
        fields[f"{name}_source"] = source
        fields[f"{name}_estimate"] = mean
        fields[f"{name}_truth"] = scaled(constants, rows, name)
        fields[f"{name}_scored"] = seen & alive & source[:, None]
    return fields


def predict_new(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """What `predict` imputes, with nan for what this replicate cannot say, so that others may say
    it.

    Returns:
      M (n, F): nan where a cell was not observed and the replicate's training rows chose other
      features. M_sd: nan there, and where nothing but the training mean stands, in patients without
      a source. M_source (n,).
    """
    predicted, fields = predict(shape, variables, rows), {}
    for name in shape.edges:
        seen, alive = rows[f"m_{name}"], variables["constants"][f"{name}_alive"]
        source = predicted[f"{name}_source"]
        estimated = alive & source[:, None]
        fields[name] = jnp.where(seen | alive, predicted[name], jnp.nan)
        fields[f"{name}_sd"] = jnp.where(seen | estimated, predicted[f"{name}_sd"], jnp.nan)
        fields[f"{name}_source"] = source
    return fields
