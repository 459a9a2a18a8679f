"""What a block reads besides the state, and where it finds its rows.

Rows come from tables on the device or, where these do not fit, from a host gather of just the
block's rows, which goes into the same program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from omics_jax.training.rows import is_on_device
from omics_jax.training.stage import Stage, fields_read


@dataclass(frozen=True)
class BlockInputs:
    """The inputs of a chunk's blocks in one stage, other than the state; see `block.make_block`.

    Attributes:
      seeds: (c,) uint32.
      order: of the chunk's replicates, see `order.padded_rows`.
      replicate_table: field -> (c, N, ...), the features that the stage computes.
      validation: see `block.make_block`.
    """

    seeds: np.ndarray
    order: Any
    replicate_table: Mapping[str, Any]
    validation: Any


def place_rows(
    stage: Stage,
    table: Mapping[str, Any],
    replicate_table: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, Any]],
) -> tuple[Mapping, Mapping, Mapping]:
    """Where a block finds its rows.

    Args:
      rows: slot -> {"row", "live"} (c, ...).

    Returns:
      (table, replicate_table, rows): `rows` with the places "at" of their rows in both tables.
      These are the given ones where they lie on the device, else an empty one and one with just
      these rows.
    """
    if is_on_device(table):
        placed = {slot: {**slot_rows, "at": slot_rows["row"]} for slot, slot_rows in rows.items()}
        return table, replicate_table, placed
    rows = jax.tree.map(np.asarray, rows)
    if not rows:
        return {}, {}, {}
    gathered = _gather_on_host(stage, table, replicate_table, rows)
    return {}, gathered, _number_places(rows)


def _gather_on_host(
    stage: Stage, table: Mapping, replicate_table: Mapping, rows: Mapping
) -> dict[str, np.ndarray]:
    """field -> (c, all rows of all slots, ...), of the fields that the stage reads."""
    by_slot = [slot_rows["row"] for slot_rows in rows.values()]
    flat = np.concatenate([row.reshape(len(row), -1) for row in by_slot], axis=1)
    gathered = {name: values[flat] for name, values in fields_read(stage, table).items()}
    replicate = np.arange(len(flat))[:, None]
    for name, values in replicate_table.items():
        gathered[name] = values[replicate, flat]
    return gathered


def _number_places(rows: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """The rows with "at", counted through all slots in the order of `_gather_on_host`."""
    placed, offset = {}, 0
    for slot, slot_rows in rows.items():
        shape = slot_rows["row"].shape
        size = int(np.prod(shape[1:]))
        places = offset + np.arange(size, dtype=np.int32)
        at = np.broadcast_to(places.reshape(shape[1:]), shape)
        placed[slot] = {**slot_rows, "at": at}
        offset += size
    return placed
