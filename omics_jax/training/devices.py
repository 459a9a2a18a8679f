"""The one module that knows how many devices there are.

Rows of a batch are spread over the data axis with `jax.pmap`, the state unmapped (`in_axes=None`):
the same state object trains on one device under plain jit and on N under pmap. Or whole replicates
are spread, over devices or over the cores of a CPU, which needs no communication at all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jaxlib
import numpy as np

from omics_jax.errors import UserError
from omics_jax.nn.collective import device_axis

AXIS = "device"
MOST_PIECES = 4  # in which a replicate's part of a block goes through the cores' queue


@dataclass(frozen=True)
class Devices:
    """count: devices in use. spread: "data" (rows of a batch) or "replicates" (whole trainings).

    Or "cores": whole trainings in `count` threads of a CPU, which is one device.
    """

    count: int = 1
    spread: str = "data"


# XLA's library of CPU kernels adds up an array in as many parts as there are threads, so that a
# loss has other last bits on 8 cores than on 4. Without it sums cost the same; the products of
# matrices stay in the library.
SUMS_OF_XLA_ITSELF = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_REDUCE"


def fix_order_of_sums() -> None:
    """Lets training on a CPU give the same bits whatever its number of cores.

    To be called before anything runs on jax, which reads XLA_FLAGS once. It changes nothing where
    that variable names the option already, and outside of jaxlib 0.9 and 0.10: a jaxlib that does
    not know an option ends the process.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith(("0.9.", "0.10.")) and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {SUMS_OF_XLA_ITSELF}".strip()


