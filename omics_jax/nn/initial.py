"""Initial parameters, described first and then drawn all in one call of the generator.

A call for every leaf would be a loop of its own in the compiled program, and take most of its
compilation. Left out: initialisation by data, which is a layer's own (`dense`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray


class Uniform(NamedTuple):
    """Parameters to be drawn from U(-1/sqrt(fan), 1/sqrt(fan)), as PyTorch's linear and recurrent
    layers are.
    """

    shape: tuple[int, ...]
    fan: float


class Constant(NamedTuple):
    """Parameters that start at one value."""

    shape: tuple[int, ...]
    value: float


def draw(key: PRNGKeyArray, described: Any) -> Any:
    """The arrays of a tree of `Uniform` and `Constant`, all from one call of the generator."""
    is_leaf = lambda node: isinstance(node, Uniform | Constant)
    leaves, tree = jax.tree.flatten(described, is_leaf=is_leaf)
    sizes = [math.prod(leaf.shape) if isinstance(leaf, Uniform) else 0 for leaf in leaves]
    numbers = jax.random.uniform(key, (sum(sizes),), jnp.float32, -1, 1)
    arrays, start = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        if isinstance(leaf, Constant):
            arrays.append(jnp.full(leaf.shape, leaf.value, jnp.float32))
        else:
            arrays.append(numbers[start : start + size].reshape(leaf.shape) / math.sqrt(leaf.fan))
        start += size
    return tree.unflatten(arrays)


def lecun(shapes: Any) -> Any:
    """What to draw for the tree of parameters (shapes and dtypes) of flax's Dense layers and of
    norms.

    A kernel (in, out) is uniform with variance 1 / in (LeCun et al. 1998), a scale is 1, everything
    else 0.
    """

    def described(path: tuple, leaf: Any) -> Uniform | Constant:
        name = path[-1].key
        if name == "kernel":
            return Uniform(leaf.shape, leaf.shape[0] / 3)
        return Constant(leaf.shape, 1.0 if name == "scale" else 0.0)

    return jax.tree_util.tree_map_with_path(described, shapes)


def glorot_layer(inputs: int, outputs: int) -> dict[str, Any]:
    """kernel (inputs, outputs), U(+-sqrt(6 / (inputs + outputs))) (Glorot & Bengio 2010), and bias
    (outputs,) = 0.
    """
    return {
        "kernel": Uniform((inputs, outputs), (inputs + outputs) / 6),
        "bias": Constant((outputs,), 0.0),
    }
