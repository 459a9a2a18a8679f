"""A block compiled for several devices, with the signature it has for one.

Rows of a batch are spread over the data axis with `jax.pmap`, the state unmapped (`in_axes=None`):
the same state trains on one device under plain jit and on N under pmap. Or whole replicates are
spread, over devices or over the cores of a CPU, which needs no communication at all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np

from omics_jax.nn.collective import device_axis
from omics_jax.training.devices import Devices, pieces_of_block

AXIS = "device"


def compile_block(block: Callable, devices: Devices) -> Callable:
    """`block` compiled for the devices, with the same signature (see `block.make_block`)."""
    if devices.count == 1:
        return jax.jit(block, donate_argnums=0)
    compilers = {
        "data": _spread_rows,
        "replicates": _spread_replicates,
        "cores": _spread_over_cores,
    }
    return compilers[devices.spread](block, devices.count)


# --- the rows of a batch, over devices ------------------------------------------------------------


def _spread_rows(block: Callable, n: int) -> Callable:
    replicate = _device_put_fn(_sharding(n))
    # Placed once, or every block would send them to every device again.
    place_table, place_replicate_table, place_validation = (
        _memoize_last(replicate) for _ in range(3)
    )

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

    def run(state, seed, table, replicate_table, rows, validation, *times):
        return mapped(
            # A first state elsewhere than the states that blocks return would take a program of its
            # own.
            replicate(state),
            seed,
            place_table(table),
            place_replicate_table(replicate_table),
            _split_last_axis(rows, n),
            place_validation(validation),
            *times,
        )

    return run


def _split_last_axis(rows: Any, n: int) -> Any:
    """(c, length, width) -> (n, c, length, width / n).

    As numpy: an argument that is mapped must not lie on one device.
    """

    def split(x):
        shares = np.asarray(x).reshape(*x.shape[:-1], n, -1)
        return np.moveaxis(shares, -2, 0)

    return jax.tree.map(split, rows)


# --- whole replicates, over devices ---------------------------------------------------------------


def _spread_replicates(block: Callable, n: int) -> Callable:
    """One program per device.

    Not `jax.pmap`, which compiles a program for several devices to other last bits.
    """
    compiled = jax.jit(block, donate_argnums=0)
    devices = jax.local_devices()[:n]
    replicate = _device_put_fn(_sharding(n))
    shard = _device_put_fn(_sharding(n, AXIS))
    place_table = _memoize_last(replicate)
    place_replicate_table = _memoize_last(shard)
    place_validation = _memoize_last(lambda validation: shard(_without_table(validation)))

    def join(*parts):
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, _sharding(n, AXIS), list(parts))

    def run(state, seed, table, replicate_table, rows, validation, *times):
        placed_table = place_table(table)
        # With resident rows both tables are one and the same; gathered on the host, the validation
        # rows have none.
        shares_table = validation["table"] is table
        placed_validation = {
            **place_validation(validation),
            "table": placed_table if shares_table else {},
        }
        inputs = (
            shard(state),
            shard(seed),
            placed_table,
            place_replicate_table(replicate_table),
            shard(rows),
            placed_validation,
        )
        # Of all devices before the first is run, which takes its part of the state away.
        shares = [[_shard_on(device, tree) for tree in inputs] for device in devices]
        # From threads, because a CPU's programs run in the thread that calls them.
        with ThreadPoolExecutor(n) as pool:
            parts = list(pool.map(lambda share: compiled(*share, *times), shares))
        return jax.tree.map(join, *parts)

    return run


def _without_table(validation: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in validation.items() if name != "table"}


# --- whole replicates, over the cores of a CPU ----------------------------------------------------


class _ReplicateInputs(NamedTuple):
    """What a block reads of one replicate, with a leading axis of 1; see `block.make_block`."""

    state: Any
    seed: Any
    rows: Any
    replicate_table: Any
    validation_rows: Any
    validation_table: Any


def _spread_over_cores(block: Callable, n: int) -> Callable:
    """One program of one replicate, called from n threads.

    A CPU runs a program in the thread that calls it. The replicates queue for the cores, so that
    none waits for those that have stopped. Where cores do not share them evenly, their steps come
    in pieces, so that 2 cores are busy with 5 replicates until the block's end.
    """
    program = jax.jit(block, donate_argnums=0)
    is_compiled = False
    split = _make_splitter()

    def run(state, seed, table, replicate_table, rows, validation, origin, start, count):
        nonlocal is_compiled
        if len(seed) == 1:
            return program(
                state, seed, table, replicate_table, rows, validation, origin, start, count
            )

        def train(inputs: _ReplicateInputs, low, high, previous: Future | None):
            """State and log after the steps from low to high, which follow the previous piece."""
            state, earlier_log = previous.result() if previous else (inputs.state, None)
            one_validation = {
                "table": validation["table"],
                "replicate_table": inputs.validation_table,
                "rows": inputs.validation_rows,
            }
            row_inputs = (inputs.seed, table, inputs.replicate_table, inputs.rows, one_validation)
            after = program(state, *row_inputs, origin, low, high - low)
            state, log = jax.block_until_ready(after)
            # Entries of epochs that end in another piece are blank.
            return state, jax.tree.map(np.fmax, earlier_log, log) if previous else log

        inputs = split(state, seed, rows, replicate_table, validation)
        live = int(np.sum(~np.asarray(state.done)))
        bounds = _bounds_of_pieces(start, int(count), pieces_of_block(live, n))
        # In the first block one after another, or every thread would compile the program.
        threads = min(n, len(inputs)) if is_compiled else 1
        results = _run_in_pieces(train, inputs, bounds, threads)
        is_compiled = True
        return jax.tree.map(lambda *parts: np.concatenate(parts), *results)

    return run


def _make_splitter() -> Callable[..., list[_ReplicateInputs]]:
    """A function that splits a block's inputs by replicate, what does not change only once."""
    split_table, split_validation_table, split_validation_rows = (
        _memoize_last(_split_replicates) for _ in range(3)
    )

    def split(state, seed, rows, replicate_table, validation):
        count = len(seed)
        tables = validation_tables = split_table(replicate_table, count)
        # With resident rows both tables are one and the same.
        if validation["replicate_table"] is not replicate_table:
            validation_tables = split_validation_table(validation["replicate_table"], count)
        parts = (
            _split_replicates(state, count),
            _split_replicates(seed, count),
            _split_replicates(rows, count),
            tables,
            split_validation_rows(validation["rows"], count),
            validation_tables,
        )
        return [_ReplicateInputs(*replicate_parts) for replicate_parts in zip(*parts, strict=True)]

    return split


