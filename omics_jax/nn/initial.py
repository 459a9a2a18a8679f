"""Initial parameters, described first and then all drawn in one call of the generator.

One call for every leaf would be one loop each in the compiled program, and most of its compilation.
Left out: data-dependent initialisation, which belongs to its layer (`dense`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray


class Uniform(NamedTuple):
    """Parameters drawn from U(-1/sqrt(fan), 1/sqrt(fan)), as in PyTorch's linear layers."""

    shape: tuple[int, ...]
    fan: float


class Constant(NamedTuple):
    """Parameters that start at one value, or at given ones that the shape allows."""

    shape: tuple[int, ...]
    value: float | np.ndarray


def draw(key: PRNGKeyArray, description: Any) -> Any:
    """The float32 arrays of a tree of `Uniform` and `Constant`."""
    leaves, tree = jax.tree.flatten(description, is_leaf=_is_description)
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


def _is_description(node: Any) -> bool:
    return isinstance(node, Uniform | Constant)


def lecun_parameters(shapes: Any) -> Any:
    """The description of the parameters of flax's Dense layers and of norms, from their shapes.

    A kernel (in, out) is uniform with variance 1 / in (LeCun et al. 1998), a scale is 1, and
    everything else is 0.

    shapes: the tree of parameters as arrays or `jax.ShapeDtypeStruct`s.
    """

    def describe(path: tuple, leaf: Any) -> Uniform | Constant:
        name = path[-1].key
        if name == "kernel":
            return Uniform(leaf.shape, leaf.shape[0] / 3)
        return Constant(leaf.shape, 1.0 if name == "scale" else 0.0)

    return jax.tree_util.tree_map_with_path(describe, shapes)


def glorot_parameters(inputs: int, outputs: int) -> dict[str, Any]:
    """kernel (inputs, outputs), U(+-sqrt(6 / (inputs + outputs))), and bias (outputs,) = 0.

    Source: Glorot & Bengio 2010, equation 16.
    """
    return {
        "kernel": Uniform((inputs, outputs), (inputs + outputs) / 6),
        "bias": Constant((outputs,), 0.0),
    }
