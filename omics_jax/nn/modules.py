"""Flax modules that share one set of variables: initialised together, applied by name.

Variables are {"params": {name: ...}, "batch_stats": {name: ...}, ...}. A module that is applied
with a key is in training, and the key is its rng "dropout".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from omics_jax.nn.initial import draw, lecun_parameters

Variables = Mapping[str, Any]


def init_modules(
    key: PRNGKeyArray, modules: Mapping[str, tuple[Any, ...]]
) -> dict[str, dict[str, Any]]:
    """{"params", "batch_stats"} of several modules, drawn in one call of the random generator.

    modules: name -> (module, inputs of its `__call__`...).
    """
    shapes = {
        name: jax.eval_shape(module.init, key, *inputs)
        for name, (module, *inputs) in modules.items()
    }
    params = {name: shape.get("params", {}) for name, shape in shapes.items()}
    stats = {name: shape.get("batch_stats", {}) for name, shape in shapes.items()}
    return {
        "params": draw(key, lecun_parameters(params)),
        "batch_stats": _initial_statistics(stats),
    }


def _initial_statistics(shapes: Any) -> Any:
    """The running statistics of norms: means of 0 and variances of 1."""

    def constant(path: tuple, leaf: Any) -> jax.Array:
        return jnp.full(leaf.shape, float(path[-1].key == "var"), leaf.dtype)

    return jax.tree_util.tree_map_with_path(constant, shapes)


def apply_module(
    module: nn.Module,
    name: str,
    variables: Variables,
    key: PRNGKeyArray | None,
    *inputs: Any,
    method: Any = None,
) -> tuple[Any, dict[str, Any]]:
    """A module's output, and {name: its new batch statistics}, or {} outside of training.

    key: the rng for training; None outside of training.
    method: the method that is applied; None for `__call__`.
    """
    collections = {
        "params": variables["params"][name],
        # A module without norms has none, and a file of variables names no empty collection.
        "batch_stats": variables["batch_stats"].get(name, {}),
    }
    if key is None:
        return module.apply(collections, *inputs, method=method), {}
    output, updates = module.apply(
        collections, *inputs, method=method, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return output, {name: updates.get("batch_stats", {})}
