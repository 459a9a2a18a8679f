"""PCGrad (Yu et al. 2020): gradients of tasks that conflict are projected before they are added.

    g'_i <- g'_i - min(0, <g'_i, g_j>) / |g_j|^2 * g_j        for every j != i in turn

from g'_i = g_i, against the other tasks' original gradients; the result is sum_i g'_i. Exact
(`pcgrad`), with the gradient of every task by all parameters; or at the embedding
(`conflict_free_copies`), by the embedding alone, for about the price of one gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from omics_jax.nn.collective import sum_over_devices
from omics_jax.training.balancing import weighted_sum
from omics_jax.training.stage import Balance, Terms

# In which order a task meets the others. "fresh": a random one for each task in each step, as in
# the paper. "shared": one random order a step for all tasks, as in the code of TxT.
ORDERS = ("fresh", "shared")
_TINY = 1e-30  # the least squared norm that is divided by

TaskGradients = Float[Array, "T ..."]  # one array's gradient for each of T tasks


def pcgrad(tasks: Callable[[Terms], jax.Array], order: str = "fresh") -> Balance:
    """Exact PCGrad over all trainable parameters; order: of `ORDERS`.

    Every task's loss is pulled back through the whole network, so that a step of T tasks costs
    about one forward and T backward passes.

    Raises:
      ValueError: another order.
    """
    _check_order(order)

    def combine(leaves, losses, state, key):
        weights = projection_weights(inner_products(leaves), visits(key, len(losses), order))
        return weighted_sum(weights, leaves), state

    return Balance(tasks=tasks, init=lambda params: (), combine=combine)


def conflict_free_copies(
    z: Float[Array, "n d"], key: PRNGKeyArray, count: int, order: str = "fresh"
) -> Float[Array, "T n d"]:
    """An embedding once for each of T tasks, whose gradients PCGrad projects at the embedding.

    The copies equal z. Task i reads copy i, and going back their gradients dL_i/dz, each of all
    rows as one vector, are projected and added. So the encoder is passed once, as without
    balancing (the idea of Sener & Koltun 2018, section 3.3, who bound their problem so).

    An approximation of PCGrad: with g_i = J^T dL_i/dz, J = dz/dtheta, it projects dL_i/dz as if
    J J^T were a multiple of the identity. For two tasks the projected direction raises neither
    loss, to first order, if the embedding itself could follow it; through the encoder that is not
    guaranteed. Heads get the plain gradient of their own task.

    order: of `ORDERS`; a function of the key, which is the same on all devices.

    Raises:
      ValueError: another order.
    """
    _check_order(order)
    return _copies(count, order, z, key)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _copies(
    count: int, order: str, z: Float[Array, "n d"], key: PRNGKeyArray
) -> Float[Array, "T n d"]:
    return jnp.broadcast_to(z, (count, *z.shape))


def _copies_forward(count, order, z, key):
    return _copies(count, order, z, key), key


def _copies_backward(count, order, key, dz):
    inner = sum_over_devices(inner_products([dz]))
    (total,) = weighted_sum(projection_weights(inner, visits(key, count, order)), [dz])
    return total, np.zeros(key.shape, jax.dtypes.float0)


_copies.defvjp(_copies_forward, _copies_backward)


# --- the projections ------------------------------------------------------------------------------


def inner_products(leaves: Sequence[TaskGradients]) -> Float[Array, "T T"]:
    """<g_i, g_j> over all entries of all arrays."""
    flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
    return sum(jnp.einsum("ip,jp->ij", g, g, precision="highest") for g in flat)


def visits(key: PRNGKeyArray, count: int, order: str) -> Int[Array, "T T"]:
    """Row i: the order in which task i meets all tasks; it passes itself over.

    A function of the key alone. order: of `ORDERS`.
    """
    if order == "shared":
        return jnp.broadcast_to(jax.random.permutation(key, count), (count, count))
    return jax.vmap(partial(jax.random.permutation, x=count))(jax.random.split(key, count))


def projection_weights(inner: Float[Array, "T T"], order: Int[Array, "T T"]) -> Float[Array, " T"]:
    """w with sum_i g'_i = sum_k w_k g_k, from all <g_i, g_k>; order: see `visits`.

    Every g'_i stays a combination of the original gradients, so that the projections need no more
    of them than their inner products.
    """
    count = len(inner)

    def projected(i: Int[Array, ""], own_order: Int[Array, " T"]) -> Float[Array, " T"]:
        def meet(c: Float[Array, " T"], j: Int[Array, ""]) -> tuple[Float[Array, " T"], None]:
            # A sum, because accelerators shorten the operands of a dot product.
            conflict = jnp.minimum(jnp.sum(c * inner[:, j]), 0) / jnp.maximum(inner[j, j], _TINY)
            return jnp.where(i == j, c, c.at[j].add(-conflict)), None

        alone = (jnp.arange(count) == i).astype(inner.dtype)
        return jax.lax.scan(meet, alone, own_order)[0]

    return jnp.sum(jax.vmap(projected)(jnp.arange(count), order), axis=0)


def _check_order(order: str) -> None:
    if order not in ORDERS:
        raise ValueError(f"the order of PCGrad is one of {', '.join(ORDERS)}, not {order!r}")
