"""The one module that knows how many devices there are.

Rows of a batch are spread over the data axis with `jax.pmap`, the state unmapped (`in_axes=None`): the same state
object trains on one device under plain jit and on N under pmap. Or whole replicates are spread, which needs no
communication at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    return _over_rows(block, devices.count) if devices.spread == "data" else _over_replicates(block, devices.count)


def _over_rows(block: Callable, n: int) -> Callable:
    everywhere = _everywhere(n)
    # Placed once, or every block would send them to every device again.
    table_on, own_on, validation_on = _once(everywhere), _once(everywhere), _once(everywhere)

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
        # A first state elsewhere than the states that blocks return would be compiled for by itself.
        state, rows = everywhere(state), _split_last(rows, n)
        return mapped(state, seed, table_on(table), own_on(own), rows, validation_on(validation), start, count)

    return run


def _over_replicates(block: Callable, n: int) -> Callable:
    inner = {"table": None, "own": 0, "rows": 0}
    mapped = jax.pmap(block, in_axes=(0, 0, None, 0, 0, inner, None, None), out_axes=0, donate_argnums=0)
    fold = lambda tree: jax.tree.map(lambda x: np.asarray(x).reshape(n, -1, *x.shape[1:]), tree)
    checked = lambda validation: {name: fold(part) for name, part in validation.items() if name != "table"}
    table_on, own_on, checked_on = _once(_everywhere(n)), _once(fold), _once(checked)

    def run(state, seed, table, own, rows, validation, start, count):
        shared = table_on(table)
        # With resident rows both tables are one and the same; gathered on the host, the validation rows have none.
        looked_at = {**checked_on(validation), "table": shared if validation["table"] is table else {}}
        out = mapped(fold(state), fold(seed), shared, own_on(own), fold(rows), looked_at, start, count)
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), out)

    return run


def _everywhere(n: int) -> Callable[[Any], Any]:
    """A function that puts a tree on the first n devices, whole on each; what is there already stays."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:n]), (AXIS,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def place(tree):
        there = lambda x: isinstance(x, jax.Array) and x.sharding == sharding
        # Never an alias: the state is donated, and the arrays it was made of may be wanted again.
        return jax.tree.map(lambda x: x if there(x) else jax.device_put(x, sharding, may_alias=False), tree)

    return place


def _once(place: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`place`, which gives again what it made as long as it is given the same object."""
    last = [None, None]

    def placed(tree):
        if last[0] is not tree:
            last[:] = [tree, place(tree)]
        return last[1]

    return placed


def _split_last(rows, n: int):
    """(c, length, width) -> (n, c, length, width / n), as numpy: a mapped argument must not sit on one device."""
    split = lambda x: np.moveaxis(np.asarray(x).reshape(*x.shape[:-1], n, -1), -2, 0)
    return jax.tree.map(split, rows)