def _bounds_of_pieces(start: np.int32, count: int, pieces: int) -> list[np.int32]:
    """Steps at which pieces begin and end; no step at all is one empty piece, which compiles."""
    pieces = max(1, min(pieces, count))
    return [start + np.int32(count * i // pieces) for i in range(pieces + 1)]


def _run_in_pieces(
    train: Callable, inputs: list[_ReplicateInputs], bounds: list[np.int32], threads: int
) -> list[Any]:
    """What `train` returns for the last piece of every replicate; pieces queue for the threads."""
    futures: list[Future | None] = [None] * len(inputs)
    with ThreadPoolExecutor(threads) as pool:
        for low, high in pairwise(bounds):
            futures = [
                pool.submit(train, replicate_inputs, low, high, previous)
                for replicate_inputs, previous in zip(inputs, futures, strict=True)
            ]
    return [future.result() for future in futures]


def _split_replicates(tree: Any, count: int) -> list[Any]:
    """The c entries of a tree's leading axis, each in its own memory: states are donated."""

    def entry(x, i):
        return jax.device_put(np.asarray(x)[i : i + 1], may_alias=False)

    return [jax.tree.map(lambda x, i=i: entry(x, i), tree) for i in range(count)]


# --- placing arrays on devices --------------------------------------------------------------------


def _sharding(n: int, *axes: str) -> jax.sharding.NamedSharding:
    """Over the first n devices: whole on each, or the leading axis shared out (`AXIS`)."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:n]), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def _shard_on(device: jax.Device, tree: Any) -> Any:
    """The part of a tree that lies on one device."""

    def shard(x):
        return next(shard.data for shard in x.addressable_shards if shard.device == device)

    return jax.tree.map(shard, tree)


def _device_put_fn(sharding: jax.sharding.NamedSharding) -> Callable[[Any], Any]:
    """A function that places a tree as the sharding says; what lies there already stays."""

    def place_leaf(x):
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        # Never an alias: the state is donated, and the arrays it was made of may be wanted again.
        return jax.device_put(x, sharding, may_alias=False)

    return lambda tree: jax.tree.map(place_leaf, tree)


def _memoize_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which returns its last result again as long as it is given the same object."""
    last_argument, last_result = None, None

    def memoized(argument, *others):
        nonlocal last_argument, last_result
        if last_argument is not argument:
            last_result = function(argument, *others)
            last_argument = argument
        return last_result

    return memoized
