"""What to say when a step turned out not to be finite: where it was, and which rows did it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Stage


def explain(stage: Stage, variables: Any, batch: Mapping, key: jax.Array, *, where: str, ids: np.ndarray) -> str:
    """One paragraph naming the place and the rows, found by replaying the batch one live row at a time.

    Args:
      variables, batch, key: of the step that failed, as it was before the step.
      where: "stage 'elbo', replicate ..., epoch 3, batch 2 of 7".
      ids: (N,) names of the dataset's rows.
    """
    bad_input = [
        f"{ids[row]} ({field})"
        for slot in batch.values()
        for field, values in slot.items()
        if np.issubdtype(values.dtype, np.floating)
        for row, value, live in zip(np.asarray(slot["row"]), np.asarray(values), np.asarray(slot["live"]), strict=True)
        if live and not np.isfinite(value).all()
    ]
    if bad_input:
        return f"Not finite in {where}: the input itself holds NaN or infinity in row {_few(bad_input)}."
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
        return f"Not finite in {where}: parameters or statistics hold NaN or infinity before this step."
    culprits = [str(ids[row]) for row in _rows_not_finite_alone(stage, variables, batch, key)]
    if culprits:
        return f"Not finite in {where}: the loss overflows for row {_few(culprits)}. {_REMEDY}"
    rows = [str(ids[r]) for slot in batch.values() for r in np.asarray(slot["row"])[np.asarray(slot["live"])]]
    return f"Not finite in {where}: no row by itself, but the update from rows {_few(rows)}. {_REMEDY}"


_REMEDY = "Lower optimizer.learning_rate or set optimizer.clip, and look for outliers in these rows."


def _rows_not_finite_alone(stage: Stage, variables, batch, key) -> list[int]:
    @jax.jit
    def finite(slot_index, place):
        alone = {
            name: {**slot, "live": slot["live"] & (slot_index == i) & (jnp.arange(slot["live"].size) == place)}
            for i, (name, slot) in enumerate(batch.items())
        }
        terms, _ = stage.loss(variables, alone, key)
        return jnp.all(jnp.array([jnp.isfinite(t.sum).all() for t in terms.values()]))

    return [
        int(slot["row"][place])
        for i, slot in enumerate(batch.values())
        for place in np.flatnonzero(np.asarray(slot["live"]))
        if not finite(i, place)
    ]


def _few(names: list[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")
