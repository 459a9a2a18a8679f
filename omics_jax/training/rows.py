"""Running a function of rows (a prediction, a feature extractor) over many rows and replicates in
one program.

A table of jax arrays is read on the device; a table of host arrays is taken not to fit there, and
travels piece by piece into the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Variables


def compile_rows(
    function: Callable[[Variables, Mapping[str, jax.Array]], Any], width: int
) -> Callable:
    """`function(variables, batch)` as `run(variables, table, row)`, mapped over row batches of
    `width` and replicates.

    `run` takes variables with a leading replicate axis c, `table` field -> (N, ...) and row (c, m)
    with m a multiple
    of `width`, and returns leaves (c, m, ...). Where the rows of the table are not all rows there
    are, a fourth argument `at` (c, m) says where in the table each row stands.
    """

    def one(variables, table, row, at):
        def batch(inputs):
            r, place = inputs
            fields = {name: values[place] for name, values in table.items()}
            return function(variables, {**fields, "row": r, "live": jnp.ones(r.shape, bool)})

        out = jax.lax.map(batch, (row.reshape(-1, width), at.reshape(-1, width)))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

    @jax.jit
    def run(variables, table, row, at):
        return jax.lax.map(lambda a: one(a[0], table, a[1], a[2]), (variables, row, at))

    return lambda variables, table, row, at=None: run(
        variables, table, row, row if at is None else at
    )


def over_rows(
    run: Callable, width: int, variables, table, rows: Sequence[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """What `run` (see `compile_rows`) makes of each replicate's rows: field -> (n_i, ...) per
    replicate.

    Rows are padded by repeating the first, which changes nothing, because a row's result depends on
    that row alone.
    """
    longest = max(1, *(len(r) for r in rows))
    padded = np.zeros((len(rows), -(-longest // width) * width), np.int32)
    for i, r in enumerate(rows):
        padded[i, : len(r)] = r
    out = jax.tree.map(np.asarray, _run(run, width, variables, table, padded))
    return [{name: values[i, : len(r)] for name, values in out.items()} for i, r in enumerate(rows)]


def over_all_rows(run: Callable, width: int, variables, table, n: int) -> dict[str, Any]:
    """What `run` makes of rows 0..n-1 of every replicate: field -> (c, n, ...), where the table is
    (device or host).
    """
    count = len(jax.tree.leaves(variables)[0])
    every = np.resize(np.arange(n, dtype=np.int32), -(-n // width) * width)
    made = _run(run, width, variables, table, np.tile(every, (count, 1)))
    return {name: values[:, :n] for name, values in made.items()}


def _run(run: Callable, width: int, variables, table, row: np.ndarray):
    if any(isinstance(values, jax.Array) for values in table.values()):
        return run(variables, table, row)
    pieces = []
    for piece in np.split(row, row.shape[1] // width, axis=1):
        fields = {name: values[piece.reshape(-1)] for name, values in table.items()}
        at = np.arange(piece.size, dtype=np.int32).reshape(piece.shape)
        pieces.append(jax.tree.map(np.asarray, run(variables, fields, piece, at)))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *pieces)