def choose_devices(count: int, spread: str) -> Devices:
    """The devices to train on; count 0 means all there are. Replicates are spread over the cores of
    a CPU.

    Raises:
      UserError: more devices asked for than the machine has, or an unknown `spread`.
    """
    if spread not in ("data", "replicates"):
        raise UserError(
            f"run.spread is {spread!r}; choose data (rows of a batch) or replicates (whole "
            "trainings)"
        )
    available = jax.local_device_count()
    if spread == "replicates" and available == 1 and jax.default_backend() == "cpu":
        available, spread = _cores(), "cores"
    if not 0 <= count <= available:
        raise UserError(
            f"run.devices is {count}, but this machine has {available}; set it to 0 to use all "
            "there are"
        )
    return Devices(count or available, spread)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def width(batch_size: int, devices: Devices) -> int:
    """`batch_size` rounded up so that each device gets an equal share of slots."""
    shares = devices.count if devices.spread == "data" else 1
    return -(-batch_size // shares) * shares


def programs_in_turn(devices: Devices, live: int) -> float:
    """How many programs of a block a device runs one after another, for `live` replicates that have
    not stopped.
    """
    return (
        max(1.0, live * _pieces(live, devices.count) / devices.count)
        if devices.spread == "cores"
        else 1.0
    )


def _pieces(live: int, n: int) -> int:
    """In how many pieces replicates that queue for n cores train a block, so that all cores end it
    together.

    As few as that takes: a program that begins anew also takes all its memory anew.
    """
    return 1 if live <= n else min(n // math.gcd(live, n), MOST_PIECES)


def over_devices(block: Callable, devices: Devices) -> Callable:
    """`block` compiled for the devices, with the same signature (see `block.make_block`)."""
    if devices.count == 1:
        return jax.jit(block, donate_argnums=0)
    over = {"data": _over_rows, "replicates": _over_replicates, "cores": _over_cores}
    return over[devices.spread](block, devices.count)


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
        in_axes=(None, None, None, None, 0, None, None, None, None),
        out_axes=None,
        donate_argnums=0,
    )

    def run(state, seed, table, own, rows, validation, *times):
        # A first state elsewhere than the states that blocks return would be compiled for by
        # itself.
        state, rows = everywhere(state), _split_last(rows, n)
        return mapped(
            state, seed, table_on(table), own_on(own), rows, validation_on(validation), *times
        )

    return run


def _over_replicates(block: Callable, n: int) -> Callable:
    """One program per device and not `jax.pmap`, which compiles a program for several devices to
    other last bits.
    """
    each, devices = jax.jit(block, donate_argnums=0), jax.local_devices()[:n]
    split, everywhere = _shares(n), _everywhere(n)
    table_on, own_on = _once(everywhere), _once(split)
    checked_on = _once(
        lambda validation: split({k: v for k, v in validation.items() if k != "table"})
    )

    def join(*parts):
        shape = (sum(len(x) for x in parts), *parts[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, _sharding(n, AXIS), list(parts))

    def run(state, seed, table, own, rows, validation, *times):
        shared = table_on(table)
        # With resident rows both tables are one and the same; gathered on the host, the validation
        # rows have none.
        looked_at = {
            **checked_on(validation),
            "table": shared if validation["table"] is table else {},
        }
        inputs = (split(state), split(seed), shared, own_on(own), split(rows), looked_at)
        # Of all devices before the first is run, which takes its part of the state away.
        shares = [[_shard(tree, device) for tree in inputs] for device in devices]
        # From threads, because a CPU's programs run in the thread that calls them.
        with ThreadPoolExecutor(n) as pool:
            parts = list(pool.map(lambda share: each(*share, *times), shares))
        return jax.tree.map(join, *parts)

    return run


def _over_cores(block: Callable, n: int) -> Callable:
    """One program of one replicate, called from n threads: a CPU runs a program in the thread that
    calls it.

    The replicates queue for the cores, so that none waits for those that have stopped. Where cores
    do not share them evenly, their steps come in pieces, so that 2 cores are busy with 5 replicates
    until the block's end.
    """
    each, compiled = jax.jit(block, donate_argnums=0), False
    own_of, looked_own_of, looked_rows_of = (_once(_one_by_one) for _ in range(3))

    def run(state, seed, table, own, rows, validation, origin, start, count):
        nonlocal compiled
        c = len(seed)
        if c == 1:
            return each(state, seed, table, own, rows, validation, origin, start, count)
        owns = own_of(own, c)
        # With resident rows both tables are one and the same.
        looked_owns = owns if validation["own"] is own else looked_own_of(validation["own"], c)
        changing = (_one_by_one(tree, c) for tree in (state, seed, rows))
        shares = list(
            zip(*changing, owns, looked_rows_of(validation["rows"], c), looked_owns, strict=True)
        )

        def train(share, low, high, before):
            state, seed, rows, own, looked_rows, looked_own = share
            state, log = before.result() if before else (state, None)
            looked_at = {"table": validation["table"], "own": looked_own, "rows": looked_rows}
            new = each(state, seed, table, own, rows, looked_at, origin, low, high - low)
            state, entries = jax.block_until_ready(new)
            # Entries of epochs that end in another piece are blank.
            return state, jax.tree.map(np.fmax, log, entries) if before else entries

        pieces = min(_pieces(int(np.sum(~np.asarray(state.done))), n), int(count))
        ends = [start + np.int32(int(count) * i // pieces) for i in range(pieces + 1)]
        done: list[Future | None] = [None] * c
        # In the first block one after another, or every thread would compile the program.
        with ThreadPoolExecutor(min(n, c) if compiled else 1) as pool:
            for low, high in pairwise(ends):
                done = [
                    pool.submit(train, share, low, high, old)
                    for share, old in zip(shares, done, strict=True)
                ]
        compiled = True
        return jax.tree.map(lambda *x: np.concatenate(x), *[one.result() for one in done])

    return run


def _one_by_one(tree: Any, c: int) -> list[Any]:
    """The entries of a tree's leading axis, each in memory of its own, because states are donated."""
    part = lambda x, i: jax.device_put(np.asarray(x)[i : i + 1], may_alias=False)
    return [jax.tree.map(lambda x, i=i: part(x, i), tree) for i in range(c)]


def _sharding(n: int, *axes: str) -> jax.sharding.NamedSharding:
    """Over the first n devices: whole on each, or the leading axis shared out (`AXIS`)."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:n]), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def _shard(tree: Any, device: jax.Device) -> Any:
    """What of a tree lies on one device."""
    on = lambda x: next(shard.data for shard in x.addressable_shards if shard.device == device)
    return jax.tree.map(on, tree)


def _everywhere(n: int) -> Callable[[Any], Any]:
    """A function that puts a tree on the first n devices, whole on each; what is there already
    stays.
    """
    return _onto(_sharding(n))


def _shares(n: int) -> Callable[[Any], Any]:
    """A function that shares the leading axis of a tree out over the first n devices; what is there
    already stays.
    """
    return _onto(_sharding(n, AXIS))


def _onto(sharding: jax.sharding.NamedSharding) -> Callable[[Any], Any]:
    def place(tree):
        there = lambda x: isinstance(x, jax.Array) and x.sharding == sharding
        # Never an alias: the state is donated, and the arrays it was made of may be wanted again.
        return jax.tree.map(
            lambda x: x if there(x) else jax.device_put(x, sharding, may_alias=False), tree
        )

    return place


def _once(place: Callable[..., Any]) -> Callable[..., Any]:
    """`place`, which gives again what it made as long as it is given the same object."""
    last = [None, None]

    def placed(tree, *others):
        if last[0] is not tree:
            last[:] = [tree, place(tree, *others)]
        return last[1]

    return placed


def _split_last(rows, n: int):
    """(c, length, width) -> (n, c, length, width / n), as numpy: a mapped argument must not sit on
    one device.
    """
    split = lambda x: np.moveaxis(np.asarray(x).reshape(*x.shape[:-1], n, -1), -2, 0)
    return jax.tree.map(split, rows)
