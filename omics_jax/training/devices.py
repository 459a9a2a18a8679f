"""The one module that knows how many devices there are.

Rows of a batch are spread over the data axis with `jax.pmap`, the state unmapped (`in_axes=None`): the same state
object trains on one device under plain jit and on N under pmap. Or whole replicates are spread, which needs no
communication at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from omics_jax.errors import UserError
from omics_jax.nn.collective import device_axis

AXIS = "device"


@dataclass(frozen=True)
class Devices:
    """count: devices in use. spread: "data" (rows of a batch) or "replicates" (whole trainings)."""

    count: int = 1
    spread: str = "data"


def choose_devices(count: int, spread: str) -> Devices:
    """The devices to train on; count 0 means all there are.

    Raises:
      UserError: more devices asked for than the machine has, or an unknown `spread`.
    """
    available = jax.local_device_count()
    if not 0 <= count <= available:
        raise UserError(f"run.devices is {count}, but this machine has {available}; set it to 0 to use all there are")
    if spread not in ("data", "replicates"):
        raise UserError(f"run.spread is {spread!r}; choose data (rows of a batch) or replicates (whole trainings)")
    return Devices(count or available, spread)


def width(batch_size: int, devices: Devices) -> int:
    """`batch_size` rounded up so that each device gets an equal share of slots."""
    shares = devices.count if devices.spread == "data" else 1
    return -(-batch_size // shares) * shares


def over_devices(block: Callable, devices: Devices) -> Callable:
    """`block` compiled for the devices, with the same signature (see `block.make_block`)."""
    if devices.count == 1:
        return jax.jit(block, donate_argnums=0)
    n = devices.count
    if devices.spread == "data":

        def on_axis(*arguments):
            with device_axis(AXIS):
                return block(*arguments)

        mapped = jax.pmap(
            on_axis,
            axis_name=AXIS,
            in_axes=(None, None, None, None, 0, None, None, None),
            out_axes=None,
            donate_argnums=0,
        )

        def run(state, seed, table, own, rows, validation, start, count):
            return mapped(state, seed, table, own, _split_last(rows, n), validation, start, count)

    else:
        inner = {"table": None, "own": 0, "rows": 0}
        mapped = jax.pmap(block, in_axes=(0, 0, None, 0, 0, inner, None, None), out_axes=0, donate_argnums=0)

        def run(state, seed, table, own, rows, validation, start, count):
            fold = lambda tree: jax.tree.map(lambda x: np.asarray(x).reshape(n, -1, *x.shape[1:]), tree)
            checked = {k: v if k == "table" else fold(v) for k, v in validation.items()}
            out = mapped(fold(state), fold(seed), table, fold(own), fold(rows), checked, start, count)
            return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), out)

    run.compiled = mapped
    return run


def _split_last(rows, n: int):
    """(c, length, width) -> (n, c, length, width / n), as numpy: a mapped argument must not sit on one device."""
    split = lambda x: np.moveaxis(np.asarray(x).reshape(*x.shape[:-1], n, -1), -2, 0)
    return jax.tree.map(split, rows)
