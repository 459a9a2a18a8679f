"""The rows that each step of a block sees, as a function of (seed, stage, epoch, row id).

Nothing has to be advanced or stored. The rows of an epoch are ordered by one uniform number per
row, keyed by the row itself, so the order does not depend on how the index array was padded or
which other replicates share the axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import fold_in
from jaxtyping import Array, Int

from omics_jax.errors import UserError
from omics_jax.training.stage import Replicate

ORDER, NOISE = 0, 1  # the two uses of a replicate's seed

Count = Int[Array, ""]
Times = Int[Array, " t"]  # one entry per step of a block


def stage_key(seed, use: int, stage: int) -> jax.Array:
    """The key of everything random in a stage; use: `ORDER` or `NOISE`."""
    return fold_in(fold_in(jax.random.key(seed), use), stage)


def count_steps(rows: Mapping[str, int], batch_size: Mapping[str, int]) -> int:
    """Steps of one epoch: max over slots of ceil(rows / batch size), at least 1."""
    steps = [math.ceil(rows[slot] / size) for slot, size in batch_size.items()]
    return max(1, *steps)


def steps_per_epoch(replicate: Replicate, batch_size: Mapping[str, int]) -> int:
    """Steps that a replicate takes in one epoch, see `count_steps`."""
    counts = {slot: len(rows) for slot, rows in replicate.rows.items()}
    return count_steps(counts, batch_size)


def padded_rows(replicates: Sequence[Replicate], batch_size: Mapping[str, int]) -> dict[str, Any]:
    """The index arrays of a chunk of c replicates, padded to one shape.

    Returns:
      {"seed": (c,) uint32, "steps": (c,) int32, "slots": {slot: {"rows": (c, n) int32, "count":
      (c,) int32, "cumulative": (c, n) float32, the running sum of sampling weights, or absent}}}.

    Raises:
      UserError: sampling weights that are negative, not finite or all 0.
      ValueError: sampling weights that are not as many as the rows.
    """
    seeds = [replicate.seed for replicate in replicates]
    steps = [steps_per_epoch(replicate, batch_size) for replicate in replicates]
    return {
        "seed": np.array(seeds, np.uint32),
        "steps": np.array(steps, np.int32),
        "slots": {slot: _padded_slot(replicates, slot) for slot in batch_size},
    }


def _padded_slot(replicates: Sequence[Replicate], slot: str) -> dict[str, np.ndarray]:
    counts = [len(replicate.rows[slot]) for replicate in replicates]
    longest = max(1, *counts)
    rows = np.zeros((len(replicates), longest), np.int32)
    # The tail stays at 1, so a draw below 1 never falls on padding.
    cumulative = np.ones(rows.shape, np.float32)
    is_sampled = any(slot in replicate.sampling for replicate in replicates)
    for i, (replicate, count) in enumerate(zip(replicates, counts, strict=True)):
        rows[i, :count] = replicate.rows[slot]
        if is_sampled:
            cumulative[i, :count] = _cumulative_weights(replicate, slot)
    padded = {"rows": rows, "count": np.array(counts, np.int32)}
    return {**padded, "cumulative": cumulative} if is_sampled else padded


def _cumulative_weights(replicate: Replicate, slot: str) -> np.ndarray:
    """The running sum (n,) of the sampling weights, of which the last is 1."""
    weights = np.asarray(replicate.sampling.get(slot, ()), np.float64)
    n = len(replicate.rows[slot])
    if len(weights) != n:
        raise ValueError(
            f"{replicate.name}: slot {slot!r} has {n} rows and {len(weights)} sampling weights"
        )
    are_numbers = np.isfinite(weights).all() and (weights >= 0).all()
    are_all_zero = n > 0 and weights.sum() == 0
    if not are_numbers or are_all_zero:
        raise UserError(
            f"{replicate.name}: the sampling weights of slot {slot!r} must be numbers of 0 or "
            "more, and not all 0"
        )
    running = np.cumsum(weights)
    return running / running[-1:]


@partial(jax.jit, static_argnames=("stage", "length", "per_epoch", "widths"))
def block_rows(
    padded: Mapping[str, Any],
    start: Count,
    *,
    stage: int,
    length: int,
    per_epoch: int,
    widths: tuple[tuple[str, int], ...],
) -> dict[str, dict[str, Array]]:
    """Rows of the steps start..start+length-1 on the shared time axis of a chunk.

    Time t = epoch * per_epoch + position; a replicate with fewer steps than `per_epoch` idles at
    the end of each epoch (no live rows).

    Args:
      padded: of c replicates, see `padded_rows`.
      stage: index of the stage.
      widths: (slot, the most rows of it in a step).

    Returns:
      slot -> {"row": (c, length, width) int32, "live": (c, length, width) bool}.
    """

    def one_replicate(seed, steps, slots):
        key = stage_key(seed, ORDER, stage)
        first = start // per_epoch
        most_epochs = (length - 1) // per_epoch + 2
        epochs = first + jnp.arange(most_epochs)
        time = start + jnp.arange(length)
        epoch, position = time // per_epoch, time % per_epoch
        rows = {}
        for i, (slot, width) in enumerate(widths):
            slot_key = fold_in(key, i)
            order = _orders_of_epochs(slot_key, slots[slot], epochs)
            low, size = _even_share(slots[slot]["count"], steps, position)
            rows[slot] = _rows_of_steps(order, epoch - first, low, size, width)
        return rows

    return jax.vmap(one_replicate)(padded["seed"], padded["steps"], padded["slots"])


def _orders_of_epochs(
    key: jax.Array, slot: Mapping[str, Array], epochs: Int[Array, " e"]
) -> Int[Array, "e n"]:
    """The rows of a slot in the order of each epoch."""

    def order(epoch):
        return _epoch_order(fold_in(key, epoch), slot)

    return jax.vmap(order)(epochs)


def _epoch_order(key: jax.Array, slot: Mapping[str, Array]) -> Int[Array, " n"]:
    """The rows in the order of one epoch; with sampling weights, drawn with replacement."""
    rows, count = slot["rows"], slot["count"]
    place = jnp.arange(len(rows))

    def uniform(number):
        return jax.random.uniform(fold_in(key, number))

    if "cumulative" in slot:
        draws = jax.vmap(uniform)(place)
        drawn = jnp.searchsorted(slot["cumulative"], draws, side="right")
        last = count - 1
        return rows[jnp.minimum(drawn, last)]
    u = jax.vmap(uniform)(rows)
    padding_last = jnp.where(place < count, u, jnp.inf)
    order = jnp.argsort(padding_last)
    return rows[order]


def _even_share(count: Count, steps: Count, position: Times) -> tuple[Times, Times]:
    """Where the rows of a step start in the order of its epoch, and how many there are.

    The first count % steps steps of an epoch have one row more than the others; positions from
    `steps` on have none.
    """
    base, extra = count // steps, count % steps
    larger_before = jnp.minimum(position, extra)
    low = position * base + larger_before
    share = base + (position < extra)
    return low, jnp.where(position < steps, share, 0)


def _rows_of_steps(
    order: Int[Array, "e n"], epoch: Times, low: Times, size: Times, width: int
) -> dict[str, Array]:
    """{"row", "live"} (t, width): of each step `size` rows from `low` on, then padding."""
    number = jnp.arange(width)
    place = low[:, None] + number
    last = order.shape[1] - 1
    place = jnp.minimum(place, last)
    row = order[epoch[:, None], place]
    return {"row": row, "live": number < size[:, None]}
