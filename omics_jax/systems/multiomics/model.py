"""Embed several modalities, then predict several outcomes at once: losses, stages and predictions.

    embedding   the VAE alone: L_embed = (1/M) sum_j BCE(x_j, x'_j)
                                         + k_kl KL(q(z|x) | N(0, I))                  (equation 1)
    heads       the heads alone, on the frozen mean of q(z|x):
                L_down = (1/K) sum_k w_k L_k                                          (equation 2)
    all         everything: lambda L_embed + L_down                                   (equation 3)
    calibration optional, and not in the paper: a temperature per task, on the
                validation patients

Source: the paper that couples deep imputation with multi-task learning on TCGA. Missing modalities
are imputed by networks that were trained before (`imputation`) and are frozen here. The heads and
the stages are those of any network with several tasks (`omics_jax.tasks`).

A row is a patient. For every modality M it has values x_M (F,) in the input's units and their mask
m_M (F,); `has` (M,) marks the modalities that were measured. For every task T it has an outcome y_T
(for survival the time y_T and event e_T) and k_T, whether it is known. `patients` makes of a row
what the network reads; the network's layers are in `networks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.nn.modules import apply_module
from omics_jax.nn.noise import row_normal
from omics_jax.study.patients.columns import Rows, average, chosen, in_rows, scaled
from omics_jax.systems.multiomics import imputation
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.systems.multiomics.patients import (
    SLOT,
    ModelShape,
    Patients,
    impute_patients,
    prepare_patients,
    prepared_patients,
)
from omics_jax.tasks import attribution
from omics_jax.tasks import network as task_network
from omics_jax.tasks.network import Encoded, TaskNetwork, init_network, row_info
from omics_jax.training.stage import Batch, Term, Terms, Variables

EMBEDDING = "embedding"  # the module of the VAE

Latent = Float[Array, "n z"]


# --- the network ----------------------------------------------------------------------------------


def network_of(shape: ModelShape, weights: Mapping[str, float]) -> TaskNetwork:
    """The VAE as the encoder of a network with a head per task.

    weights: task -> w_k of equation 2, 1 where it has none.
    """

    def encode(variables: Variables, rows: Rows, key: PRNGKeyArray | None) -> Encoded:
        patients = prepared_patients(shape, variables, rows)
        terms, mean, stats = embedding_terms(shape, variables, patients, rows, key)
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
        prepare=partial(prepare_patients, shape) if shape.edges else None,
    )


def init(
    shape: ModelShape, network: TaskNetwork, key: PRNGKeyArray, batch: Batch, constants: Variables
) -> Variables:
    """{"params", "batch_stats"} of the embedding, the heads, the imputers and the temperatures.

    The modules are "embedding" and "heads", with "imputer" where modalities are imputed and
    "calibration" where a stage calibrates.
    """
    rows = batch[SLOT]
    has_all = jnp.ones((len(rows["row"]), len(shape.used)), bool)
    x = {name: scaled(constants, rows, name) for name in shape.used}
    embedding = {EMBEDDING: (shape.embedding, x, has_all, row_info(rows))}
    latent = shape.config.model.latent
    variables = init_network(network, jax.random.fold_in(key, 1), rows, embedding, latent)
    imputers = imputation.init(shape, key, batch, constants)["params"] if shape.edges else {}
    return {**variables, "params": {**imputers, **variables["params"]}}


# --- the embedding --------------------------------------------------------------------------------


def encode_patients(
    shape: ModelShape,
    variables: Variables,
    patients: Patients,
    rows: Rows,
    key: PRNGKeyArray | None = None,
) -> tuple[tuple[Latent, Latent], dict[str, Any]]:
    """(mean, log variance) of q(z|x), and new batch statistics; a key means training."""
    return apply_module(
        shape.embedding,
        EMBEDDING,
        variables,
        key,
        patients.x,
        patients.present,
        row_info(rows),
        method=Embedding.encode,
    )


def embedding_terms(
    shape: ModelShape,
    variables: Variables,
    patients: Patients,
    rows: Rows,
    key: PRNGKeyArray | None = None,
) -> tuple[Terms, Latent, dict[str, Any]]:
    """The terms of equation 1, the mean of q(z|x), and the new batch statistics.

    z is one draw per patient, or the mean where `key` is None.

    Returns:
      terms: bce_M is the binary cross-entropy summed over the observed or imputed cells of modality
        M. Its weight is the number of cells; with the reduction "sum" it is that number divided by
        the number of features, which is the number of patients if every cell is filled. kl is
        summed over the live patients and the latent dimensions; its weight is the number of
        patients.
    """
    (mean, log_variance), stats = encode_patients(shape, variables, patients, rows, key)
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
    terms = _reconstruction_terms(shape, variables["constants"], patients, rows, logits)
    live = rows["live"]
    kl = jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=1) / 2
    terms["kl"] = Term(jnp.sum(jnp.where(live, kl, 0)), jnp.sum(live, dtype=kl.dtype))
    return terms, mean, stats


def _reconstruction_terms(
    shape: ModelShape,
    constants: Variables,
    patients: Patients,
    rows: Rows,
    logits: Mapping[str, Float[Array, "n F"]],
) -> dict[str, Term]:
    """bce_M of every modality M, see `embedding_terms`."""
    per_patient = shape.config.model.reduction == "sum"
    terms = {}
    for name in shape.used:
        cells = patients.cells[name] & rows["live"][:, None]
        bce = optax.sigmoid_binary_cross_entropy(logits[name], patients.x[name])
        features = jnp.sum(constants[f"{name}_alive"], dtype=bce.dtype) if per_patient else 1
        weight = jnp.sum(cells, dtype=bce.dtype) / features
        terms[f"bce_{name}"] = Term(jnp.sum(jnp.where(cells, bce, 0)), weight)
    return terms


def embedding_loss(shape: ModelShape, terms: Terms) -> Float[Array, ""]:
    """Equation 1.

    With the reduction "mean" the BCE is per feature and the KL per latent dimension, as in
    OmiEmbed; with "sum" both are per patient.
    """
    model = shape.config.model
    bce = sum(terms[f"bce_{name}"].mean for name in shape.used) / len(shape.used)
    dimensions = 1 if model.reduction == "sum" else model.latent
    return bce + model.k_kl * terms["kl"].mean / dimensions


# --- predictions ----------------------------------------------------------------------------------


def predict(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """Every task's prediction, the embedding, and how much of what it read was imputed.

    Returns:
      the fields of `tasks.prediction.predict_tasks`;
      embedding (n, latent): the mean of q(z|x);
      imputed_share (n,): see `imputed_share`;
      with `config.predict.attributions` also the fields of `explain`.
    """
    predictions = task_network.predict(network, variables, rows)
    present = impute_patients(shape, variables, rows).present
    predictions["imputed_share"] = imputed_share(shape, variables["constants"], rows, present)
    if shape.config.predict.attributions:
        predictions |= explain(shape, network, variables, rows)
    return predictions


def imputed_share(
    shape: ModelShape, constants: Variables, rows: Rows, present: Bool[Array, "n M"]
) -> Float[Array, " n"]:
    """Of the features that the embedding reads of a patient, the share that was not measured.

    A modality whose branch is left out is not read.
    """
    # Early fusion also reads the values that stand in for an absent modality, see
    # `Embedding.encode`.
    is_read = present | (shape.embedding.fusion == "early")
    reads = [constants[f"{name}_alive"] & is_read[:, i, None] for i, name in enumerate(shape.used)]
    cells_read = jnp.concatenate(reads, axis=1)
    masks = [chosen(constants, name, rows[f"m_{name}"]) for name in shape.used]
    observed = jnp.concatenate(masks, axis=1)
    unmeasured = jnp.sum(~observed & cells_read, axis=1)
    return unmeasured / jnp.maximum(jnp.sum(cells_read, axis=1), 1)


def explain(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """TASK_attribution_M (n, F) of every task and modality, see `tasks.attribution`.

    The baseline is the average training patient. The attribution is 0 (to rounding) for a cell that
    was filled with the training mean, a feature that the replicate did not choose, and a modality
    that is left out. An imputed modality is treated as if it had been measured.
    """
    constants = variables["constants"]
    patients = impute_patients(shape, variables, rows)

    def encode(x: Mapping[str, Float[Array, "n _"]]) -> Latent:
        (mean, _), _ = encode_patients(shape, variables, patients._replace(x=x), rows)
        return mean

    def in_table(name: str, values: Float[Array, "n _"]) -> Float[Array, "n _"]:
        return in_rows(constants, name, shape.sizes[name], values)

    mean = {name: average(constants, name) for name in shape.used}
    return attribution.explain(network, variables, rows, encode, patients.x, mean, in_table)
