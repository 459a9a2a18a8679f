"""The weight-normalised dense layer with data-dependent initialisation (Salimans & Kingma 2016).

With a mask over its weights it is the masked layer of MADE; the norm is then taken over the
unmasked weights only. Left out: the mean-only batch normalisation of the same paper.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

# A unit is constant up to rounding if its variance over the first batch is below this part of
# 1 + mean^2.
_VARIANCE_FLOOR = 1e-8


def column_norm(v: Float[Array, "inputs outputs"]) -> Float[Array, " outputs"]:
    """Euclidean norm of every column; 1 with gradient 0 for a column of zeros."""
    squares = jnp.sum(v * v, axis=0)
    nonzero = squares > 0
    # The inner `where` keeps sqrt away from 0, where its infinite slope would turn the masked
    # gradient into NaN.
    norm = jnp.sqrt(jnp.where(nonzero, squares, 1))
    return jnp.where(nonzero, norm, 1)


def batch_moments(
    t: Float[Array, "*batch units"],
) -> tuple[Float[Array, " units"], Float[Array, " units"]]:
    """Mean and standard deviation of every unit over the batch; a constant unit has s.d. 1."""
    batch_axes = tuple(range(t.ndim - 1))
    mean, variance = jnp.mean(t, axis=batch_axes), jnp.var(t, axis=batch_axes)
    varies = variance > _VARIANCE_FLOOR * (1 + mean**2)
    sd = jnp.sqrt(jnp.where(varies, variance, 1))
    return mean, jnp.where(varies, sd, 1)


class WeightNormDense(nn.Module):
    """y = (x @ v) * (g / ||v||) + b, equal to x @ w + b with columns w = g v / ||v||.

    Parameters: `direction` v (in, features), `gain` g (features,), `bias` b (features,). Source:
    Salimans & Kingma 2016, equation 2. The output is scaled rather than the weight matrix, because
    the batch is the smaller of the two.

    data_init: the first batch sets gain and bias (equations 5 and 6), so that over it every unit
      has mean `init_offset` and standard deviation `init_scale`. That batch must hold real rows
      only, no padding. A unit that is constant over it (a batch of one row, a fully masked unit)
      shows no scale to correct and takes gain = init_scale. Without data_init the weights start as
      `init_scale` times a LeCun-normal matrix, and the bias as `init_offset`.
    """

    features: int
    data_init: bool = True
    init_scale: float = 1.0
    init_offset: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch inputs"], mask: Bool[Array, "inputs features"] | None = None
    ) -> Float[Array, "*batch features"]:
        """The pre-activations; where `mask` is False the weight and its gradient are 0."""
        shape = (x.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.lecun_normal(), shape)
        if mask is not None:
            direction = jnp.where(mask, direction, 0)
        norm = column_norm(direction)
        projected = x @ direction

        def initial_gain(_: PRNGKeyArray) -> Float[Array, " features"]:
            return self._initial_gain(projected / norm, norm)

        def initial_bias(_: PRNGKeyArray) -> Float[Array, " features"]:
            return self._initial_bias(projected / norm, gain)

        gain = self.param("gain", initial_gain)
        bias = self.param("bias", initial_bias)
        return projected * (gain / norm) + bias

    def _initial_gain(
        self, t: Float[Array, "*batch features"], norm: Float[Array, " features"]
    ) -> Float[Array, " features"]:
        """Equation 6 for the gain: init_scale over the s.d. of t = x @ v / ||v||."""
        if not self.data_init:
            return self.init_scale * norm
        _, sd = batch_moments(t)
        return self.init_scale / sd

    def _initial_bias(
        self, t: Float[Array, "*batch features"], gain: Float[Array, " features"]
    ) -> Float[Array, " features"]:
        """Equation 6 for the bias: the offset less the gain times the mean of t = x @ v / ||v||."""
        mean = batch_moments(t)[0] if self.data_init else jnp.zeros_like(gain)
        return self.init_offset - gain * mean
