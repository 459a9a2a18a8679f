"""Inverse autoregressive flow with gates: MADE, one gated step as a bijector, a stack of steps.

Sources: Germain et al. 2015 (MADE); Kingma, Salimans & Welling 2016, section 4 (the LSTM-type
update) and algorithm 1. Left out: the additive and affine-exponential updates, and more than one
hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float, Int

from omics_jax.nn.dense import WeightNormDense

Latent = Float[Array, "*batch d"]
Context = Float[Array, "*batch c"]
LogDet = Float[Array, "*batch"]
Index = int | Int[Array, ""]
ShiftAndGate = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def input_degrees(d: int, reverse: bool) -> Int[np.ndarray, " {d}"]:
    """Place of every dimension in the autoregressive order: 1..d, or d..1 where reversed."""
    degrees = np.arange(1, d + 1)
    return degrees[::-1] if reverse else degrees


def made_masks(
    d: int, context: int, hidden: int, reverse: bool
) -> tuple[
    Bool[np.ndarray, "{d}+{context} {hidden}"],
    Bool[np.ndarray, "{hidden} {d}"],
]:
    """The masks of the weights from (z, context) to the hidden units and from those to one head.

    Hidden degrees cycle through 0..d-1. Input i feeds hidden unit h if degree(i) <= degree(h), unit
    h feeds output i if degree(h) < degree(i), and the context feeds every unit. Units of degree 0
    see the context alone; without them the first output in the order would see nothing. With fewer
    than d hidden units the highest degrees have no unit, and the last inputs in the order are not
    read.
    """
    z_degrees = input_degrees(d, reverse)
    hidden_degrees = np.arange(hidden) % d
    from_z = z_degrees[:, None] <= hidden_degrees[None, :]
    from_context = np.ones((context, hidden), bool)
    into_hidden = np.concatenate([from_z, from_context])
    into_output = hidden_degrees[:, None] < z_degrees[None, :]
    return into_hidden, into_output


class MADE(nn.Module):
    """A masked autoregressive net: one hidden ELU layer, several heads, weight normalisation.

    hidden: number of hidden units.
    outputs: the heads' names; all heads have the same mask.
    reverse: dimensions in the order d..1.
    offsets: the mean of every head at initialisation.
    scale: the standard deviation of every head at initialisation (`WeightNormDense`).
    """

    hidden: int
    outputs: tuple[str, ...] = ("shift", "gate")
    reverse: bool = False
    offsets: tuple[float, ...] = (0.0, 1.5)
    scale: float = 0.1

    @nn.compact
    def __call__(self, z: Latent, context: Context) -> tuple[Latent, ...]:
        """One array per head; entry i reads `context` and the entries before i in the order."""
        d = z.shape[-1]
        c = context.shape[-1]
        into_hidden, into_output = made_masks(d, c, self.hidden, self.reverse)
        inputs = jnp.concatenate([z, context], axis=-1)
        hidden_layer = WeightNormDense(self.hidden, name="hidden_layer")
        units = hidden_layer(inputs, jnp.asarray(into_hidden))
        units = nn.elu(units)
        mask = jnp.asarray(into_output)
        heads = []
        for name, offset in zip(self.outputs, self.offsets, strict=True):
            head = WeightNormDense(d, init_scale=self.scale, init_offset=offset, name=name)
            heads.append(head(units, mask))
        return tuple(heads)


class GatedIAF(distrax.Bijector):
    """z' = g * z + (1 - g) * m with (m, s) = net(z), g = sigmoid(s).

    log|det dz'/dz| = sum_i log g_i. Source: Kingma, Salimans & Welling 2016, section 4, the
    numerically stable update. The forward map costs one pass of the net, the inverse d passes.

    net: (*batch, d) -> two arrays (*batch, d), autoregressive in the order 1..d, or d..1 if
      `reverse`.
    """

    def __init__(self, net: ShiftAndGate, reverse: bool = False):
        super().__init__(event_ndims_in=1)
        self._net = net
        self._reverse = reverse

    def forward_and_log_gates(self, z: Latent) -> tuple[Latent, Latent]:
        """z' and log g per dimension; log|det| is the sum of log g over dimensions."""
        m, s = self._net(z)
        gated = sigmoid(s) * z + sigmoid(-s) * m
        return gated, log_sigmoid(s)

    def forward_and_log_det(self, x: Latent) -> tuple[Latent, LogDet]:
        """z' and log|det dz'/dz|."""
        y, log_gates = self.forward_and_log_gates(x)
        return y, jnp.sum(log_gates, axis=-1)

    def inverse_and_log_det(self, y: Latent) -> tuple[Latent, LogDet]:
        """z from z', and log|det dz/dz'|, solved one dimension after the other.

        Since 1/g = 1 + exp(-s), z_i = z'_i + exp(-s_i) (z'_i - m_i): no quotient of small numbers.
        """
        d = y.shape[-1]

        def solve_dimension(k, carry):
            z, log_det = carry
            i = d - 1 - k if self._reverse else k
            m, s = self._net(z)
            m, s = _entry(m, i), _entry(s, i)
            y_i = _entry(y, i)
            correction = jnp.exp(-s) * (y_i - m)
            z = z.at[..., i].set(y_i + correction)
            return z, log_det - log_sigmoid(s)

        no_log_det = jnp.zeros_like(y[..., 0])
        start = jnp.zeros_like(y), no_log_det
        return jax.lax.fori_loop(0, d, solve_dimension, start)

    def same_as(self, other: distrax.Bijector) -> bool:
        """True where both are the same step around the same net."""
        if not isinstance(other, GatedIAF):
            return False
        same_order = self._reverse == other._reverse
        return self._net == other._net and same_order


