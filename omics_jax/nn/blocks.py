"""Blocks of dense layers that know which rows of a batch are real, as OmiEmbed stacks them.

Source: Zhang et al. 2021 (OmiEmbed, GigaScience 10). A module is in training where it is applied
with an rng named "dropout"; without one nothing is dropped and batch norm uses running statistics.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from omics_jax.nn.noise import row_dropout
from omics_jax.nn.norm import MaskedBatchNorm

SLOPE = 0.2  # of the leaky ReLU


class RowInfo(NamedTuple):
    """What a layer must know of the rows of a batch.

    live: (n,) False for padding. row: (n,) ids by which noise is keyed.
    """

    live: Bool[Array, " n"]
    row: Int[Array, " n"]


class Block(nn.Module):
    """Linear, batch norm, dropout, leaky ReLU, in OmiEmbed's order.

    Deviates: the linear layer has no bias, because the norm subtracts it again. Its gradient would
    be rounding errors, which Adam scales to steps of full length, so that equal trainings on other
    devices would drift apart.
    """

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], rows: RowInfo) -> Float[Array, "n w"]:
        x = nn.Dense(self.width, use_bias=False)(x)
        x = MaskedBatchNorm()(x, rows.live, train=self.has_rng("dropout"))
        return nn.leaky_relu(dropout_by_row(self, x, rows, self.dropout), SLOPE)


def dropout_by_row(module: nn.Module, x: jax.Array, rows: RowInfo, rate: float) -> jax.Array:
    """x with dropout keyed by row id while `module` is in training, else x."""
    if not module.has_rng("dropout"):
        return x
    return row_dropout(module.make_rng("dropout"), rows.row, x, rate)
