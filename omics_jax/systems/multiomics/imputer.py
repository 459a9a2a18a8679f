"""Deep imputation of a modality from others: input, one hidden layer of 4,000, output, sigmoids
throughout.

Source: the paper, which takes over TDimpute (Zhou et al. 2020) and calls it a VAE although nothing
is drawn and no KL counted. Deviates: several sources are allowed, of which a patient may lack some
(their values then read as 0 and a flag per source says so); several members of other initial
weights, whose spread is the uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.nn.initial import draw, glorot_parameters

Values = Mapping[str, Float[Array, "n _"]]
Params = Mapping[str, Mapping[str, Float[Array, "E ..."]]]


def init_imputer(key: PRNGKeyArray, inputs: int, hidden: int, outputs: int, members: int) -> Params:
    """{"hidden", "out"} of {"kernel" (E, in, out), "bias" (E, out)}; Glorot-uniform kernels as in
    TDimpute.
    """
    described = {
        "hidden": glorot_parameters(inputs, hidden),
        "out": glorot_parameters(hidden, outputs),
    }
    return jax.vmap(lambda k: draw(k, described))(jax.random.split(key, members))


def input_size(sizes: Mapping[str, int], sources: tuple[str, ...]) -> int:
    """How many numbers `sources_of` makes of these sources."""
    return sum(sizes[s] for s in sources) + (len(sources) if len(sources) > 1 else 0)


def sources_of(
    sources: tuple[str, ...], x: Values, has: Mapping[str, Bool[Array, " n"]]
) -> Float[Array, "n in"]:
    """The sources side by side, 0 where a patient lacks one; with several, a flag for each that
    says so.
    """
    parts = [jnp.where(has[s][:, None], x[s], 0) for s in sources]
    if len(sources) > 1:
        parts.append(jnp.stack([has[s] for s in sources], axis=1).astype(parts[0].dtype))
    return jnp.concatenate(parts, axis=1)


def estimate(params: Params, inputs: Float[Array, "n in"]) -> Float[Array, "E n out"]:
    """sigmoid(W2 sigmoid(W1 x + b1) + b2) of every member."""

    def member(p):
        hidden = jax.nn.sigmoid(inputs @ p["hidden"]["kernel"] + p["hidden"]["bias"])
        return jax.nn.sigmoid(hidden @ p["out"]["kernel"] + p["out"]["bias"])

    return jax.vmap(member)(params)
