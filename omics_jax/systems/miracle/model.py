"""MIRACLE: a variational autoencoder wired by site, gene and pathway, with a head per disease.

    autoencoder  the autoencoder alone:  L_auto = R(x, x') + k_kl KL(q(z|x) | N(0, I)) / P
    heads        the heads alone, on the frozen pathway means
    all          everything:             lambda L_auto + (1/K) sum_k w_k L_k

R is the squared error of standardised sites (or the cross-entropy of beta values) per observed
cell, P the number of pathways, L_k the cross-entropy of disease k over the people of its own study.
Source: Xu et al. 2023 and the authors' code. Deviates: the KL divergence has its proper factors,
predictions read the mean, statistics of frozen norms do not move, and the mean of L_k is over the
people who belong to disease k. With `training.supervised_autoencoder` the first stage also trains
the heads, as the authors' code does.

A row is a person: x (S,) beta values with their mask m (S,), covariates c (k,), nan where unknown,
and for every task T an outcome y_T and k_T, whether it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.data.preprocessing.features import own_columns
from omics_jax.nn.masked_dense import with_initial_weights
from omics_jax.nn.modules import apply_module
from omics_jax.nn.noise import row_normal
from omics_jax.nn.sparse import Edges
from omics_jax.study.covariates import scaled_covariates
from omics_jax.systems.miracle import sites
from omics_jax.systems.miracle.networks import PathwayAutoencoder, edges_by_layer
from omics_jax.systems.miracle.wiring import edges_of, masks_of
from omics_jax.tasks import network as task_network
from omics_jax.tasks.network import Encoded, TaskNetwork, init_network, row_info
from omics_jax.tasks.stages import encoder_stage, joint_stage
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables

SLOT = "people"
ENCODER = "encoder"  # the module of the autoencoder
AUTOENCODER = "autoencoder"  # the first stage

Rows = Mapping[str, Array]


@dataclass(frozen=True)
class ModelShape:
    """The shapes of a network.

    config: of the run.
    sites: w, the number of sites that a replicate reads.
    units: numbers of genes, pathways and units of higher levels.
    tasks: those that have a head.
    inputs: places of the covariates that the heads read beside the pathways.
    has_bounds: see `TaskNetwork`.
    """

    config: Any
    sites: int
    units: tuple[int, ...]
    tasks: tuple[Task, ...]
    inputs: tuple[int, ...] = ()
    has_bounds: bool = False

    @property
    def pathways(self) -> int:
        """P, the number of units in the bottleneck."""
        return self.units[-1]

    @property
    def embedding(self) -> int:
        """The number of values that the heads read."""
        return self.pathways + len(self.inputs)

    @property
    def autoencoder(self) -> PathwayAutoencoder:
        """The network that `config.model` describes."""
        model = self.config.model
        return PathwayAutoencoder(
            sites=self.sites,
            units=self.units,
            masks=masks_of(model.mask, model.softness),
            softness=model.softness,
            form=model.form,
            activation=model.activation,
            batch_norm=model.batch_norm,
            dropout=model.dropout,
            input_dropout=model.input_dropout,
        )


# --- the network ----------------------------------------------------------------------------------


def network_of(shape: ModelShape, weights: Mapping[str, float]) -> TaskNetwork:
    """The autoencoder as the encoder of a network with a head per task.

    weights: task -> w_k, 1 where it has none.
    """
    # All sites are read where they are; some are chosen once per stage.
    is_selected = shape.config.selection.method != "none"
    return TaskNetwork(
        config=shape.config,
        tasks=shape.tasks,
        slot=SLOT,
        encode=partial(encode, shape),
        modules=(ENCODER,),
        encoder_loss=partial(autoencoder_loss, shape),
        encoder_weight=shape.config.model.k_autoencoder,
        weights=weights,
        has_bounds=shape.has_bounds,
        prepare=choose_sites if is_selected else None,
        reads=(*Sites._fields, "c") if is_selected else (".*",),
        # Decay keeps encoder and heads from learning people by heart; the decoder must be free to
        # reconstruct, and the scale of a norm is no strength of a connection.
        undecayed=(f"{ENCODER}/down_.*", f"{ENCODER}/up_norms_.*"),
    )


def init(
    shape: ModelShape, network: TaskNetwork, key: PRNGKeyArray, batch: Batch, constants: Variables
) -> Variables:
    """{"params", "batch_stats"} of the autoencoder and the heads."""
    rows = batch[SLOT]
    up, down = layer_edges(shape, constants)
    x = chosen_sites({"constants": constants}, rows).standardized
    inputs = (x, up, down, row_info(rows))
    encoder = {ENCODER: (shape.autoencoder, *inputs)}
    variables = init_network(network, key, rows, encoder, shape.embedding)
    params = variables["params"]
    by_layer = edges_by_layer(up, down)
    drawn = with_initial_weights(jax.random.fold_in(key, 1), params[ENCODER], by_layer)
    return {**variables, "params": {**params, ENCODER: drawn}}


def layer_edges(shape: ModelShape, constants: Variables) -> tuple[list[Edges], list[Edges]]:
    """The edges of the encoder's layers and of their mirrored ones, the lowest first."""
    count = len(shape.units)
    up, down = ([edges_of(constants, side, i) for i in range(count)] for side in ("up", "down"))
    return up, down


