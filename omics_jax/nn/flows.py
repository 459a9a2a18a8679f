"""Inverse autoregressive flow with gates: MADE, the gated step as a distrax bijector, and a stack
of steps.

Sources: Germain et al. 2015 (MADE); Kingma, Salimans & Welling 2016, section 4 ("LSTM-type" update)
and
algorithm 1. Left out: the additive and affine-exponential updates, and more than one hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from omics_jax.nn.dense import WeightNormDense

ShiftAndGate = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def input_degrees(d: int, reverse: bool) -> Int[np.ndarray, " {d}"]:
    """Place of every dimension in the autoregressive order: 1..d, or d..1 where reversed."""
    return np.arange(d, 0, -1) if reverse else np.arange(1, d + 1)


def made_masks(
    d: int, context: int, hidden: int, reverse: bool
) -> tuple[Bool[np.ndarray, "{d}+{context} {hidden}"], Bool[np.ndarray, "{hidden} {d}"]]:
    """Which weights live, from (z, context) to the hidden units and from those to one head.

    Hidden degrees cycle through 0..d-1. Input i feeds hidden unit h if degree(i) <= degree(h), h
    feeds output
    i if degree(h) < degree(i), and context feeds every hidden unit. Units of degree 0 see the
    context alone;
    without them the first output in the order would see nothing. With fewer than d hidden units the
    highest
    degrees have no unit, and the last inputs in the order go unread.
    """
    inputs, units = input_degrees(d, reverse), np.arange(hidden) % d
    into_hidden = np.concatenate(
        [inputs[:, None] <= units[None, :], np.ones((context, hidden), bool)]
    )
    return into_hidden, units[:, None] < inputs[None, :]


class MADE(nn.Module):
    """A masked autoregressive net of one hidden ELU layer with weight-normalised layers and several
    heads.

    hidden: units. outputs: the heads' names, all under the same mask. reverse: dimensions in the
      order d..1.
    offsets: every head's mean at initialisation; scale: its standard deviation then
      (`WeightNormDense`).
    """

    hidden: int
    outputs: tuple[str, ...] = ("shift", "gate")
    reverse: bool = False
    offsets: tuple[float, ...] = (0.0, 1.5)
    scale: float = 0.1

    @nn.compact
    def __call__(
        self, z: Float[Array, "*batch d"], context: Float[Array, "*batch c"]
    ) -> tuple[Float[Array, "*batch d"], ...]:
        """One array (*batch, d) per head; entry i reads `context` and the entries of z before i in
        order.
        """
        d = z.shape[-1]
        into_hidden, into_output = made_masks(d, context.shape[-1], self.hidden, self.reverse)
        both = jnp.concatenate([z, context], axis=-1)
        units = nn.elu(
            WeightNormDense(self.hidden, name="hidden_layer")(both, jnp.asarray(into_hidden))
        )
        mask = jnp.asarray(into_output)
        return tuple(
            WeightNormDense(d, init_scale=self.scale, init_offset=offset, name=name)(units, mask)
            for name, offset in zip(self.outputs, self.offsets, strict=True)
        )


class GatedIAF(distrax.Bijector):
    """z' = g * z + (1 - g) * m with (m, s) = net(z), g = sigmoid(s); log|det dz'/dz| = sum_i log
    g_i.

    net: (*batch, d) -> two arrays (*batch, d), autoregressive in the order 1..d, or d..1 if
      `reverse`. The
    forward map costs one pass of the net, the inverse d passes. Source: Kingma, Salimans & Welling
    2016,
    section 4, the numerically stable update.
    """

    def __init__(self, net: ShiftAndGate, reverse: bool = False):
        super().__init__(event_ndims_in=1)
        self._net = net
        self._reverse = reverse

    def forward_and_log_gates(
        self, z: Float[Array, "*batch d"]
    ) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch d"]]:
        """z' and log g per dimension; the log-determinant is the sum of the latter over dimensions."""
        m, s = self._net(z)
        return nn.sigmoid(s) * z + nn.sigmoid(-s) * m, nn.log_sigmoid(s)

    def forward_and_log_det(
        self, x: Float[Array, "*batch d"]
    ) -> tuple[Float[Array, "*batch d"], jax.Array]:
        """z' (*batch, d) and log|det| (*batch,)."""
        y, log_gates = self.forward_and_log_gates(x)
        return y, jnp.sum(log_gates, axis=-1)

    def inverse_and_log_det(
        self, y: Float[Array, "*batch d"]
    ) -> tuple[Float[Array, "*batch d"], jax.Array]:
        """z (*batch, d) from z', and log|det dz/dz'| (*batch,), solved one dimension after the
        other.

        Since 1/g = 1 + exp(-s), z_i = z'_i + exp(-s_i) (z'_i - m_i): no quotient of small numbers.
        """
        d = y.shape[-1]

        def solve_one(k, carry):
            z, log_det = carry
            i = d - 1 - k if self._reverse else k
            m, s = (
                jax.lax.dynamic_index_in_dim(a, i, axis=-1, keepdims=False) for a in self._net(z)
            )
            y_i = jax.lax.dynamic_index_in_dim(y, i, axis=-1, keepdims=False)
            return z.at[..., i].set(y_i + jnp.exp(-s) * (y_i - m)), log_det - nn.log_sigmoid(s)

        return jax.lax.fori_loop(0, d, solve_one, (jnp.zeros_like(y), jnp.zeros_like(y[..., 0])))

    def same_as(self, other: distrax.Bijector) -> bool:
        """True where both are the same step around the same net."""
        return isinstance(other, GatedIAF) and (self._net, self._reverse) == (
            other._net,
            other._reverse,
        )


