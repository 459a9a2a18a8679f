"""The message about a step that was not finite: where it was, and which rows caused it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Batch, Stage, Variables
from omics_jax.training.step import gradient

_REMEDY = (
    "Lower optimizer.learning_rate or set optimizer.clip, and look for outliers in these rows."
)


def explain(
    stage: Stage,
    variables: Variables,
    optimizer_state: Any,
    batch: Batch,
    key: jax.Array,
    *,
    place: str,
    ids: np.ndarray,
) -> str:
    """One paragraph naming the place and the rows, which are found by replaying the step.

    The batch is replayed one live row at a time.

    Args:
      variables, optimizer_state, batch, key: of the step that failed, as they were before it.
      place: "stage 'elbo', replicate ..., epoch 3, batch 2 of 7".
      ids: (N,) names of the dataset's rows.
    """
    # Constants may be infinite: limits outside of which no value is far.
    trained = (variables["params"], variables["batch_stats"])
    already_broken = {
        "parameters or statistics": not _is_finite(trained),
        "the optimiser's state": not _is_finite(optimizer_state),
    }
    for what, broken in already_broken.items():
        if broken:
            return f"Not finite in {place}: {what} held NaN or infinity before this step."
    culprits = _rows_not_finite_alone(stage, variables, batch, key)
    bad_input = [
        f"{ids[row]} ({field})" for row in culprits for field in _not_finite_fields(batch, row)
    ]
    if bad_input:
        rows = _shorten(bad_input)
        return f"Not finite in {place}: the input itself holds NaN or infinity in row {rows}."
    if culprits:
        rows = _shorten([str(ids[row]) for row in culprits])
        return f"Not finite in {place}: the loss overflows for row {rows}. {_REMEDY}"
    rows = _shorten([str(ids[row]) for row in _live_rows(batch)])
    return f"Not finite in {place}: no row by itself, but the update from rows {rows}. {_REMEDY}"


def _is_finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def _live_rows(batch: Batch) -> list[int]:
    rows: list[int] = []
    for slot in batch.values():
        live = np.asarray(slot["live"])
        rows += np.asarray(slot["row"])[live].tolist()
    return rows


def _not_finite_fields(batch: Batch, row: int) -> list[str]:
    """Fields of the batch that hold NaN or infinity for a row, as the device sees them."""
    fields = []
    for slot in batch.values():
        is_row = (np.asarray(slot["row"]) == row) & np.asarray(slot["live"])
        for index in np.flatnonzero(is_row):
            for field, values in slot.items():
                on_device = jnp.asarray(values[index])  # in float32
                if not np.isfinite(np.asarray(on_device)).all():
                    fields.append(field)
    return fields


def _rows_not_finite_alone(
    stage: Stage, variables: Variables, batch: Batch, key: jax.Array
) -> list[int]:
    """Row ids whose own loss, or its gradient, is not finite."""
    unbalanced = replace(stage, balance=None)

    @jax.jit
    def is_finite_alone(variables, batch, slot_index, index):
        alone = {}
        for i, (name, slot) in enumerate(batch.items()):
            is_row = (slot_index == i) & (jnp.arange(slot["live"].size) == index)
            alone[name] = {**slot, "live": slot["live"] & is_row}
        grads, objective, terms, _, _ = gradient(unbalanced, variables, alone, key)
        sums = [term.sum for term in terms.values()]
        values = [*jax.tree.leaves(grads), objective, *sums]
        return jnp.all(jnp.array([jnp.isfinite(x).all() for x in values]))

    return [
        int(slot["row"][index])
        for i, slot in enumerate(batch.values())
        for index in np.flatnonzero(np.asarray(slot["live"]))
        if not is_finite_alone(variables, batch, i, index)
    ]


def _shorten(names: list[str], most: int = 5) -> str:
    """ "a, b, c and 7 more", without repetitions."""
    unique = list(dict.fromkeys(names))
    shown = ", ".join(unique[:most])
    return f"{shown} and {len(unique) - most} more" if len(unique) > most else shown
