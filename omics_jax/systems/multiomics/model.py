"""Embed several modalities, then predict several outcomes at once: losses, stages and predictions.

    embedding   the VAE alone: L_embed = (1/M) sum_j BCE(x_j, x'_j)
                                         + k_kl KL(q(z|x) | N(0, I))                  (equation 1)
    heads       the heads alone, on the frozen mean of q(z|x):
                L_down = (1/K) sum_k w_k L_k                                          (equation 2)
    all         everything: lambda L_embed + L_down                                   (equation 3)
    calibration if asked for: a temperature per class or survival task, on the validation patients
                (not the paper's)

Source: the paper that couples deep imputation with multi-task learning on TCGA; missing modalities
are imputed before (`imputation`) and the imputers frozen here. The heads and all stages but the
first are those of any network with several tasks (`omics_jax.tasks`).

A row is a patient: of every modality M its values x_M (F,) and mask m_M (F,) in the input's units,
`has` (M,) the modalities that were measured, and of every task T its outcome y_T (of survival time
y_T and event e_T) and whether it is known, k_T. What the network sees of it stands in `patients`,
its layers in `networks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from omics_jax.nn.modules import apply_module
from omics_jax.nn.noise import row_normal
from omics_jax.systems.multiomics import imputation
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.systems.multiomics.patients import (
    SLOT,
    ModelShape,
    Patients,
    Rows,
    average,
    patients,
    prepared,
    prepared_patients,
    scaled,
)
from omics_jax.tasks import network as task_network
from omics_jax.tasks.attribution import attributions
from omics_jax.tasks.network import (
    Encoded,
    TaskNetwork,
    head_outputs,
    init_network,
    row_info,
)
from omics_jax.tasks.stages import section_stage
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables

EMBEDDING = "embedding"  # the module of the VAE

Latent = Float[Array, "n z"]


# --- the network ----------------------------------------------------------------------------------


def network_of(shape: ModelShape, weights: Mapping[str, float]) -> TaskNetwork:
    """The VAE as the encoder of a network with a head per task.

    weights: task -> w_k of equation 2, 1 where it has none.
    """

    def encode(variables: Variables, rows: Rows, key: jax.Array | None) -> Encoded:
        read = prepared_patients(shape, variables, rows)
        terms, mean, stats = embedding_terms(shape, variables, read, rows, key)
        return Encoded(mean, terms, stats)

    return TaskNetwork(
        config=shape.config,
        tasks=shape.tasks,
        slot=SLOT,
        encode=encode,
        modules=(EMBEDDING,),
        encoder_loss=partial(embedding_loss, shape),
        encoder_weight=shape.config.model.k_embed,
        weights=weights,
        prepare=partial(prepared, shape) if shape.edges else None,
    )


def init(
    shape: ModelShape, network: TaskNetwork, key: jax.Array, batch: Batch, constants: Variables
) -> Variables:
    """{"embedding", "heads"} and, where modalities are imputed, {"imputer"}, where calibrated,
    {"calibration"}.
    """
    rows = batch[SLOT]
    has_all = jnp.ones((len(rows["row"]), len(shape.used)), bool)
    x = {name: scaled(constants, rows, name) for name in shape.used}
    embedding = {EMBEDDING: (shape.embedding, x, has_all, row_info(rows))}
    latent = shape.config.model.latent
    made = init_network(network, jax.random.fold_in(key, 1), rows, embedding, latent)
    imputers = imputation.init(shape, key, batch, constants)["params"] if shape.edges else {}
    return {**made, "params": {**imputers, **made["params"]}}


# --- the embedding --------------------------------------------------------------------------------


def encode_patients(
    shape: ModelShape,
    variables: Variables,
    read: Patients,
    rows: Rows,
    key: jax.Array | None = None,
) -> tuple[tuple[Latent, Latent], dict[str, Any]]:
    """(mean, log variance) of q(z|x), and new statistics; a key means training."""
    return apply_module(
        shape.embedding,
        EMBEDDING,
        variables,
        key,
        read.x,
        read.present,
        row_info(rows),
        method=Embedding.encode,
    )


def embedding_terms(
    shape: ModelShape,
    variables: Variables,
    read: Patients,
    rows: Rows,
    key: jax.Array | None = None,
) -> tuple[Terms, Latent, dict[str, Any]]:
    """Terms of equation 1 by one draw of z per patient (its mean without `key`), q's mean, and the
    new statistics.

    Returns:
      bce_M: binary cross-entropy summed over the observed or imputed cells of modality M, weight
      the cells, or with the reduction "sum" the patients they would fill; kl: of the live patients,
      summed over the latent dimensions.
    """
    (mean, log_variance), stats = encode_patients(shape, variables, read, rows, key)
    z = mean
    decoding_key = None
    if key is not None:
        noise = row_normal(jax.random.fold_in(key, 2), rows["row"], mean.shape[1:])
        z = mean + jnp.exp(log_variance / 2) * noise
        variables = {**variables, "batch_stats": {**variables["batch_stats"], **stats}}
        decoding_key = jax.random.fold_in(key, 1)
    logits, stats = apply_module(
        shape.embedding,
        EMBEDDING,
        variables,
        decoding_key,
        z,
        row_info(rows),
        method=Embedding.decode,
    )
    terms = _reconstruction_terms(shape, variables["constants"], read, rows, logits)
    live = rows["live"]
    kl = jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=1) / 2
    terms["kl"] = Term(jnp.sum(jnp.where(live, kl, 0)), jnp.sum(live, dtype=kl.dtype))
    return terms, mean, stats


def _reconstruction_terms(
    shape: ModelShape,
    constants: Variables,
    read: Patients,
    rows: Rows,
    logits: Mapping[str, Float[Array, "n F"]],
) -> dict[str, Term]:
    """bce_M of every modality M, see `embedding_terms`."""
    terms, per_patient = {}, shape.config.model.reduction == "sum"
    for name in shape.used:
        cells = read.cells[name] & rows["live"][:, None]
        bce = optax.sigmoid_binary_cross_entropy(logits[name], read.x[name])
        features = jnp.sum(constants[f"{name}_alive"], dtype=bce.dtype) if per_patient else 1
        weight = jnp.sum(cells, dtype=bce.dtype) / features
        terms[f"bce_{name}"] = Term(jnp.sum(jnp.where(cells, bce, 0)), weight)
    return terms


def embedding_loss(shape: ModelShape, terms: Terms) -> Float[Array, ""]:
    """Equation 1. "mean": BCE per feature and KL per latent dimension, as OmiEmbed; "sum": both per
    patient.
    """
    model = shape.config.model
    bce = sum(terms[f"bce_{name}"].mean for name in shape.used) / len(shape.used)
    dimensions = 1 if model.reduction == "sum" else model.latent
    return bce + model.k_kl * terms["kl"].mean / dimensions


# --- its stage ------------------------------------------------------------------------------------


def embedding_stage(network: TaskNetwork, rows: int) -> Stage:
    """The VAE alone, on at most `rows` rows of a replicate; other stages are of `tasks.stages`."""

    def loss(variables: Variables, batch: Batch, key: jax.Array) -> tuple[Terms, Any]:
        encoded = network.encode(variables, batch[SLOT], key)
        return encoded.terms, {**variables["batch_stats"], **encoded.stats}

    def monitor(variables: Variables, batch: Batch) -> jax.Array:
        return network.encoder_loss(network.encode(variables, batch[SLOT], None).terms)

    return section_stage(
        network,
        EMBEDDING,
        rows,
        trainable=(f"{EMBEDDING}/.*",),
        loss=loss,
        objective=network.encoder_loss,
        monitor=monitor,
        features=network.prepare,
    )


# --- predictions ----------------------------------------------------------------------------------


def predict(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """Every task's prediction (see `tasks.prediction`) and what it stands on.

    Returns:
      also embedding (n, latent): the mean of q(z|x). imputed_share (n,): of the features that the
      embedding reads of a patient, those that were imputed or filled in; a modality whose branch is
      left out is not read. With `config.predict.attributions` those of `explain`.
    """
    predictions = task_network.predict(network, variables, rows)
    present = patients(shape, variables, rows).present
    predictions["imputed_share"] = imputed_share(shape, variables["constants"], rows, present)
    if shape.config.predict.attributions:
        predictions |= explain(shape, network, variables, rows)
    return predictions


def imputed_share(
    shape: ModelShape, constants: Variables, rows: Rows, present: jax.Array
) -> Float[Array, " n"]:
    """The share of the features read of a patient that were not measured; 0 where all were."""
    # In early fusion what stands in for an absent modality is read; see `Embedding.encode`.
    is_read = present | (shape.embedding.fusion == "early")
    read = [constants[f"{name}_alive"] & is_read[:, i, None] for i, name in enumerate(shape.used)]
    read = jnp.concatenate(read, axis=1)
    seen = jnp.concatenate([rows[f"m_{name}"] for name in shape.used], axis=1)
    return jnp.sum(~seen & read, axis=1) / jnp.maximum(jnp.sum(read, axis=1), 1)


def explain(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """TASK_attribution_M (n, F) of every task and modality, see `tasks.attribution`.

    The baseline is the average training patient. A cell that was filled with the training mean and
    a feature that the replicate did not choose get 0 (to rounding), and so does a modality that is
    left out; an imputed one counts as measured.
    """
    read = patients(shape, variables, rows)

    def outputs(x: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        (mean, _), _ = encode_patients(shape, variables, read._replace(x=x), rows)
        return head_outputs(network, variables, mean, rows)[0]

    return attributions(
        shape.tasks,
        outputs,
        read.x,
        {name: average(variables["constants"], name) for name in shape.used},
        steps=shape.config.interpret.steps,
        hazard=shape.config.survival.hazard,
    )
