"""Which genes interact in a trained network: second derivatives of its outcomes, and attention.

    I_ij = mean over profiles x of  d^2 f(x) / d x_i d x_j

f is an outcome's output before any link: the difference of two logits, a number, or the risk; of
more classes, each logit less their mean, and I_ij is the root of the sum of squares. Profiles are
fixed draws of independent standard normal values, so that I does not depend on the patients: a
linear model has I = 0, and a product x_i x_j has I_ij = 1.

Beside it stand three readings of the attention A_l of the layers l, over the same profiles:

    attention            mean of A_l over heads, layers and profiles
    rollout              mean over profiles of the product over layers of (A_l + 1) / 2, A_l the
                         mean over heads, 1 the identity
    gradient x attention mean over heads, layers and profiles of |A_l  d f / d A_l|, of an outcome

Source: Friedman & Popescu 2008 (mixed derivatives as interactions), the authors' code (mean
attention), Abnar & Zuidema 2020 (rollout), Chefer et al. 2021 (gradients). Deviates from the last:
magnitudes, where they take the positive part for one predicted class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

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
    summary,
)
from omics_jax.tasks.network import TaskNetwork, head_outputs
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

MOST_GENES = 300  # of which all pairs are computed
PROFILES = 16
_SEED = 0  # of the profiles

Genes = Float[Array, "P w"]
Outputs = dict[str, Float[Array, "P _"]]
Score = Callable[[Outputs], Float[Array, " P"]]
Weights = Float[Array, "l P h t t"]


def pair_fields(
    shape: ModelShape, network: TaskNetwork, variables: Variables
) -> dict[str, Float[Array, ...]]:
    """What a trained network says of pairs of its w genes, side by side over the modalities.

    Returns:
      the fields of `null_fields`.
      rollout (w, w): both directions together.
      interaction_T (w, w): I of outcome T, nan where it has no sign.
      gradient_attention_T (w, w).
    """
    x, alive = random_profiles(shape, variables)
    profile = profile_of(shape, x, alive)
    fields = null_fields(shape, network, variables)
    fields["rollout"] = gene_rollout(shape, variables, profile)
    for name, scores in _scores(network).items():
        parts = interactions(shape, network, variables, scores)
        fields[f"interaction_{name}"] = (
            parts[0] if len(parts) == 1 else jnp.full(parts.shape[1:], jnp.nan)
        )
        fields[f"gradient_attention_{name}"] = gradient_attention(
            shape, network, variables, profile, scores
        )
    return fields


def null_fields(
    shape: ModelShape, network: TaskNetwork, variables: Variables
) -> dict[str, Float[Array, ...]]:
    """What is compared between networks.

    Returns:
      columns_M (w_M,): places of the genes in the table; alive (w,): which genes there are.
      attention (w, w): both directions together.
      strength_T (w, w): magnitude of I of outcome T.
    """
    x, alive = random_profiles(shape, variables)
    fields = {f"columns_{name}": variables["constants"][f"{name}_columns"] for name in shape.widths}
    fields["alive"] = alive
    fields["attention"] = gene_attention(shape, variables, profile_of(shape, x, alive))
    for name, scores in _scores(network).items():
        fields[f"strength_{name}"] = _magnitude(interactions(shape, network, variables, scores))
    return fields


def random_profiles(shape: ModelShape, variables: Variables) -> tuple[Genes, Bool[Array, " w"]]:
    """The profiles of the module, and which genes there are."""
    alive = jnp.concatenate([_varying(variables["constants"], name) for name in shape.widths])
    return jax.random.normal(jax.random.key(_SEED), (PROFILES, len(alive))), alive


def interactions(
    shape: ModelShape, network: TaskNetwork, variables: Variables, scores: Sequence[Score]
) -> Float[Array, "k w w"]:
    """I of each score."""
    x, alive = random_profiles(shape, variables)

    def value(x: Genes, score: Score) -> Float[Array, " P"]:
        z = encode_profiles(shape, variables, profile_of(shape, x, alive))
        return score(_head_outputs(network, variables, z))

    return jnp.stack([mixed_derivatives(partial(value, score=score), x) for score in scores])


def _scores(network: TaskNetwork) -> dict[str, list[Score]]:
    hazard = network.config.survival.hazard
    return {task.name: scores_of(task, hazard) for task in network.tasks}


def _magnitude(parts: Float[Array, "k w w"]) -> Float[Array, "w w"]:
    return jnp.sqrt(jnp.sum(parts**2, axis=0))


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


def _head_outputs(network: TaskNetwork, variables: Variables, z: Float[Array, "P z"]) -> Outputs:
    rows = {"row": jnp.arange(len(z)), "live": jnp.ones(len(z), bool)}
    return head_outputs(network, variables, z, rows)[0]


def scores_of(task: Task, hazard: str) -> list[Score]:
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
    shape: ModelShape, variables: Variables, profile: Profile
) -> Float[Array, "w w"]:
    """Mean attention of pairs of genes, see the module; 0 where attention is not exact."""
    if shape.config.model.attention != "exact":
        return _no_pairs(shape)
    _, weights = _weights(shape, variables, profile)
    return among_genes(shape, weights.mean(axis=(0, 1, 2)))


def gene_rollout(shape: ModelShape, variables: Variables, profile: Profile) -> Float[Array, "w w"]:
    """Rollout of pairs of genes, see the module; 0 where attention is not exact."""
    if shape.config.model.attention != "exact":
        return _no_pairs(shape)
    _, weights = _weights(shape, variables, profile)
    return among_genes(shape, rollout(weights.mean(axis=2)).mean(axis=0))


def _no_pairs(shape: ModelShape) -> Float[Array, "w w"]:
    return jnp.zeros((sum(shape.widths.values()),) * 2)


def rollout(weights: Float[Array, "l P t t"]) -> Float[Array, "P t t"]:
    """How much of each token's first vector arrives at each token, see the module."""
    through = jnp.broadcast_to(jnp.eye(weights.shape[-1]), weights.shape[1:])
    for layer in weights:
        through = (layer @ through + through) / 2
    return through