class Sites(NamedTuple):
    """The sites of a batch that the replicate chose.

    standardized: (n, w) of `sites.standardized`, 0 where not observed.
    beta: (n, w) as measured, 0 where not observed.
    observed: (n, w) whether a site was measured.
    """

    standardized: Float[Array, "n w"]
    beta: Float[Array, "n w"]
    observed: Bool[Array, "n w"]


def choose_sites(variables: Variables, rows: Rows) -> dict[str, Array]:
    """`Sites` as fields of rows, for stages, in which they need be chosen only once."""
    constants = variables["constants"]
    x, mask = (own_columns(constants["columns"], rows[name]) for name in ("x", "m"))
    observed = mask & constants["alive"]
    z = sites.standardized(constants, x, mask, rows["c"])
    return Sites(z, jnp.where(observed, x, 0), observed)._asdict()


def chosen_sites(variables: Variables, rows: Rows) -> Sites:
    """The sites of a batch: from the fields of `choose_sites`, or chosen now without."""
    fields = rows if "standardized" in rows else choose_sites(variables, rows)
    return Sites(*(fields[name] for name in Sites._fields))


# --- the autoencoder ------------------------------------------------------------------------------


def encode(
    shape: ModelShape, variables: Variables, rows: Rows, key: PRNGKeyArray | None
) -> Encoded:
    """The pathway means, and the covariates for the heads; in training the terms of L_auto.

    z is one draw per person.
    """
    constants = variables["constants"]
    chosen = chosen_sites(variables, rows)
    up, down = layer_edges(shape, constants)
    apply = partial(apply_module, shape.autoencoder, ENCODER)
    (mean, log_variance), stats = apply(
        variables, key, chosen.standardized, up, row_info(rows), method=PathwayAutoencoder.encode
    )
    z, decoding_key, in_training = mean, None, variables
    if key is not None:
        noise = row_normal(jax.random.fold_in(key, 2), rows["row"], mean.shape[1:])
        z = mean + jnp.exp(log_variance / 2) * noise
        in_training = {**variables, "batch_stats": {**variables["batch_stats"], **stats}}
        decoding_key = jax.random.fold_in(key, 1)
    decoded, stats = apply(
        in_training, decoding_key, z, down, row_info(rows), method=PathwayAutoencoder.decode
    )
    terms = {
        "reconstruction": reconstruction_term(shape, chosen, rows["live"], decoded),
        "kl": kl_term(mean, log_variance, rows["live"]),
    }
    return Encoded(with_covariates(shape, constants, mean, rows), terms, stats)


def pathway_means(
    shape: ModelShape, variables: Variables, x: Float[Array, "n w"], rows: Rows
) -> Float[Array, "n P"]:
    """The mean of q(z|x) of standardised sites, without training."""
    up, _ = layer_edges(shape, variables["constants"])
    (mean, _), _ = apply_module(
        shape.autoencoder,
        ENCODER,
        variables,
        None,
        x,
        up,
        row_info(rows),
        method=PathwayAutoencoder.encode,
    )
    return mean


def with_covariates(
    shape: ModelShape, constants: Variables, mean: Float[Array, "n P"], rows: Rows
) -> Float[Array, "n d"]:
    """What the heads read: the pathway means and the scaled covariates of `shape.inputs`."""
    if not shape.inputs:
        return mean
    scaled = scaled_covariates(constants, rows["c"])[:, jnp.asarray(shape.inputs)]
    return jnp.concatenate([mean, scaled], axis=1)


