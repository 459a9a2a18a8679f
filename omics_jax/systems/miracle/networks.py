"""The network of MIRACLE: site -> gene -> pathway, a Gaussian per pathway, and the way back.

    h = act(norm(W_1 x + b_1))                      genes, and so on through all layers but the last
    mean = W_m h + b_m,  log variance = L tanh((W_v h + b_v) / L)  of every pathway, L = 10
    z ~ N(mean, variance),  x' = the mirrored layers of z

Every W is masked by what is known (`nn.masked_dense`). Deviates from the authors' code: mean and
log variance do not pass a ReLU. The module is in training where it is applied with an rng named
"dropout".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.nn.blocks import RowInfo, dropout_by_row
from omics_jax.nn.masked_dense import MaskedDense
from omics_jax.nn.norm import MaskedBatchNorm
from omics_jax.nn.sparse import Edges

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
}


# Log variances lie between -LARGEST and LARGEST: the exponential of a far person's would overflow.
LARGEST = 10.0


class PathwayAutoencoder(nn.Module):
    """q(z|x) and p(x|z) over pathways.

    sites: w. units: numbers of genes, pathways and units of higher levels.
    masks: of encoder and decoder, see `nn.masked_dense.MASKS`.
    dropout: of the encoder's genes and higher hidden units; input_dropout: of sites. Both make the
      autoencoder a denoising one (Vincent et al. 2008); the decoder has none.
    """

    sites: int
    units: Sequence[int]
    masks: tuple[str, str]
    softness: float
    form: str
    activation: str
    batch_norm: bool
    dropout: float
    input_dropout: float = 0.0

    def setup(self) -> None:
        def layer(outputs: int, mask: str, use_bias: bool = True) -> MaskedDense:
            return MaskedDense(outputs, mask, self.softness, self.form, use_bias)

        encoder, decoder = self.masks
        has_bias = not self.batch_norm
        hidden = self.units[:-1]
        self.up = [layer(units, encoder, has_bias) for units in hidden]
        self.mean = layer(self.units[-1], encoder)
        self.log_variance = layer(self.units[-1], encoder)
        down = [layer(units, decoder, has_bias) for units in reversed(hidden)]
        self.down = [*down, layer(self.sites, decoder)]
        if self.batch_norm:
            self.up_norms = [MaskedBatchNorm() for _ in self.units[:-1]]
            self.down_norms = [MaskedBatchNorm() for _ in self.units[:-1]]

    def encode(
        self, x: Float[Array, "n w"], edges: Sequence[Edges], rows: RowInfo
    ) -> tuple[Float[Array, "n P"], Float[Array, "n P"]]:
        """Mean and log variance of q(z|x). edges: of the layers, the lowest first."""
        h = dropout_by_row(self, x, rows, self.input_dropout)
        for number, layer in enumerate(self.up):
            has_norm = has_several_inputs(edges[number], self.masks[0])
            h = self._hidden(layer(h, edges[number]), "up_norms", number, rows, has_norm)
            h = dropout_by_row(self, h, rows, self.dropout)
        unbounded = self.log_variance(h, edges[-1])
        return self.mean(h, edges[-1]), LARGEST * jnp.tanh(unbounded / LARGEST)

    def decode(
        self, z: Float[Array, "n P"], edges: Sequence[Edges], rows: RowInfo
    ) -> Float[Array, "n w"]:
        """The reconstruction. edges: of the decoder's layers, the lowest first."""
        h = z
        last = len(self.down) - 1
        for number, layer in enumerate(self.down):
            own = edges[last - number]
            h = layer(h, own)
            if number < last:
                has_norm = has_several_inputs(own, self.masks[1])
                h = self._hidden(h, "down_norms", number, rows, has_norm)
        return h

    def _hidden(
        self,
        h: Float[Array, "n u"],
        norms: str,
        number: int,
        rows: RowInfo,
        has_norm: Bool[Array, " u"],
    ) -> Float[Array, "n u"]:
        if self.batch_norm:
            normalised = getattr(self, norms)[number](h, rows.live, train=self.has_rng("dropout"))
            h = jnp.where(has_norm, normalised, h)
        return ACTIVATIONS[self.activation](h)

    def __call__(
        self,
        x: Float[Array, "n w"],
        up: Sequence[Edges],
        down: Sequence[Edges],
        rows: RowInfo,
    ) -> Float[Array, "n w"]:
        """Every layer once, for initialisation."""
        return self.decode(self.encode(x, up, rows)[0], down, rows)


def has_several_inputs(edges: Edges, mask: str) -> Bool[Array, " O"]:
    """Whether each unit reads two inputs or more, and so is normalised.

    The norm of a unit with one input does not depend on its weight, whose gradient would be
    rounding errors; Adam scales these to steps of full length.
    """
    return (edges.fan_in > 1) | (mask != "hard")


def edges_by_layer(up: Sequence[Edges], down: Sequence[Edges]) -> dict[str, Edges]:
    """Name of a layer among the parameters -> the edges that it reads."""
    by_layer = {f"up_{number}": edges for number, edges in enumerate(up[:-1])}
    by_layer |= {"mean": up[-1], "log_variance": up[-1]}
    return by_layer | {f"down_{number}": edges for number, edges in enumerate(reversed(down))}
