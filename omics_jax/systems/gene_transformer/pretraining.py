"""Masked-value pretraining: hide values of genes and restore them, without any outcome.

    L = mean over hidden genes i of (v_i . t_i + b_i - x_i)^2

t_i is the token of gene i after the last layer, with a share of the patient's genes hidden: a
hidden gene has the value 0, its mean, and the vector "hidden" is added to its own. v_i and b_i are
the restorer's, which no other stage reads.

Source: the pretraining of scGPT (Cui et al. 2024) and GexBERT (2024), here on standardised values.
Deviates: genes are hidden anew in every step, each with the same chance, and the first token and
covariates never.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.tables import Evaluation
from omics_jax.nn.initial import Constant, Uniform
from omics_jax.nn.noise import row_keys
from omics_jax.nn.token_encoder import Randomness, encode_tokens
from omics_jax.study.system import Predictions
from omics_jax.systems.gene_transformer.model import (
    ENCODER,
    SLOT,
    ModelShape,
    known_vectors,
    profiles,
)
from omics_jax.tasks.network import TaskNetwork
from omics_jax.tasks.stages import section_stage
from omics_jax.training.rows import in_blocks
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables

PRETRAINING = "pretraining"  # the stage
RESTORER = "restorer"  # the module of v and b, and of the vector of hidden genes
RESTORED = "hidden_genes_explained_variance"  # a metric
_VALIDATION_SEED = 0  # the hidden genes of validation patients are the same in every epoch

Rows = Mapping[str, Array]


def restorer_description(shape: ModelShape) -> dict[str, Any]:
    """The description of the restorer's parameters, see `initial.draw`."""
    channels = shape.config.model.channels
    return {
        "hidden": Constant((channels,), 0.0),
        "weight": Uniform((shape.tokens, channels), channels / 3),
        "bias": Constant((shape.tokens,), 0.0),
    }


def pretraining_stage(shape: ModelShape, network: TaskNetwork, rows: int) -> Stage:
    """The transformer alone, on at most `rows` rows of a replicate."""

    def loss(variables: Variables, batch: Batch, key: PRNGKeyArray) -> tuple[Terms, Any]:
        term = restoration(shape, variables, batch[SLOT], key, in_training=True)
        return {"restoration": term}, variables["batch_stats"]

    def monitor(variables: Variables, batch: Batch) -> Float[Array, ""]:
        key = jax.random.key(_VALIDATION_SEED)
        return restoration(shape, variables, batch[SLOT], key, in_training=False).mean

    return section_stage(
        network,
        PRETRAINING,
        rows,
        trainable=(f"{ENCODER}/.*", f"{RESTORER}/.*"),
        loss=loss,
        objective=lambda terms: terms["restoration"].mean,
        monitor=monitor,
    )


def restoration(
    shape: ModelShape, variables: Variables, rows: Rows, key: PRNGKeyArray, in_training: bool
) -> Term:
    """The squared errors of the hidden genes of live rows, summed, and their number.

    key: of the genes that are hidden, and in training of dropout.
    """
    randomness = Randomness(jax.random.fold_in(key, 1), rows["row"]) if in_training else None
    errors, _, is_hidden = restored_errors(shape, variables, rows, key, randomness)
    counts = is_hidden & rows["live"][:, None]
    return Term(jnp.sum(jnp.where(counts, errors, 0)), jnp.sum(counts, dtype=errors.dtype))


def restored_errors(
    shape: ModelShape,
    variables: Variables,
    rows: Rows,
    key: PRNGKeyArray,
    randomness: Randomness | None = None,
) -> tuple[Float[Array, "n T"], Float[Array, "n T"], Bool[Array, "n T"]]:
    """Squared errors of the restored values, the values, and which of them were hidden.

    Without randomness as many patients at a time as train in a step, see `model.encode`.
    """
    p, restorer = variables["params"][ENCODER], variables["params"][RESTORER]
    share = shape.config.pretrain.hidden

    def errors(rows: Rows):
        x, exists = profiles(shape, variables["constants"], rows)
        is_hidden = hidden_tokens(key, rows["row"], exists, 1 + shape.covariates, share)
        seen = jnp.where(is_hidden, 0, x)
        marks = is_hidden[:, :, None] * restorer["hidden"] + known_vectors(shape, variables)
        t = encode_tokens(shape.encoder, p, seen, exists, randomness, extra=marks)
        restored = jnp.sum(t * restorer["weight"], axis=-1) + restorer["bias"]
        return (restored - x) ** 2, x, is_hidden

    if randomness is not None:
        return errors(rows)
    return in_blocks(errors, rows, shape.config.training.batch_size)


def predict_restored(
    shape: ModelShape, variables: Variables, rows: Rows
) -> dict[str, Float[Array, " n"]]:
    """squared_error and squared_value (n,): sums over the hidden genes of every patient.

    squared_value: of the values themselves, which are the errors of their training means.
    """
    key = jax.random.key(_VALIDATION_SEED)
    errors, x, is_hidden = restored_errors(shape, variables, rows, key)
    return {
        "squared_error": jnp.sum(jnp.where(is_hidden, errors, 0), axis=1),
        "squared_value": jnp.sum(jnp.where(is_hidden, x**2, 0), axis=1),
    }


def evaluate_restored(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """How much of the variance of hidden genes is restored: 0 by the training means."""
    error, value = (
        np.sum(predictions[f"squared_{name}"], dtype=np.float64) for name in ("error", "value")
    )
    return Evaluation({RESTORED: float(1 - error / value) if value > 0 else float("nan")})


def hidden_tokens(
    key: PRNGKeyArray,
    rows: Int[Array, " n"],
    exists: Bool[Array, "n T"],
    spared: int,
    share: float,
) -> Bool[Array, "n T"]:
    """Which tokens are hidden: each that exists with the chance `share`, keyed by row.

    spared: the number of first tokens that never are.
    """
    draw = lambda own: jax.random.uniform(own, exists.shape[1:])
    is_drawn = jax.vmap(draw)(row_keys(key, rows)) < share
    is_gene = jnp.arange(exists.shape[1]) >= spared
    return is_drawn & is_gene & exists