def reconstruction_term(
    shape: ModelShape,
    chosen: Sites,
    live: Bool[Array, " n"],
    decoded: Float[Array, "n w"],
) -> Term:
    """The loss of the observed cells, summed, and their number.

    "mse": half the squared error of standardised values; "bce": the cross-entropy of beta values.
    """
    cells = chosen.observed & live[:, None]
    if shape.config.model.reconstruction == "bce":
        loss = optax.sigmoid_binary_cross_entropy(decoded, chosen.beta)
    else:
        loss = (decoded - chosen.standardized) ** 2 / 2
    return Term(jnp.sum(jnp.where(cells, loss, 0)), jnp.sum(cells, dtype=loss.dtype))


def kl_term(
    mean: Float[Array, "n P"], log_variance: Float[Array, "n P"], live: Bool[Array, " n"]
) -> Term:
    """sum_p (exp(v_p) + mean_p^2 - 1 - v_p) / 2 of every person, summed, and their number."""
    kl = jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=1) / 2
    return Term(jnp.sum(jnp.where(live, kl, 0)), jnp.sum(live, dtype=kl.dtype))


def autoencoder_loss(shape: ModelShape, terms: Terms) -> Float[Array, ""]:
    """L_auto."""
    divergence = terms["kl"].mean / shape.pathways
    return terms["reconstruction"].mean + shape.config.model.k_kl * divergence


# --- its stage ------------------------------------------------------------------------------------


def autoencoder_stage(network: TaskNetwork, rows: int) -> Stage:
    """The autoencoder alone, or with the heads, on at most `rows` rows of a replicate."""
    if network.config.training.supervised_autoencoder:
        return joint_stage(network, rows, name=AUTOENCODER)
    return encoder_stage(network, AUTOENCODER, rows)


# --- predictions ----------------------------------------------------------------------------------


def predict(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """Every task's prediction, the activity of pathways, and the error of the reconstruction.

    Returns:
      the fields of `tasks.prediction.predict_tasks`;
      activity (n, P): the mean of every pathway times `orientation`;
      squared_error, squared_value (n,): over the observed sites the sums of (x' - x)^2 and x^2 of
        standardised values, x' decoded from the pathway means.
    """
    predictions = task_network.predict(network, variables, rows)
    mean = predictions["embedding"][:, : shape.pathways]
    predictions["activity"] = mean * orientation(shape, variables, rows)
    chosen = chosen_sites(variables, rows)
    error = decoded_sites(shape, variables, mean, rows) - chosen.standardized
    for name, values in (("error", error), ("value", chosen.standardized)):
        observed = jnp.where(chosen.observed, values**2, 0)
        predictions[f"squared_{name}"] = jnp.sum(observed, axis=1)
    return predictions


def decoded_sites(
    shape: ModelShape, variables: Variables, mean: Float[Array, "n P"], rows: Rows
) -> Float[Array, "n w"]:
    """x' of the pathway means, standardised."""
    _, down = layer_edges(shape, variables["constants"])
    decoded, _ = apply_module(
        shape.autoencoder,
        ENCODER,
        variables,
        None,
        mean,
        down,
        row_info(rows),
        method=PathwayAutoencoder.decode,
    )
    if shape.config.model.reconstruction == "bce":
        everywhere = jnp.ones(decoded.shape, bool)
        beta = jax.nn.sigmoid(decoded)
        return sites.standardized(variables["constants"], beta, everywhere, rows["c"])
    return decoded


def orientation(shape: ModelShape, variables: Variables, rows: Rows) -> Float[Array, " P"]:
    """1 or -1 for every pathway: the sign that makes its unit rise with methylation.

    The sign of a unit is arbitrary and differs between trainings. A unit rises where it is larger
    for a person with all sites one s.d. above their means than for one with all of them below.
    """
    one = {name: field[:1] for name, field in rows.items()}
    above = jnp.where(variables["constants"]["alive"], 1.0, 0.0)[None]
    rise = pathway_means(shape, variables, above, one) - pathway_means(
        shape, variables, -above, one
    )
    return jnp.where(rise[0] < 0, -1.0, 1.0)
