"""What to say when a step turned out not to be finite: where it was, and which rows did it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Stage
from omics_jax.training.step import gradient


def explain(
    stage: Stage,
    variables: Any,
    optimiser: Any,
    batch: Mapping,
    key: jax.Array,
    *,
    where: str,
    ids: np.ndarray,
) -> str:
    """One paragraph naming the place and the rows, found by replaying the batch one live row at a
    time.

    Args:
      variables, optimiser, batch, key: of the step that failed, as they were before it
        (`optimiser`: its state).
      where: "stage 'elbo', replicate ..., epoch 3, batch 2 of 7".
      ids: (N,) names of the dataset's rows.
    """
    for what, tree in (
        ("parameters or statistics", variables),
        ("the optimiser's state", optimiser),
    ):
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
            return f"Not finite in {where}: {what} held NaN or infinity before this step."
    culprits = _rows_not_finite_alone(stage, variables, batch, key)
    bad_input = [
        f"{ids[row]} ({field})" for row in culprits for field in _not_finite_fields(batch, row)
    ]
    if bad_input:
        return f"Not finite in {where}: the input itself holds NaN or infinity in row {_few(bad_input)}."
    if culprits:
        return f"Not finite in {where}: the loss overflows for row {_few([str(ids[r]) for r in culprits])}. {_REMEDY}"
    rows = [
        str(ids[r])
        for slot in batch.values()
        for r in np.asarray(slot["row"])[np.asarray(slot["live"])]
    ]
    return (
        f"Not finite in {where}: no row by itself, but the update from rows {_few(rows)}. {_REMEDY}"
    )


_REMEDY = (
    "Lower optimizer.learning_rate or set optimizer.clip, and look for outliers in these rows."
)


def _not_finite_fields(batch: Mapping, row: int) -> list[str]:
    """Fields of the batch that hold NaN or infinity for a row, as the device sees them (in
    float32).
    """
    return [
        field
        for slot in batch.values()
        for place in np.flatnonzero((np.asarray(slot["row"]) == row) & np.asarray(slot["live"]))
        for field, values in slot.items()
        if not np.isfinite(np.asarray(jnp.asarray(values[place]))).all()
    ]


def _rows_not_finite_alone(stage: Stage, variables, batch, key) -> list[int]:
    """Row ids whose own loss, or its gradient, is not finite."""
    plain = replace(stage, balance=None)

    @jax.jit
    def finite(variables, batch, slot_index, place):
        alone = {
            name: {
                **slot,
                "live": slot["live"] & (slot_index == i) & (jnp.arange(slot["live"].size) == place),
            }
            for i, (name, slot) in enumerate(batch.items())
        }
        grads, objective, terms, _, _ = gradient(plain, variables, alone, key)
        seen = [*jax.tree.leaves(grads), objective, *(term.sum for term in terms.values())]
        return jnp.all(jnp.array([jnp.isfinite(x).all() for x in seen]))

    return [
        int(slot["row"][place])
        for i, slot in enumerate(batch.values())
        for place in np.flatnonzero(np.asarray(slot["live"]))
        if not finite(variables, batch, i, place)
    ]


def _few(names: list[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (
        f" and {len(unique) - most} more" if len(unique) > most else ""
    )