def gradient_attention(
    shape: ModelShape,
    network: TaskNetwork,
    variables: Variables,
    profile: Profile,
    scores: Sequence[Score],
) -> Float[Array, "w w"]:
    """Gradient x attention of pairs of genes, see the module; 0 where attention is not exact.

    Of several scores the root of the sum of squares.
    """
    if shape.config.model.attention != "exact":
        return _no_pairs(shape)

    def value(added: Weights, score: Score) -> tuple[Float[Array, ""], Weights]:
        z, weights = _weights(shape, variables, profile, added)
        return jnp.sum(score(_head_outputs(network, variables, z))), weights

    encoder, (rows, tokens) = shape.encoder, profile.values.shape
    start = jnp.zeros((encoder.layers, rows, encoder.heads, tokens, tokens))
    parts = []
    for score in scores:
        gradient, weights = jax.grad(value, has_aux=True)(start, score)
        parts.append(among_genes(shape, jnp.abs(gradient * weights).mean(axis=(0, 1, 2))))
    return _magnitude(jnp.stack(parts))


def _weights(
    shape: ModelShape, variables: Variables, profile: Profile, added: Weights | float = 0.0
) -> tuple[Float[Array, "P z"], Weights]:
    """What the heads read of the profiles, and all weights of attention."""
    p, known = variables["params"][ENCODER], known_vectors(shape, variables)
    t, weights = attention_weights(shape.encoder, p, *profile, known, added)
    return summary(shape, p, t, profile), weights


def among_genes(shape: ModelShape, weights: Float[Array, "t t"]) -> Float[Array, "w w"]:
    """Mean of both directions between genes, without the other tokens; 0 on the diagonal."""
    first = 1 + shape.covariates
    genes = weights[first:, first:]
    return jnp.where(np.eye(len(genes), dtype=bool), 0, (genes + genes.T) / 2)
