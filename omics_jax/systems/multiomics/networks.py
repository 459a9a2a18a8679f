"""The networks of the multi-omics VAE: encoders and decoders of several modalities, and the heads
on its latent.

Source: the paper's embedding is that of OmiEmbed (Zhang et al. 2021); "early" concatenates the
modalities before the encoder as the paper says, "intermediate" gives every modality layers of its
own as OmiEmbed does. Their block is `nn.blocks.Block`. Left out: OmiEmbed's convolutions and its
layers per chromosome.

Common to all: x, modality -> (n, F) values in [0, 1]. A module is in training where it is applied
with an rng named "dropout"; without one nothing is dropped, and batch norm uses its running
statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.nn.blocks import Block, RowInfo, dropout_by_row

FUSIONS = ("early", "intermediate")

Inputs = Mapping[str, Float[Array, "n _"]]


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
        self, x: Inputs, present: Bool[Array, "n M"], rows: RowInfo
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
                    h = layer(h, RowInfo(rows.live & present[:, i], rows.row))
                h = jnp.where(present[:, i, None], h, 0)
            parts.append(h)
        h = jnp.concatenate(parts, axis=-1)
        for layer in self.encoder:
            h = layer(h, rows)
        return self.mean(h), self.log_variance(h)

    def decode(self, z: Float[Array, "n z"], rows: RowInfo) -> dict[str, Float[Array, "n _"]]:
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
        self, x: Inputs, present: Bool[Array, "n M"], rows: RowInfo
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
    def __call__(self, z: Float[Array, "n z"], rows: RowInfo) -> Float[Array, "n k"]:
        for width in self.widths:
            if self.kind == "survival":
                z = jnp.tanh(dropout_by_row(self, nn.Dense(width)(z), rows, self.dropout))
            else:
                z = Block(width, self.dropout)(z, rows)
        return nn.Dense(self.outputs)(z)


class Heads(nn.Module):
    """The heads of several tasks on one latent. heads: task -> the attributes of its `Head`."""

    heads: Mapping[str, Mapping[str, Any]]

    @nn.compact
    def __call__(self, z: Float[Array, "n z"], rows: RowInfo) -> dict[str, Float[Array, "n _"]]:
        return {task: Head(**settings, name=task)(z, rows) for task, settings in self.heads.items()}
