"""Small arrays concatenated, so that an operation on all of them is a few operations in total.

Networks have many biases and small kernels, and every array costs a dozen operations to compile and
to start.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

SMALL = 1 << 16  # numbers; beyond, copying costs more than starting another operation


def pack(tree: Any) -> dict[str, Any]:
    """The leaves of a tree in few arrays.

    Returns:
      {"small": all leaves of up to `SMALL` numbers end to end, (m,), or () without any, "large":
      list of the others}.

    Raises:
      ValueError: leaves differ in dtype.
    """
    leaves = jax.tree.leaves(tree)
    dtypes = sorted({str(leaf.dtype) for leaf in leaves})
    if len(dtypes) > 1:
        raise ValueError(
            f"parameters or statistics are of several dtypes, {', '.join(dtypes)}; make them of one"
        )
    small = [leaf.ravel() for leaf in leaves if leaf.size <= SMALL]
    large = [leaf for leaf in leaves if leaf.size > SMALL]
    return {"small": jnp.concatenate(small) if small else (), "large": large}


def unpack(parts: dict[str, Any], like: Any) -> Any:
    """The tree that `pack` made `parts` of.

    `like` has its structure and shapes. Leading axes of `parts` stay.
    """
    leaves, structure = jax.tree.flatten(like)
    large, small = iter(parts["large"]), parts["small"]
    start, unpacked = 0, []
    for leaf in leaves:
        if leaf.size > SMALL:
            unpacked.append(next(large))
            continue
        part = small[..., start : start + leaf.size]
        unpacked.append(part.reshape(*small.shape[:-1], *leaf.shape))
        start += leaf.size
    return structure.unflatten(unpacked)


def packed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer`, run on trees that are packed.

    Right for an optimiser whose updates are elementwise or depend on a norm of everything, as those
    of `schedules` do.
    """

    def init(params):
        return optimizer.init(pack(params))

    def update(updates, state, params):
        parts, state = optimizer.update(pack(updates), state, pack(params))
        return unpack(parts, updates), state

    return optax.GradientTransformation(init, update)
