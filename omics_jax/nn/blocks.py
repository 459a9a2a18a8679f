"""The dense block of multi-omics networks: linear, batch norm, dropout, leaky ReLU.

Source: OmiEmbed (Zhang et al. 2021). A module is in training where it is applied with an rng named
"dropout"; without one nothing is dropped, and batch norm uses its running statistics. Left out:
OmiEmbed's convolutions and its layers per chromosome.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Bool, Float, Int

from omics_jax.nn.noise import row_dropout
from omics_jax.nn.norm import MaskedBatchNorm

SLOPE = 0.2  # of the leaky ReLU below 0


class RowInfo(NamedTuple):
    """What a layer must know of the rows of a batch.

    live: (n,) True for rows that are no padding; batch norm is over these.
    row: (n,) row ids, by which dropout is keyed.
    """

    live: Bool[Array, " n"]
    row: Int[Array, " n"]


class Block(nn.Module):
    """leaky_relu(dropout(batch_norm(x W))), in OmiEmbed's order.

    Deviates: the linear layer has no bias, because the norm subtracts it again. The gradient of a
    bias would be rounding errors. Adam scales these to steps of full length, so that equal
    trainings on different devices would drift apart.

    width: units. dropout: rate in [0, 1).
    """

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], rows: RowInfo) -> Float[Array, "n w"]:
        projected = nn.Dense(self.width, use_bias=False)(x)
        in_training = self.has_rng("dropout")
        normalised = MaskedBatchNorm()(projected, rows.live, train=in_training)
        return nn.leaky_relu(dropout_by_row(self, normalised, rows, self.dropout), SLOPE)


def dropout_by_row(
    module: nn.Module, x: Float[Array, "n w"], rows: RowInfo, rate: float
) -> Float[Array, "n w"]:
    """Row-keyed dropout with the module's rng named "dropout"; the identity where it has none."""
    if not module.has_rng("dropout"):
        return x
    return row_dropout(module.make_rng("dropout"), rows.row, x, rate)
