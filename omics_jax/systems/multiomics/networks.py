"""The network of the multi-omics VAE: encoders and decoders of several modalities.

Source: the paper's embedding is that of OmiEmbed (Zhang et al. 2021); "early" concatenates the
modalities before the encoder as the paper says, "intermediate" gives every modality layers of its
own as OmiEmbed does. Left out: OmiEmbed's convolutions and its layers per chromosome.

x: modality -> (n, F) values in [0, 1]. The module is in training where it is applied with an rng
named "dropout"; without one nothing is dropped, and batch norm uses its running statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.nn.blocks import Block, RowInfo

FUSIONS = ("early", "intermediate")

Inputs = Mapping[str, Float[Array, "n _"]]


class Embedding(nn.Module):
    """q(z|x) and p(x|z); the decoder mirrors the encoder.

    sizes: modality -> F, in order.
    fusion: "early" or "intermediate", see the module.
    branch: widths of the layers that each modality has of its own, from the input on.
    shared: widths of the layers after the modalities are joined.
    """

    sizes: Mapping[str, int]
    fusion: str
    branch: Sequence[int]
    shared: Sequence[int]
    latent: int
    dropout: float

    def setup(self) -> None:
        def block(width: int) -> Block:
            return Block(width, self.dropout)

        if self.fusion == "intermediate" and self.branch:
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
        """Mean and log variance of q(z|x).

        The branch of an absent modality returns 0, and its batch norm is over the live rows that
        have the modality. Early fusion has no branches and reads the values that stand in for it.
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
