"""The weight-normalised dense layer with data-dependent initialisation (Salimans & Kingma 2016).

A mask over the weights makes it the masked layer of MADE; the norm is then taken over the live
weights only.
Left out: the mean-only batch normalisation of the same paper.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# A unit whose variance over the init batch is below this part of 1 + mean^2 is constant up to
# rounding.
_VARIANCE_FLOOR = 1e-8


def column_norm(v: Float[Array, "inputs outputs"]) -> Float[Array, " outputs"]:
    """Euclidean norm of every column, and 1 with gradient 0 for a column of zeros."""
    squares = jnp.sum(v * v, axis=0)
    alive = squares > 0
    # The inner `where` keeps sqrt away from 0, whose infinite slope would turn the masked gradient
    # into NaN.
    return jnp.where(alive, jnp.sqrt(jnp.where(alive, squares, 1)), 1)


def batch_moments(
    t: Float[Array, "*batch units"],
) -> tuple[Float[Array, " units"], Float[Array, " units"]]:
    """Mean and standard deviation of every unit over the batch; a constant unit has standard
    deviation 1.
    """
    over = tuple(range(t.ndim - 1))
    mean, variance = jnp.mean(t, axis=over), jnp.var(t, axis=over)
    varies = variance > _VARIANCE_FLOOR * (1 + mean**2)
    return mean, jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 1)


class WeightNormDense(nn.Module):
    """y = (x @ v) * (g / ||v||) + b, equal to x @ w + b with columns w = g v / ||v||.

    Parameters: `direction` v (in, features), `gain` g (features,), `bias` b (features,). Source:
      Salimans &
    Kingma 2016, equation 2. The output is scaled, not the weight matrix: the batch is the smaller
    of the two.

    data_init: the first batch sets gain and bias (equations 5 and 6) so that over it every unit has
      mean
      `init_offset` and standard deviation `init_scale`. That batch must hold real rows only (no
      padding). A
      unit that is constant over it (a batch of one row, a fully masked unit) shows no scale to
      correct and
      takes gain = init_scale. Without data_init the weights start as `init_scale` times a
      LeCun-normal matrix
      and the bias as `init_offset`.
    """

    features: int
    data_init: bool = True
    init_scale: float = 1.0
    init_offset: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch inputs"], mask: Bool[Array, "inputs features"] | None = None
    ) -> Float[Array, "*batch features"]:
        """The layer's pre-activations; where `mask` is False the weight is 0 and so is its
        gradient.
        """
        shape = (x.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.lecun_normal(), shape)
        if mask is not None:
            direction = jnp.where(mask, direction, 0)
        norm = column_norm(direction)
        projected = x @ direction
        gain = self.param("gain", lambda _: self._first_gain(projected / norm, norm))
        bias = self.param("bias", lambda _: self._first_bias(projected / norm, gain))
        return projected * (gain / norm) + bias

    def _first_gain(self, t: jax.Array, norm: jax.Array) -> jax.Array:
        return self.init_scale / batch_moments(t)[1] if self.data_init else self.init_scale * norm

    def _first_bias(self, t: jax.Array, gain: jax.Array) -> jax.Array:
        return self.init_offset - gain * (
            batch_moments(t)[0] if self.data_init else jnp.zeros_like(gain)
        )
