"""A function of rows (a prediction, a feature extractor) run over many rows and replicates.

All rows and replicates go through one program. A table of jax arrays is read on the device; a table
of host arrays is taken not to fit there, and is sent piece by piece to the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Variables

Table = Mapping[str, Any]  # field -> (N, ...)


def compile_row_function(
    function: Callable[[Variables, Mapping[str, jax.Array]], Any], width: int
) -> Callable:
    """`function(variables, batch)`, compiled for batches of `width` rows and many replicates.

    Returns:
      run(variables, table, row, at=None) -> leaves (c, m, ...). `variables` have a leading
      replicate axis c, `table` is field -> (N, ...), and `row` (c, m) has m a multiple of `width`.
      Where the table does not hold all rows, `at` (c, m) says where in it each row stands.
    """

    def one_replicate(variables, table, row, at):
        def one_batch(inputs):
            row, at = inputs
            fields = {name: values[at] for name, values in table.items()}
            live = jnp.ones(row.shape, bool)
            return function(variables, {**fields, "row": row, "live": live})

        batches = (row.reshape(-1, width), at.reshape(-1, width))
        out = jax.lax.map(one_batch, batches)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

    @jax.jit
    def all_replicates(variables, table, row, at):
        def one(inputs):
            variables, row, at = inputs
            return one_replicate(variables, table, row, at)

        return jax.lax.map(one, (variables, row, at))

    def run(variables, table, row, at=None):
        return all_replicates(variables, table, row, row if at is None else at)

    return run


def in_blocks(
    function: Callable[[Mapping[str, jax.Array]], Any], rows: Mapping[str, jax.Array], most: int
) -> Any:
    """A function of rows, of at most so many at a time; for use inside of other programs.

    function: field -> (n, ...) to leaves (n, ...); a row's result depends on that row alone.
    """
    (count,) = rows["row"].shape
    if count <= most:
        return function(rows)
    blocks = ceil(count / most)
    places = np.arange(blocks * most)
    # The last block is filled with the first row.
    at = np.where(places < count, places, 0).reshape(blocks, most)
    by_block = {name: jnp.asarray(values)[at] for name, values in rows.items()}
    out = jax.lax.map(function, by_block)

    def joined(x: jax.Array) -> jax.Array:
        return x.reshape(blocks * most, *x.shape[2:])[:count]

    return jax.tree.map(joined, out)


def apply_to_rows(
    run: Callable,
    width: int,
    variables: Variables,
    table: Table,
    rows: Sequence[np.ndarray],
) -> list[dict[str, np.ndarray]]:
    """The function's result on the rows (n_i,) of each replicate: field -> (n_i, ...).

    Rows are padded by repeating row 0, which changes nothing, because a row's result depends on
    that row alone. run: see `compile_row_function`.
    """
    longest = max(1, *(len(r) for r in rows))
    padded_length = _round_up(longest, width)
    padded = np.zeros((len(rows), padded_length), np.int32)
    for i, r in enumerate(rows):
        padded[i, : len(r)] = r
    out = _run_where_table_is(run, width, variables, table, padded)
    on_host = {name: np.asarray(values) for name, values in out.items()}

    def unpadded(i: int) -> dict[str, np.ndarray]:
        return {name: values[i, : len(rows[i])] for name, values in on_host.items()}

    return [unpadded(i) for i in range(len(rows))]


def apply_to_all_rows(
    run: Callable, width: int, variables: Variables, table: Table, n: int
) -> dict[str, Any]:
    """The function's result on rows 0..n-1 of every replicate: field -> (c, n, ...).

    It lies where the table is, on the device or on the host.
    """
    count = len(jax.tree.leaves(variables)[0])
    all_rows = np.arange(n, dtype=np.int32)
    padded = np.resize(all_rows, _round_up(n, width))
    every_replicate = np.tile(padded, (count, 1))
    out = _run_where_table_is(run, width, variables, table, every_replicate)
    return {name: values[:, :n] for name, values in out.items()}


def is_on_device(table: Table) -> bool:
    """Whether a table is held by jax, and not by numpy on the host."""
    return any(isinstance(values, jax.Array) for values in table.values())


def _round_up(n: int, width: int) -> int:
    return ceil(n / width) * width


def _run_where_table_is(
    run: Callable, width: int, variables: Variables, table: Table, row: np.ndarray
) -> Any:
    if is_on_device(table):
        return run(variables, table, row)
    pieces = []
    for piece in np.split(row, row.shape[1] // width, axis=1):
        flat = piece.reshape(-1)
        fields = {name: values[flat] for name, values in table.items()}
        at = np.arange(piece.size, dtype=np.int32).reshape(piece.shape)
        out = run(variables, fields, piece, at)
        pieces.append(jax.tree.map(np.asarray, out))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *pieces)