class InverseAutoregressiveFlow(nn.Module):
    """`steps` gated steps, each around its own `MADE`, every second one in the reversed order.

    With z_0 = mean + sd * eps: log q(z_T) = log N(z_0; mean, sd^2) - sum over steps and dimensions
    of log g.
    steps = 0 is the identity. gate_offset: mean of the gates' pre-activations at initialisation;
    the default
    1.5 (g = 0.82, with m near 0) starts a step close to the identity.
    """

    steps: int = 2
    hidden: int = 300
    gate_offset: float = 1.5

    def setup(self):
        offsets = (0.0, self.gate_offset)
        self.nets = [
            MADE(self.hidden, reverse=t % 2 == 1, offsets=offsets) for t in range(self.steps)
        ]

    def __call__(
        self, z: Float[Array, "*batch d"], context: Float[Array, "*batch c"]
    ) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch d"]]:
        """z_T and the sum over steps of log g, per dimension (its sum over dimensions is log|det|).

        The split over dimensions is what per-dimension free bits use: an accounting by coordinate,
        since with
        reversed orders it is no chain of conditionals.
        """
        log_gates = jnp.zeros_like(z)
        for net in self.nets:
            step = GatedIAF(lambda z, net=net: net(z, context), net.reverse)
            z, step_log_gates = step.forward_and_log_gates(z)
            log_gates = log_gates + step_log_gates
        return z, log_gates

    def bijector(self, context: Float[Array, "*batch c"]) -> distrax.Bijector:
        """The same map for a fixed context as one distrax bijector, z_0 -> z_T, inverse included.

        For use in `apply(variables, context, method="bijector")`, not in `init`.
        """
        steps = [GatedIAF(_bound(net, context), net.reverse) for net in self.nets]
        # Chain applies its last bijector first.
        return (
            distrax.Chain(steps[::-1])
            if steps
            else distrax.Block(distrax.Lambda(lambda z: z), ndims=1)
        )


def _bound(net: MADE, context: jax.Array) -> ShiftAndGate:
    """The net as a function of z alone; unbound, because no jax loop may be traced around a bound
    module.
    """
    net, variables = net.unbind()
    return lambda z: net.apply(variables, z, context)
