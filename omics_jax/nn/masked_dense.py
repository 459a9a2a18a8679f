"""A linear layer of which only the connections of a mask exist, or matter fully.

    hard   y = x W over the edges alone, see `sparse`; the other weights do not exist
    soft   y = x (W * M), M = 1 at the edges and `softness` elsewhere
    none   y = x W, an ordinary dense layer

Source: MIRACLE's masked layers (Xu et al. 2023), whose initialisation counts absent connections in
the fan-in; here each unit counts the inputs that it has. Left out: masks that are learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from omics_jax.nn.sparse import Edges, connected, initial_weights, sparse_linear

MASKS = ("hard", "soft", "none")


class MaskedDense(nn.Module):
    """(n, I) -> (n, O).

    Parameters: `bias` (O,) where it has one, and `weights` (E,) of the edges of a hard mask, or
    else `kernel` (I, O).

    outputs: O.
    mask: one of `MASKS`.
    softness: the value of a soft mask where there is no edge, from 0 to 1.
    form: how a hard mask is computed, see `sparse.FORMS`.
    use_bias: False where a norm follows, which would subtract the bias again, see `blocks.Block`.
    """

    outputs: int
    mask: str = "hard"
    softness: float = 0.0
    form: str = "auto"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n I"], edges: Edges) -> Float[Array, "n O"]:
        y = self._without_bias(x, edges)
        if not self.use_bias:
            return y
        return y + self.param("bias", nn.initializers.zeros, (self.outputs,))

    def _without_bias(self, x: Float[Array, "n I"], edges: Edges) -> Float[Array, "n O"]:
        if self.mask == "hard":
            weights = self.param("weights", initial_weights, edges)
            return sparse_linear(weights, edges, x.T, self.form).T
        shape = (x.shape[-1], self.outputs)
        kernel = self.param("kernel", nn.initializers.lecun_uniform(), shape)
        if self.mask == "soft":
            kernel = kernel * soft_mask(edges, self.softness)
        return x @ kernel


def soft_mask(edges: Edges, softness: float) -> Float[Array, "I O"]:
    """1 at every edge, `softness` elsewhere."""
    shape = (len(edges.fan_out), len(edges.fan_in))
    mask = jnp.full(shape, softness, jnp.float32)
    inputs = jnp.where(connected(edges), edges.ends[:, 0], shape[0])  # absent ones are dropped
    return mask.at[inputs, edges.ends[:, 1]].set(1.0, mode="drop")


def with_initial_weights(
    key: PRNGKeyArray, params: Mapping[str, Any], edges: Mapping[str, Edges]
) -> dict[str, Any]:
    """The parameters with the weights of hard masks drawn by the fan-in of their units.

    edges: layer -> its edges.
    """
    drawn = dict(params)
    for number, (layer, ends) in enumerate(edges.items()):
        if "weights" in params[layer]:
            weights = initial_weights(jax.random.fold_in(key, number), ends)
            drawn[layer] = {**params[layer], "weights": weights}
    return drawn
