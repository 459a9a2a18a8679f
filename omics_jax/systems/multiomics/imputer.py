"""Deep imputation of a modality from others, by one hidden layer of 4,000 and sigmoids throughout.

Source: the paper, which takes over TDimpute (Zhou et al. 2020) and calls it a VAE although nothing
is drawn and no KL counted. Deviates: a modality may have several sources, of which a patient may
lack some (their values are then 0, and a flag per source says which are present); several members
with different initial weights are trained, and their spread is the uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.nn.initial import draw, glorot_parameters

Values = Mapping[str, Float[Array, "n _"]]
Layer = Mapping[str, Float[Array, "..."]]  # "kernel" (in, out), "bias" (out,)
MemberParams = Mapping[str, Layer]  # "hidden", "out" -> layer
Params = Mapping[str, Mapping[str, Float[Array, "E ..."]]]  # the same, of E members


def init_imputer(key: PRNGKeyArray, inputs: int, hidden: int, outputs: int, members: int) -> Params:
    """The parameters of all members; kernels are Glorot-uniform as in TDimpute."""
    layers = {
        "hidden": glorot_parameters(inputs, hidden),
        "out": glorot_parameters(hidden, outputs),
    }

    def draw_member(member_key: PRNGKeyArray) -> MemberParams:
        return draw(member_key, layers)

    keys = jax.random.split(key, members)
    return jax.vmap(draw_member)(keys)


def input_size(sizes: Mapping[str, int], sources: Sequence[str]) -> int:
    """The number of columns that `join_sources` returns for these sources."""
    features = sum(sizes[source] for source in sources)
    flags = len(sources) if len(sources) > 1 else 0
    return features + flags


def join_sources(
    sources: Sequence[str], x: Values, has: Mapping[str, Bool[Array, " n"]]
) -> Float[Array, "n in"]:
    """The sources side by side, 0 where a patient lacks one.

    Several sources are followed by a flag for each: 1 where the patient has it.
    """
    parts = []
    for source in sources:
        is_present = has[source][:, None]
        parts.append(jnp.where(is_present, x[source], 0))
    if len(sources) > 1:
        flags = jnp.stack([has[source] for source in sources], axis=1)
        parts.append(flags.astype(parts[0].dtype))
    return jnp.concatenate(parts, axis=1)


def estimate(params: Params, inputs: Float[Array, "n in"]) -> Float[Array, "E n out"]:
    """sigmoid(W2 sigmoid(W1 x + b1) + b2) of every member."""

    def member_estimate(member: MemberParams) -> Float[Array, "n out"]:
        hidden = jax.nn.sigmoid(_linear(member["hidden"], inputs))
        return jax.nn.sigmoid(_linear(member["out"], hidden))

    return jax.vmap(member_estimate)(params)


def _linear(layer: Layer, x: Float[Array, "n in"]) -> Float[Array, "n out"]:
    product = x @ layer["kernel"]
    return product + layer["bias"]
