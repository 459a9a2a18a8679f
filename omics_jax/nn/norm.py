"""Batch normalisation (Ioffe & Szegedy 2015) over the live rows of all devices.

Padding rows and the way rows are dealt to devices change neither value nor gradient. Left out: the
unbiased
running variance of torch; the running variance here is that of the batch (divided by n), as in
flax.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.nn.collective import sum_over_devices


def live_moments(
    x: Float[Array, "n d"], live: Bool[Array, " n"]
) -> tuple[Float[Array, " d"], Float[Array, " d"], Float[Array, ""]]:
    """Mean, variance (divided by n) and count of the live rows of all devices; 0, 0, 0 where none
    is live.

    Two passes, because E[x^2] - E[x]^2 loses all digits where the mean is large beside the spread.
    """
    count = sum_over_devices(jnp.sum(live, dtype=x.dtype))
    rows = jnp.maximum(count, 1)
    mean = sum_over_devices(jnp.sum(jnp.where(live[:, None], x, 0), axis=0)) / rows
    centred = jnp.where(live[:, None], x - mean, 0)
    variance = sum_over_devices(jnp.sum(centred**2, axis=0)) / rows
    return mean, variance, count


class MaskedBatchNorm(nn.Module):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + bias, columnwise.

    Parameters `scale` and `bias` (d,); collection "batch_stats" holds `mean` and `var` (d,).
    momentum: the
    part of the running statistics that a training batch keeps (torch's `momentum` is 1 minus it).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"], live: Bool[Array, " n"], train: bool
    ) -> Float[Array, "n d"]:
        """Normalise by the live rows of all devices (train) or by the running statistics.

        Rows that are not live come out as `bias`, even where they hold NaN. In training the running
        statistics move if the caller makes "batch_stats" mutable and at least one row is live.
        """
        columns = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, columns)
        bias = self.param("bias", nn.initializers.zeros, columns)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, columns)
        running_var = self.variable("batch_stats", "var", jnp.ones, columns)
        x = jnp.where(live[:, None], x, 0)
        if not train:
            mean, variance = running_mean.value, running_var.value
        else:
            mean, variance, count = live_moments(x, live)
            if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
                keep = jnp.where(count > 0, self.momentum, 1)
                for running, batch in ((running_mean, mean), (running_var, variance)):
                    running.value = keep * running.value + (1 - keep) * jax.lax.stop_gradient(batch)
        normalised = jnp.where(
            live[:, None], (x - mean) * jax.lax.rsqrt(variance + self.epsilon), 0
        )
        return normalised * scale + bias
