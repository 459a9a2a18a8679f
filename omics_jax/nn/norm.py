"""Batch normalisation (Ioffe & Szegedy 2015) over the live rows of all devices.

A live row is one that is no padding. Padding rows, and the way rows are dealt to devices, change
neither value nor gradient. Left out: torch's unbiased running variance; the running variance here
is that of the batch (divided by n), as in flax.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.nn.collective import sum_over_devices

Rows = Float[Array, "n d"]
Live = Bool[Array, " n"]  # True for rows that are no padding
Columns = Float[Array, " d"]


def live_moments(x: Rows, live: Live) -> tuple[Columns, Columns, Float[Array, ""]]:
    """Mean, variance (divided by n) and count of all devices' live rows; all 0 without live rows.

    Two passes, because E[x^2] - E[x]^2 loses all digits where the mean is large against the spread.
    """
    is_live = live[:, None]
    count = sum_over_devices(jnp.sum(live, dtype=x.dtype))
    divisor = jnp.maximum(count, 1)
    live_x = jnp.where(is_live, x, 0)
    total = jnp.sum(live_x, axis=0)
    mean = sum_over_devices(total) / divisor
    centred = jnp.where(is_live, x - mean, 0)
    squares = jnp.sum(centred**2, axis=0)
    variance = sum_over_devices(squares) / divisor
    return mean, variance, count


class MaskedBatchNorm(nn.Module):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + bias, columnwise.

    Parameters `scale` and `bias` (d,); collection "batch_stats" holds `mean` and `var` (d,).

    momentum: the part of the running statistics that a training batch keeps (torch's `momentum` is
      1 minus it).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Rows, live: Live, train: bool) -> Rows:
        """Normalise by the live rows of all devices (train) or by the running statistics.

        Rows that are not live come out as `bias`, even where they hold NaN. In training the running
        statistics move if the caller makes "batch_stats" mutable and at least one row is live.
        """
        columns = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, columns)
        bias = self.param("bias", nn.initializers.zeros, columns)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, columns)
        running_variance = self.variable("batch_stats", "var", jnp.ones, columns)
        is_live = live[:, None]
        x = jnp.where(is_live, x, 0)
        if train:
            mean, variance, count = live_moments(x, live)
            if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
                keep = jnp.where(count > 0, self.momentum, 1)
                running_mean.value = _moved(running_mean.value, mean, keep)
                running_variance.value = _moved(running_variance.value, variance, keep)
        else:
            mean = running_mean.value
            variance = running_variance.value
        standardised = (x - mean) * jax.lax.rsqrt(variance + self.epsilon)
        standardised = jnp.where(is_live, standardised, 0)
        return standardised * scale + bias


def _moved(running: Columns, batch: Columns, keep: Float[Array, ""]) -> Columns:
    """The running statistic after a batch, of which `keep` is the part that stays."""
    batch = jax.lax.stop_gradient(batch)
    return keep * running + (1 - keep) * batch
