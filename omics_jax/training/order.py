"""Which rows each step of a block sees: a function of (seed, stage, epoch, row id), with nothing to
advance.

The rows of an epoch are ordered by one uniform number per row, keyed by the row itself, so the
order does not depend
on how the index array was padded or which other replicates share the axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.errors import UserError
from omics_jax.training.stage import Replicate

ORDER, NOISE = 0, 1  # the two uses of a replicate's seed


def count_steps(rows: Mapping[str, int], batch_size: Mapping[str, int]) -> int:
    """Steps of one epoch: max over slots of ceil(rows / batch size), at least 1."""
    return max(1, *(math.ceil(rows[slot] / size) for slot, size in batch_size.items()))


def steps_per_epoch(replicate: Replicate, batch_size: Mapping[str, int]) -> int:
    """Steps that a replicate takes in one epoch, see `count_steps`."""
    return count_steps({slot: len(rows) for slot, rows in replicate.rows.items()}, batch_size)


def padded_rows(replicates: Sequence[Replicate], batch_size: Mapping[str, int]) -> dict[str, Any]:
    """The index arrays of a chunk of c replicates, padded to one shape.

    Returns:
      {"seed": (c,) uint32, "steps": (c,) int32, "slots": {slot: {"rows": (c, n) int32, "count":
      (c,) int32, "cumulative": (c, n) float32, the running sum of sampling weights, or absent}}}.

    Raises:
      UserError: sampling weights that are negative, not finite or all 0.
    """
    slots = {}
    for slot in batch_size:
        count = np.array([len(r.rows[slot]) for r in replicates], np.int32)
        rows = np.zeros((len(replicates), max(1, count.max())), np.int32)
        for i, r in enumerate(replicates):
            rows[i, : count[i]] = r.rows[slot]
        slots[slot] = {"rows": rows, "count": count}
        if any(slot in r.sampling for r in replicates):
            # The tail stays at 1, so a draw below 1 never falls on padding.
            cumulative = np.ones(rows.shape, np.float32)
            for i, r in enumerate(replicates):
                cumulative[i, : count[i]] = _running_share(r, slot)
            slots[slot]["cumulative"] = cumulative
    return {
        "seed": np.array([r.seed for r in replicates], np.uint32),
        "steps": np.array([steps_per_epoch(r, batch_size) for r in replicates], np.int32),
        "slots": slots,
    }


def _running_share(replicate: Replicate, slot: str) -> np.ndarray:
    weights = np.asarray(replicate.sampling.get(slot, ()), np.float64)
    if len(weights) != len(replicate.rows[slot]):
        n = len(replicate.rows[slot])
        raise ValueError(
            f"{replicate.name}: slot {slot!r} has {n} rows and {len(weights)} sampling weights"
        )
    if not (
        np.isfinite(weights).all()
        and (weights >= 0).all()
        and (weights.sum() > 0 or not len(weights))
    ):
        raise UserError(
            f"{replicate.name}: the sampling weights of slot {slot!r} must be numbers of 0 or "
            "more, and not all 0"
        )
    running = np.cumsum(weights)
    return running / running[-1:]


@partial(jax.jit, static_argnames=("stage", "length", "per_epoch", "widths"))
def block_rows(
    padded, start, *, stage: int, length: int, per_epoch: int, widths: tuple[tuple[str, int], ...]
):
    """Rows of the steps start..start+length-1 on the shared time axis of a chunk.

    Time t = epoch * per_epoch + position; a replicate with fewer steps than `per_epoch` idles at
    the end of each
    epoch (no live rows).

    Returns:
      slot -> {"row": (c, length, width) int32, "live": (c, length, width) bool}.
    """

    def one(seed, steps, slots):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), ORDER), stage)
        first = start // per_epoch
        epochs = first + jnp.arange((length - 1) // per_epoch + 2)
        time = start + jnp.arange(length)
        epoch, position = time // per_epoch, time % per_epoch
        return {
            name: _slot_rows(
                jax.random.fold_in(key, i),
                slots[name],
                width,
                epochs,
                epoch - first,
                position,
                steps,
            )
            for i, (name, width) in enumerate(widths)
        }

    return jax.vmap(one)(padded["seed"], padded["steps"], padded["slots"])


def _slot_rows(key, slot, width, epochs, epoch, position, steps):
    order = jax.vmap(lambda e: _epoch_order(jax.random.fold_in(key, e), slot))(epochs)
    base, extra = slot["count"] // steps, slot["count"] % steps
    low = position * base + jnp.minimum(position, extra)
    size = jnp.where(position < steps, base + (position < extra), 0)
    place = low[:, None] + jnp.arange(width)
    row = order[epoch[:, None], jnp.minimum(place, order.shape[1] - 1)]
    return {"row": row, "live": jnp.arange(width) < size[:, None]}


def _epoch_order(key, slot):
    rows, count = slot["rows"], slot["count"]
    place = jnp.arange(rows.shape[0])
    if "cumulative" in slot:
        draws = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i)))(place)
        return rows[
            jnp.minimum(jnp.searchsorted(slot["cumulative"], draws, side="right"), count - 1)
        ]
    u = jax.vmap(lambda row: jax.random.uniform(jax.random.fold_in(key, row)))(rows)
    return rows[jnp.argsort(jnp.where(place < count, u, jnp.inf))]
