"""The variables that replicates start from: initialised, or taken from an earlier training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from omics_jax.training.freezing import leaf_path
from omics_jax.training.job import Training
from omics_jax.training.stage import Replicate, Variables

KINDS = ("params", "batch_stats")


def make_initializer(training: Training) -> Callable[..., Variables]:
    """(seed, batch, constants) -> the variables of one replicate, as `training.init` makes them."""

    def initialize(seed, batch, constants):
        initial = training.init(jax.random.key(seed), batch, constants)
        return {"batch_stats": {}, **initial, "constants": constants}

    return initialize


def initializer_inputs(training: Training, chunk: Sequence[int]) -> tuple[np.ndarray, Any, Any]:
    """(seeds (c,), batch, constants) of the replicates of a chunk; all leaves (c, ...).

    The batch holds real rows: the first rows of each slot, repeated if there are fewer. A slot
    without rows borrows training rows of the others.
    """
    replicates = [training.replicates[i] for i in chunk]
    batch = {}
    for slot, size in training.stages[0].batch_size.items():
        rows = np.stack([_first_rows(replicate, slot, size) for replicate in replicates])
        fields = {name: values[rows] for name, values in training.table.items()}
        batch[slot] = {**fields, "row": rows, "live": np.ones(rows.shape, bool)}
    constants = {
        name: np.stack([replicate.constants[name] for replicate in replicates])
        for name in replicates[0].constants
    }
    return replicate_seeds(training, chunk), batch, constants


def _first_rows(replicate: Replicate, slot: str, size: int) -> np.ndarray:
    rows = replicate.rows[slot]
    if not len(rows):
        rows = np.concatenate([*replicate.rows.values()])
    return np.resize(np.sort(rows), size).astype(np.int32)


def replicate_seeds(training: Training, chunk: Sequence[int]) -> np.ndarray:
    """(c,) uint32."""
    return np.array([training.replicates[i].seed for i in chunk], np.uint32)


def shapes_of_variables(training: Training) -> Variables:
    """Shapes of one replicate's variables.

    Raises:
      ValueError: a start that does not fit the network.
    """
    inputs = initializer_inputs(training, [0])
    seed, batch, constants = jax.tree.map(lambda x: x[0], inputs)
    if training.start is not None:
        initial = jax.eval_shape(training.init, jax.random.key(0), batch, constants)
        _check_start(training.start, initial)
    return jax.eval_shape(make_initializer(training), np.uint32(0), batch, constants)


def replace_by_start(training: Training, variables: Variables, chunk: Sequence[int]) -> Variables:
    """The variables (c, ...), with the modules that `training.start` also has taken from it."""
    start = training.start
    if start is None:
        return variables
    places = np.asarray(chunk)
    if training.starts:
        places = np.asarray(training.starts)[places]
    replaced = dict(variables)
    for kind in KINDS:
        shared = variables[kind].keys() & start[kind]
        taken = {name: jax.tree.map(lambda x: x[places], start[kind][name]) for name in shared}
        replaced[kind] = {**variables[kind], **taken}
    return replaced


def _check_start(start: Variables, initial: Variables) -> None:
    """Refuses a start that shares no module with what `init` makes, or one of another shape."""
    if not start["params"].keys() & initial["params"].keys():
        raise ValueError(
            f"the start has only the modules {', '.join(sorted(start['params']))}, and the network "
            f"has none of them; it has {', '.join(sorted(initial['params']))}"
        )
    for kind in KINDS:
        for name in start[kind].keys() & initial.get(kind, {}).keys():
            theirs = _leaf_shapes(start[kind][name], leading_axes=1)
            ours = _leaf_shapes(initial[kind][name])
            if theirs != ours:
                raise ValueError(
                    f"the start's module {name!r} is of another shape: {theirs} there and {ours} "
                    "here"
                )


def _leaf_shapes(tree: Any, leading_axes: int = 0) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {leaf_path(path): leaf.shape[leading_axes:] for path, leaf in leaves}