def _entry(values: Latent, i: Index) -> LogDet:
    """values[..., i] for a traced index i."""
    return jax.lax.dynamic_index_in_dim(values, i, axis=-1, keepdims=False)


class InverseAutoregressiveFlow(nn.Module):
    """`steps` gated steps, each around its own `MADE`, every second one in the reversed order.

    With z_0 = mean + sd * eps: log q(z_T) = log N(z_0; mean, sd^2) - sum over steps and dimensions
    of log g. steps = 0 is the identity.

    gate_offset: mean of the gates' pre-activations at initialisation; the default 1.5 (g = 0.82,
      with m near 0) starts a step close to the identity.
    """

    steps: int = 2
    hidden: int = 300
    gate_offset: float = 1.5

    def setup(self):
        offsets = (0.0, self.gate_offset)
        orders = [step % 2 == 1 for step in range(self.steps)]
        self.nets = [MADE(self.hidden, reverse=order, offsets=offsets) for order in orders]

    def __call__(self, z: Latent, context: Context) -> tuple[Latent, Latent]:
        """z_T, and the sum over steps of log g per dimension; its sum over dimensions is log|det|.

        Per-dimension free bits use the split over dimensions. It is an accounting by coordinate:
        since the orders are reversed between steps, it is no chain of conditionals.
        """
        log_gates = jnp.zeros_like(z)
        for net in self.nets:
            step = GatedIAF(partial(net, context=context), net.reverse)
            z, step_log_gates = step.forward_and_log_gates(z)
            log_gates = log_gates + step_log_gates
        return z, log_gates

    def bijector(self, context: Context) -> distrax.Bijector:
        """The same map for a fixed context as one distrax bijector, z_0 -> z_T, inverse included.

        For use in `apply(variables, context, method="bijector")`, not in `init`.
        """
        if not self.nets:
            identity = distrax.Lambda(lambda z: z)
            return distrax.Block(identity, ndims=1)
        steps = []
        for net in self.nets:
            net_of_z = _net_of_z(net, context)
            steps.append(GatedIAF(net_of_z, net.reverse))
        return distrax.Chain(steps[::-1])  # Chain applies its last bijector first.


def _net_of_z(net: MADE, context: Context) -> ShiftAndGate:
    """The net as a function of z alone.

    It is unbound from its module, because no jax loop may be traced around a bound module.
    """
    net, variables = net.unbind()
    return lambda z: net.apply(variables, z, context)
