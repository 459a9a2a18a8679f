"""Small arrays laid end to end, so that what treats all alike is a few operations and not a few per
array.

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
    """{"small": all leaves of up to `SMALL` numbers end to end, (m,) or () without any, "large":
    list of the others}.

    Raises ValueError where leaves differ in dtype.
    """
    leaves = jax.tree.leaves(tree)
    kinds = sorted({str(leaf.dtype) for leaf in leaves})
    if len(kinds) > 1:
        raise ValueError(
            f"parameters or statistics are of several dtypes, {', '.join(kinds)}; make them of one"
        )
    small = [leaf.ravel() for leaf in leaves if leaf.size <= SMALL]
    return {
        "small": jnp.concatenate(small) if small else (),
        "large": [x for x in leaves if x.size > SMALL],
    }


def unpack(parts: dict[str, Any], like: Any) -> Any:
    """The tree that `pack` has made `parts` of; `like` has its structure and shapes. Leading axes
    of `parts` stay.
    """
    leaves, tree = jax.tree.flatten(like)
    large, small, at, out = iter(parts["large"]), parts["small"], 0, []
    for leaf in leaves:
        if leaf.size > SMALL:
            out.append(next(large))
        else:
            out.append(small[..., at : at + leaf.size].reshape(*small.shape[:-1], *leaf.shape))
            at += leaf.size
    return tree.unflatten(out)


def packed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` on `pack`ed trees: right for what is elementwise or a norm of everything, as
    `schedules` makes.
    """

    def update(updates, state, params):
        parts, state = optimizer.update(pack(updates), state, pack(params))
        return unpack(parts, updates), state

    return optax.GradientTransformation(lambda params: optimizer.init(pack(params)), update)
