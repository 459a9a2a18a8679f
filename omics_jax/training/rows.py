"""Running a function of rows (a prediction, a feature extractor) over many rows and replicates in one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Variables


def compile_rows(function: Callable[[Variables, Mapping[str, jax.Array]], Any], width: int) -> Callable:
    """`function(variables, batch)` as `run(variables, table, row)`, mapped over row batches of `width` and replicates.

    `run` takes variables with a leading replicate axis c, `table` field -> (N, ...) and row (c, m) with m a multiple
    of `width`, and returns leaves (c, m, ...).
    """

    def one(variables, table, row):
        def batch(r):
            fields = {name: values[r] for name, values in table.items()}
            return function(variables, {**fields, "row": r, "live": jnp.ones(r.shape, bool)})

        out = jax.lax.map(batch, row.reshape(-1, width))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

    return jax.jit(lambda variables, table, row: jax.lax.map(lambda a: one(a[0], table, a[1]), (variables, row)))


def over_rows(run: Callable, width: int, variables, table, rows: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What `run` (see `compile_rows`) makes of each replicate's rows: field -> (n_i, ...) per replicate.

    Rows are padded by repeating the first, which changes nothing, because a row's result depends on that row alone.
    """
    longest = max(1, *(len(r) for r in rows))
    padded = np.zeros((len(rows), -(-longest // width) * width), np.int32)
    for i, r in enumerate(rows):
        padded[i, : len(r)] = r
    out = jax.tree.map(np.asarray, run(variables, table, padded))
    return [{name: values[i, : len(r)] for name, values in out.items()} for i, r in enumerate(rows)]
