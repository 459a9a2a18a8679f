"""Impute missing modalities, each from its sources: the imputers' loss, stages and predictions.

    pretrain_M   the imputer of modality M on patients of other classes, where the config asks for it
    impute_M     the same on the training patients that have M and a source

Source: as `imputer`, which holds the network; the first half of the story that `model` ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from omics_jax.systems.multiomics import imputer
from omics_jax.systems.multiomics.patients import (
    OTHERS,
    SLOT,
    Network,
    imputable,
    imputed_values,
    measured,
    scaled,
    unscaled,
)
from omics_jax.training.schedules import optimizer
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables


def init(network: Network, key: jax.Array, batch: Batch, constants: Variables) -> Variables:
    """{"imputer": modality -> the parameters of its imputer}, for every modality with sources."""
    c = network.config.imputation
    make = lambda i, name: imputer.init_imputer(
        jax.random.fold_in(key, i),
        imputer.input_size(network.sizes, network.edges[name]),
        c.hidden,
        network.sizes[name],
        c.members,
    )
    return {
        "params": {"imputer": {name: make(i, name) for i, name in enumerate(network.edges)}},
        "batch_stats": {},
    }


def loss(
    network: Network, name: str, slot: str, variables: Variables, batch: Batch
) -> tuple[Terms, Any]:
    """squares (E,): of every member, over the cells that were observed in patients that have a
    source too.
    """
    rows, constants = batch[slot], variables["constants"]
    counted = (rows["live"] & imputable(network, measured(network, rows), name))[:, None] & rows[
        f"m_{name}"
    ]
    counted &= constants[f"{name}_alive"]
    apart = imputed_values(network, variables, rows, name) - scaled(constants, rows, name)
    squares = jnp.sum(jnp.where(counted, apart**2, 0), axis=(1, 2))
    return {
        "squares": Term(squares, jnp.full_like(squares, jnp.sum(counted, dtype=squares.dtype)))
    }, {}


def objective(terms: Terms) -> jax.Array:
    """sum over members of the RMSE of the batch, TDimpute's loss; members share nothing."""
    mean = terms["squares"].mean
    return jnp.sum(jnp.where(mean > 0, jnp.sqrt(jnp.where(mean > 0, mean, 1)), 0))


def monitor(network: Network, name: str, variables: Variables, batch: Batch) -> jax.Array:
    """RMSE of the members' mean on the validation patients that have the modality and a source, on
    the 0-1 scale.
    """
    rows, constants = batch[SLOT], variables["constants"]
    counted = (rows["live"] & imputable(network, measured(network, rows), name))[:, None] & rows[
        f"m_{name}"
    ]
    counted &= constants[f"{name}_alive"]
    apart = imputed_values(network, variables, rows, name).mean(axis=0) - scaled(
        constants, rows, name
    )
    return jnp.sqrt(
        Term(jnp.sum(jnp.where(counted, apart**2, 0)), jnp.sum(counted, dtype=apart.dtype)).mean
    )


def stages(network: Network, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """A stage per imputed modality; with patients of other classes one on these before it."""
    return tuple(
        _stage(network, name, slot, rows[slot])
        for name in network.edges
        for slot in (OTHERS, SLOT)
        if rows.get(slot)
    )


def _stage(network: Network, name: str, slot: str, rows: int) -> Stage:
    c = network.config.imputation
    epochs, size = (
        (c.epochs, c.batch_size) if slot == SLOT else (c.transfer_epochs, c.transfer_batch_size)
    )
    return Stage(
        name=f"impute_{name}" if slot == SLOT else f"pretrain_{name}",
        loss=lambda variables, batch, key: loss(network, name, slot, variables, batch),
        objective=objective,
        optimizer=optimizer(c.optimizer.to_dict(), epochs * -(-rows // size)),
        epochs=epochs,
        batch_size={slot: size},
        trainable=(f"imputer/{re.escape(name)}/.*",),
        monitor=lambda variables, batch: monitor(network, name, variables, batch),
        patience=c.patience,
    )


def predict(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """What the imputers make of patients, of every modality M with sources.

    Returns:
      M (n, F): the rows' units, observed cells bit-identical, the others the members' mean, or, in
      patients without a source (M_source (n,) False), the training mean; 0 where the training rows'
      features are others (see `predict_new`). M_sd: s.d. of the members, 0 where a cell was
      observed. For scoring, on the training rows' 0-1 scale: M_estimate, whatever was measured,
      M_truth, what was, and M_scored, where there are both.
    """
    constants, has, out = variables["constants"], measured(network, rows), {}
    for name in network.edges:
        span = constants[f"{name}_high"] - constants[f"{name}_low"]
        members = imputed_values(network, variables, rows, name)
        source, seen = imputable(network, has, name), rows[f"m_{name}"]
        alive = constants[f"{name}_alive"]
        mean = members.mean(axis=0)
        usual = jnp.where(
            source[:, None] & alive, unscaled(constants, name, mean), constants[f"{name}_fill"]
        )
        out[name] = jnp.where(seen, rows[f"x_{name}"], usual)
        out[f"{name}_sd"] = jnp.where(seen, 0, span * members.std(axis=0))
        out[f"{name}_source"] = source
        out[f"{name}_estimate"] = mean
        out[f"{name}_truth"] = scaled(constants, rows, name)
        out[f"{name}_scored"] = seen & alive & source[:, None]
    return out


def predict_new(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """What `predict` imputes, with nan for what this replicate cannot say, so that others may say
    it.

    Returns:
      M (n, F): nan where a cell was not observed and the replicate's training rows chose other
      features. M_sd: nan there, and where nothing but the training mean stands, in patients without
      a source. M_source (n,).
    """
    found, out = predict(network, variables, rows), {}
    for name in network.edges:
        seen, alive = rows[f"m_{name}"], variables["constants"][f"{name}_alive"]
        estimated = alive & found[f"{name}_source"][:, None]
        out[name] = jnp.where(seen | alive, found[name], jnp.nan)
        out[f"{name}_sd"] = jnp.where(seen | estimated, found[f"{name}_sd"], jnp.nan)
        out[f"{name}_source"] = found[f"{name}_source"]
    return out
