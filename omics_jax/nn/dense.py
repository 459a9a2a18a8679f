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
# The least s.d. of a unit over the first batch, as a part of what independent inputs would give it.
# Of n distinct rows the variance of a unit has n - 1 degrees of freedom, so that of many units some
# hardly vary by chance where rows are few. Their gains 1/sd would be huge, and would multiply from
# layer to layer for every row that is not of that batch.
_SD_FLOOR = 0.5


def column_norm(v: Float[Array, "inputs outputs"]) -> Float[Array, " outputs"]:
    """Euclidean norm of every column; 1 with gradient 0 for a column of zeros."""
    squares = jnp.sum(v * v, axis=0)
    nonzero = squares > 0
    # The inner `where` keeps sqrt away from 0, where its infinite slope would turn the masked
    # gradient into NaN.
    norm = jnp.sqrt(jnp.where(nonzero, squares, 1))
    return jnp.where(nonzero, norm, 1)


def initial_moments(
    x: Float[Array, "*batch inputs"],
    unit_direction: Float[Array, "inputs units"],
) -> tuple[Float[Array, " units"], Float[Array, " units"]]:
    """Mean and standard deviation of t = x @ u over the first batch, for data-dependent starts.

    The s.d. of a unit counts as at least `_SD_FLOOR` times that which independent inputs would give
    it, sqrt(sum_i u_i^2 var(x_i)). A unit whose inputs are constant, too, has s.d. 1.

    unit_direction: columns u of length 1 (or 0 for a unit without inputs).
    """
    t = x @ unit_direction
    batch_axes = tuple(range(t.ndim - 1))
    mean, variance = jnp.mean(t, axis=batch_axes), jnp.var(t, axis=batch_axes)
    of_independent_inputs = jnp.var(x, axis=batch_axes) @ unit_direction**2
    variance = jnp.maximum(variance, _SD_FLOOR**2 * of_independent_inputs)
    varies = variance > _VARIANCE_FLOOR * (1 + mean**2)
    return mean, jnp.sqrt(jnp.where(varies, variance, 1))


class WeightNormDense(nn.Module):
    """y = (x @ v) * (g / ||v||) + b, equal to x @ w + b with columns w = g v / ||v||.

    Parameters: `direction` v (in, features), `gain` g (features,), `bias` b (features,). Source:
    Salimans & Kingma 2016, equation 2. The output is scaled rather than the weight matrix, because
    the batch is the smaller of the two.

    data_init: the first batch sets gain and bias (equations 5 and 6), so that over it every unit
      has mean `init_offset` and standard deviation `init_scale`. That batch must hold real rows
      only, no padding, and all kinds of rows that the layer will see. A unit that is constant over
      it (a batch of one row, a fully masked unit) shows no scale to correct and takes gain =
      init_scale; one that hardly varies is not blown up (`initial_moments`). Without data_init the
      weights start as `init_scale` times a LeCun-normal matrix, and the bias as `init_offset`.
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
            return self._initial_gain(x, direction, norm)

        def initial_bias(_: PRNGKeyArray) -> Float[Array, " features"]:
            return self._initial_bias(x, direction, norm, gain)

        gain = self.param("gain", initial_gain)
        bias = self.param("bias", initial_bias)
        return projected * (gain / norm) + bias

    def _initial_gain(
        self,
        x: Float[Array, "*batch inputs"],
        direction: Float[Array, "inputs features"],
        norm: Float[Array, " features"],
    ) -> Float[Array, " features"]:
        """Equation 6 for the gain: init_scale over the s.d. of t = x @ v / ||v||."""
        if not self.data_init:
            return self.init_scale * norm
        _, sd = initial_moments(x, direction / norm)
        return self.init_scale / sd

    def _initial_bias(
        self,
        x: Float[Array, "*batch inputs"],
        direction: Float[Array, "inputs features"],
        norm: Float[Array, " features"],
        gain: Float[Array, " features"],
    ) -> Float[Array, " features"]:
        """Equation 6 for the bias: the offset less the gain times the mean of t = x @ v / ||v||."""
        if not self.data_init:
            return jnp.full_like(gain, self.init_offset)
        mean, _ = initial_moments(x, direction / norm)
        return self.init_offset - gain * mean
