"""Which genes interact in a trained network: second derivatives of its outcomes, and attention.

    I_ij = mean over profiles x of  d^2 f(x) / d x_i d x_j

f is an outcome's output before any link: the difference of two logits, a number, or the risk; of
more classes, each logit less their mean, and I_ij is the root of the sum of squares. Profiles are
fixed draws of independent standard normal values, so that I does not depend on the patients: a
linear model has I = 0, and a product x_i x_j has I_ij = 1.
Beside it stands the attention a_ij, the mean over the same profiles, heads and layers, which is of
no outcome in particular. Source: Friedman & Popescu 2008 for interactions as mixed derivatives; the
authors' code averages attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from omics_jax.nn import mtlr
from omics_jax.nn.token_encoder import attention_weights
from omics_jax.systems.gene_transformer.model import (
    CLS_VALUE,
    ENCODER,
    ModelShape,
    Profile,
    encode_profiles,
    known_vectors,
)
from omics_jax.tasks.network import TaskNetwork, head_outputs
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

MOST_GENES = 300  # of which all pairs are computed
PROFILES = 16
_SEED = 0  # of the profiles

Genes = Float[Array, "P w"]


def pair_fields(
    shape: ModelShape, network: TaskNetwork, variables: Variables
) -> dict[str, Float[Array, ...]]:
    """What a trained network says of pairs of its w genes, side by side over the modalities.

    Returns:
      columns_M (w_M,): places of the genes in the table; alive (w,): which genes there are.
      attention (w, w): a of the module, both directions together.
      interaction_T, strength_T (w, w): I of outcome T, nan where it has no sign, and its magnitude.
    """
    alive = jnp.concatenate([_varying(variables["constants"], name) for name in shape.widths])
    x = jax.random.normal(jax.random.key(_SEED), (PROFILES, len(alive)))
    fields = {f"columns_{name}": variables["constants"][f"{name}_columns"] for name in shape.widths}
    fields |= {"alive": alive, "attention": gene_attention(shape, variables, x, alive)}
    outputs = lambda x: _outputs(shape, network, variables, x, alive)
    for task in network.tasks:
        scores = scores_of(task, network.config.survival.hazard)
        parts = jnp.stack([mixed_derivatives(lambda x, f=f: f(outputs(x)), x) for f in scores])
        signed = parts[0] if len(parts) == 1 else jnp.full(parts.shape[1:], jnp.nan)
        strength = jnp.sqrt(jnp.sum(parts**2, axis=0))
        fields |= {f"interaction_{task.name}": signed, f"strength_{task.name}": strength}
    return fields


def _varying(constants: Variables, name: str) -> Bool[Array, " w"]:
    return constants[f"{name}_alive"] & (constants[f"{name}_sd"] > 0)


def profile_of(shape: ModelShape, x: Genes, alive: Bool[Array, " w"]) -> Profile:
    """Tokens with these values of genes; covariates are at their training means."""
    n = len(x)
    first = jnp.full((n, 1), CLS_VALUE)
    average = jnp.zeros((n, shape.covariates))
    values = jnp.concatenate([first, average, jnp.where(alive, x, 0)], axis=1)
    exists = jnp.concatenate([jnp.ones(1 + shape.covariates, bool), alive])
    return Profile(values, jnp.broadcast_to(exists, values.shape))


def _outputs(
    shape: ModelShape, network: TaskNetwork, variables: Variables, x: Genes, alive: Any
) -> dict[str, Float[Array, "P _"]]:
    z = encode_profiles(shape, variables, profile_of(shape, x, alive))
    rows = {"row": jnp.arange(len(x)), "live": jnp.ones(len(x), bool)}
    return head_outputs(network, variables, z, rows)[0]


def scores_of(task: Task, hazard: str) -> list[Callable[[dict[str, Array]], Float[Array, " P"]]]:
    """f of the module for an outcome, each from the outputs of all heads."""
    name = task.name
    if task.kind == "regression":
        return [lambda outputs: outputs[name][:, 0]]
    if task.kind == "survival":
        return [lambda outputs: mtlr.risk(outputs[name], hazard)]
    if len(task.classes) == 2:
        return [lambda outputs: outputs[name][:, 1] - outputs[name][:, 0]]
    return [
        lambda outputs, k=k: outputs[name][:, k] - jnp.mean(outputs[name], axis=1)
        for k in range(len(task.classes))
    ]


def mixed_derivatives(f: Callable[[Genes], Float[Array, " P"]], x: Genes) -> Float[Array, "w w"]:
    """Mean over the rows of x of the matrix of second derivatives of f, 0 on the diagonal."""
    gradient = jax.grad(lambda x: jnp.sum(f(x)))

    def row(i: Array) -> Float[Array, " w"]:
        return jax.grad(lambda x: jnp.sum(gradient(x)[:, i]))(x).mean(axis=0)

    matrix = jax.lax.map(row, jnp.arange(x.shape[1]))
    return jnp.where(jnp.eye(x.shape[1], dtype=bool), 0, (matrix + matrix.T) / 2)


def gene_attention(
    shape: ModelShape, variables: Variables, x: Genes, alive: Bool[Array, " w"]
) -> Float[Array, "w w"]:
    """Mean attention of pairs of genes in both directions; 0 on the diagonal, and if induced."""
    if shape.config.model.attention != "exact":
        return jnp.zeros((len(alive), len(alive)))
    p, profile = variables["params"][ENCODER], profile_of(shape, x, alive)
    known = known_vectors(shape, variables)
    weights = attention_weights(shape.encoder, p, *profile, known)
    first = 1 + shape.covariates
    genes = weights[first:, first:]
    return jnp.where(np.eye(len(alive), dtype=bool), 0, (genes + genes.T) / 2)
