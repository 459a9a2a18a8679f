"""The networks of the multi-omics VAE: encoders and decoders of several modalities, and the heads
on its latent.

Source: the paper's embedding is that of OmiEmbed (Zhang et al. 2021); "early" concatenates the
modalities before the encoder as the paper says, "intermediate" gives every modality layers of its
own as OmiEmbed does. Left out: OmiEmbed's convolutions and its layers per chromosome.

Common to all: x, modality -> (n, F) values in [0, 1]. A module is in training where it is applied
with an rng named "dropout"; without one nothing is dropped, and batch norm uses its running
statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from omics_jax.nn.noise import row_dropout
from omics_jax.nn.norm import MaskedBatchNorm

SLOPE = 0.2  # of the leaky ReLU
FUSIONS = ("early", "intermediate")

Inputs = Mapping[str, Float[Array, "n _"]]


class Rows(NamedTuple):
    """What a layer must know of the rows: live (n,) those that are no padding, row (n,) ids by
    which noise is keyed.
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
    def __call__(self, x: Float[Array, "n d"], rows: Rows) -> Float[Array, "n w"]:
        x = nn.Dense(self.width, use_bias=False)(x)
        x = MaskedBatchNorm()(x, rows.live, train=self.has_rng("dropout"))
        return nn.leaky_relu(_dropped(self, x, rows, self.dropout), SLOPE)


def _dropped(module: nn.Module, x: jax.Array, rows: Rows, rate: float) -> jax.Array:
    return (
        row_dropout(module.make_rng("dropout"), rows.row, x, rate)
        if module.has_rng("dropout")
        else x
    )


class Embedding(nn.Module):
    """q(z|x) and p(x|z).

    sizes: modality -> F, in order. fusion: see the module. branch: widths of a modality's own
    layers, from the input on. shared: widths of the layers after the modalities are joined. The
    decoder is the encoder's mirror.
    """

    sizes: Mapping[str, int]
    fusion: str
    branch: Sequence[int]
    shared: Sequence[int]
    latent: int
    dropout: float

    def setup(self):
        own = len(self.branch) if self.fusion == "intermediate" else 0
        block = lambda width: Block(width, self.dropout)
        if own:
            self.branches = {m: [block(w) for w in self.branch] for m in self.sizes}
            self.unbranches = {
                m: [block(w) for w in reversed(self.branch[:-1])] for m in self.sizes
            }
            self.split = block(self.branch[-1] * len(self.sizes))
        self.encoder = [block(w) for w in self.shared]
        self.decoder = [block(w) for w in reversed(self.shared)]
        self.mean, self.log_variance = nn.Dense(self.latent), nn.Dense(self.latent)
        self.out = {m: nn.Dense(size) for m, size in self.sizes.items()}

    def encode(
        self, x: Inputs, present: Bool[Array, "n M"], rows: Rows
    ) -> tuple[Float[Array, "n z"], Float[Array, "n z"]]:
        """Mean and log variance of q(z|x). An absent modality's branch counts 0; in early fusion
        its values are read.

        Batch norm of a branch is over the live rows that have the modality.
        """
        parts = []
        for i, m in enumerate(self.sizes):
            h = x[m]
            if self.fusion == "intermediate":
                for layer in self.branches[m]:
                    h = layer(h, Rows(rows.live & present[:, i], rows.row))
                h = jnp.where(present[:, i, None], h, 0)
            parts.append(h)
        h = jnp.concatenate(parts, axis=-1)
        for layer in self.encoder:
            h = layer(h, rows)
        return self.mean(h), self.log_variance(h)

    def decode(self, z: Float[Array, "n z"], rows: Rows) -> dict[str, Float[Array, "n _"]]:
        """Logits of every modality's reconstruction."""
        h = z
        for layer in self.decoder:
            h = layer(h, rows)
        if self.fusion == "early":
            return {m: layer(h) for m, layer in self.out.items()}
        parts = jnp.split(self.split(h, rows), len(self.sizes), axis=-1)
        logits = {}
        for (m, layers), part in zip(self.unbranches.items(), parts, strict=True):
            for layer in layers:
                part = layer(part, rows)
            logits[m] = self.out[m](part)
        return logits

    def __call__(
        self, x: Inputs, present: Bool[Array, "n M"], rows: Rows
    ) -> dict[str, Float[Array, "n _"]]:
        """Every layer once, for initialisation."""
        return self.decode(self.encode(x, present, rows)[0], rows)


class Head(nn.Module):
    """A task's outputs from the latent: widths of its hidden layers, then `outputs` linear units.

    kind: "classification" or "regression" (blocks with batch norm), or "survival" (linear, dropout,
      tanh).
    """

    kind: str
    widths: Sequence[int]
    outputs: int
    dropout: float

    @nn.compact
    def __call__(self, z: Float[Array, "n z"], rows: Rows) -> Float[Array, "n k"]:
        for width in self.widths:
            if self.kind == "survival":
                z = jnp.tanh(_dropped(self, nn.Dense(width)(z), rows, self.dropout))
            else:
                z = Block(width, self.dropout)(z, rows)
        return nn.Dense(self.outputs)(z)


class Heads(nn.Module):
    """The heads of several tasks on one latent. heads: task -> the attributes of its `Head`."""

    heads: Mapping[str, Mapping[str, Any]]

    @nn.compact
    def __call__(self, z: Float[Array, "n z"], rows: Rows) -> dict[str, Float[Array, "n _"]]:
        return {task: Head(**settings, name=task)(z, rows) for task, settings in self.heads.items()}
