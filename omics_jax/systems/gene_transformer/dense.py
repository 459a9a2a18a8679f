"""The network that the transformer is compared with: dense layers on the same values of genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from omics_jax.nn.blocks import Block, RowInfo
from omics_jax.nn.modules import apply_module
from omics_jax.systems.gene_transformer.model import ENCODER, SLOT, ModelShape, Profile, profiles
from omics_jax.tasks.network import Encoded, TaskNetwork, init_network, row_info
from omics_jax.training.stage import Batch, Variables


class Dense(nn.Module):
    """Blocks of linear layer, batch norm, dropout and leaky ReLU.

    widths: of the blocks. dropout: rate in [0, 1).
    """

    widths: Sequence[int]
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "n T"], rows: RowInfo) -> Float[Array, "n z"]:
        for width in self.widths:
            x = Block(width, self.dropout)(x, rows)
        return x


def dense_of(shape: ModelShape) -> Dense:
    """The dense layers that `config.compare` describes."""
    settings = shape.config.compare
    return Dense(tuple(settings.mlp), settings.dropout)


def encode_dense(
    shape: ModelShape,
    variables: Variables,
    profile: Profile,
    rows: Mapping[str, Array],
    key: PRNGKeyArray | None = None,
) -> Encoded:
    """The vectors of patients with these tokens; a key means training."""
    # Without the first token: a constant before a batch norm has no gradient but rounding.
    x = profile.values[:, 1:]
    z, stats = apply_module(dense_of(shape), ENCODER, variables, key, x, row_info(rows))
    return Encoded(z, {}, stats)


def mlp_of(shape: ModelShape, weights: Mapping[str, float]) -> TaskNetwork:
    """Dense layers as the encoder of a network with a head per task; values missing are 0.

    weights: task -> w_k, 1 where it has none.
    """

    def encode(
        variables: Variables, rows: Mapping[str, Array], key: PRNGKeyArray | None
    ) -> Encoded:
        profile = profiles(shape, variables["constants"], rows)
        return encode_dense(shape, variables, profile, rows, key)

    return TaskNetwork(
        config=shape.config,
        tasks=shape.tasks,
        slot=SLOT,
        encode=encode,
        modules=(ENCODER,),
        weights=weights,
    )


def init_mlp(
    shape: ModelShape, network: TaskNetwork, key: PRNGKeyArray, batch: Batch, constants: Variables
) -> Variables:
    """{"params", "batch_stats"} of the dense layers and the heads."""
    rows = batch[SLOT]
    x = jnp.zeros((len(rows["row"]), shape.tokens - 1))
    encoder = {ENCODER: (dense_of(shape), x, row_info(rows))}
    return init_network(network, key, rows, encoder, shape.config.compare.mlp[-1])
