"""Gene transformer: several outcomes of a patient from expression, by attention among genes.

    t_i        = e_i                            the vector of gene i
    logits_ij  = (q_i . k_j) / sqrt(2 c) + s_h x_i x_j              of head h, values in the logits
    z          = [pool(layers(t)), L x]         what the heads of all tasks read

x_i is the standardised value of gene i. With this encoding, "bias", values reach the tokens only
through how genes attend to each other; `nn.value_encodings` has the others. L is a linear map of
all values, with `config.model.linear` rows: with it linear models are inside the network. The loss
has `config.model.linear_penalty` times the sum of its absolute weights, |L|_1 (the lasso,
Tibshirani 1996), for outcomes that few genes decide.

Source: Koo et al. and the authors' code TxT. Inferred: that their value term is the "positional
encoding for omics" of the abstract. It multiplies two linear maps of x_i and x_j, which is
s_h x_i x_j with s_h = q_h . k_h / sqrt(2 c): here s_h is the parameter.
Deviates: L, which the code lacks and which has no row by default; values are standardised, so that
products are about the genes' means; a first token of value 1 stands beside the genes, because
without it the output would be the same for x and -x.

A row is a patient: x_M (F,) the values of modality M, m_M (F,) which were observed, c (k,) the
covariates, nan where unknown; and for every task T an outcome y_T and k_T, whether it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.nn.initial import Uniform, draw
from omics_jax.nn.noise import row_dropout
from omics_jax.nn.pathway_tokens import (
    Members,
    encode_pathways,
    pathway_parameters,
    takes_part,
)
from omics_jax.nn.token_encoder import Randomness, TokenEncoder, encode_tokens, encoder_parameters
from omics_jax.study.patients.columns import chosen
from omics_jax.systems.gene_transformer.known_genes import NO_NODE
from omics_jax.tasks.network import Encoded, TaskNetwork, init_network, no_loss
from omics_jax.tasks.task import Task
from omics_jax.training.rows import in_blocks
from omics_jax.training.stage import Batch, Term, Terms, Variables

SLOT = "patients"
ENCODER = "encoder"  # the module of the transformer
VECTOR_MODULE = "nodes"  # the module of vectors of known genes
POOLS = ("cls_attention", "attention", "cls", "mean", "flatten")
MEMBERS = ("pathway_genes", "pathway_chunks")  # constants: the fields of `Members`
SPARSITY = "sparsity"  # a term of the loss
CLS_VALUE = 1.0  # of the first token, in s.d. of a gene
_LINEAR_STREAM = 10**6  # of random numbers, beyond those of the transformer's layers

Rows = Mapping[str, Array]


@dataclass(frozen=True)
class ModelShape:
    """The shapes of a network.

    config: of the run.
    widths: modality -> w, the number of genes that a replicate reads of it.
    covariates: k, each a further token.
    tasks: those that have a head.
    vector_channels: d of the vectors that are known of genes before; 0 for none.
    pathways: P, whose tokens take the place of the genes' in the layers; 0 for none.
    """

    config: Any
    widths: Mapping[str, int]
    covariates: int
    tasks: tuple[Task, ...]
    vector_channels: int = 0
    pathways: int = 0

    @property
    def others(self) -> int:
        """The first token and the covariates."""
        return 1 + self.covariates

    @property
    def tokens(self) -> int:
        """T: the others and the genes."""
        return self.others + sum(self.widths.values())

    @property
    def layer_tokens(self) -> int:
        """U: the tokens that attend to each other."""
        return self.others + self.pathways if self.pathways else self.tokens

    @property
    def embedding(self) -> int:
        """The number of values that the heads read."""
        model = self.config.model
        vectors = {"flatten": self.layer_tokens, "cls_attention": 2}.get(model.pool, 1)
        return vectors * model.channels + model.linear

    @property
    def encoder(self) -> TokenEncoder:
        """The transformer that `config.model` describes."""
        model = self.config.model
        return TokenEncoder(
            tokens=self.tokens,
            channels=model.channels,
            heads=model.heads,
            layers=model.layers,
            feedforward=model.feedforward,
            encoding=model.encoding,
            attention="exact" if self.pathways else model.attention,
            inducing=model.inducing,
            norm=model.norm,
            dropout=model.dropout,
        )


# --- the tokens -----------------------------------------------------------------------------------


class Profile(NamedTuple):
    """The tokens of a batch.

    values: (n, T) 1 for the first token, then covariates and genes, standardised.
    exists: (n, T) whether the token takes part: its value was observed and the replicate chose it.
    """

    values: Float[Array, "n T"]
    exists: Bool[Array, "n T"]


def profiles(shape: ModelShape, constants: Variables, rows: Rows) -> Profile:
    """The tokens of patients, in the order of `ModelShape.tokens`."""
    first = jnp.full((len(rows["row"]), 1), CLS_VALUE)
    values, exists = [first], [jnp.ones(first.shape, bool)]
    if shape.covariates:
        c = (rows["c"] - constants["c_mean"]) / constants["c_sd"]
        is_known = jnp.isfinite(c)
        values.append(jnp.where(is_known, c, 0))
        exists.append(is_known)
    for name in shape.widths:
        x, observed = standardized(constants, rows, name)
        values.append(x)
        exists.append(observed)
    return Profile(jnp.concatenate(values, axis=1), jnp.concatenate(exists, axis=1))


def standardized(
    constants: Variables, rows: Rows, name: str
) -> tuple[Float[Array, "n w"], Bool[Array, "n w"]]:
    """A modality's values in s.d. from their training mean, and which of them were observed.

    Values outside the training range count as its ends. A gene that is constant there has none.
    """
    low, high, fill, sd = (constants[f"{name}_{key}"] for key in ("low", "high", "fill", "sd"))
    x, mask = (chosen(constants, name, rows[f"{field}_{name}"]) for field in ("x", "m"))
    observed = mask & varying(constants, name)
    centred = jnp.clip(x, low, high) - fill
    return jnp.where(observed, centred / jnp.where(sd > 0, sd, 1), 0), observed


def varying(constants: Variables, name: str) -> Bool[Array, " w"]:
    """Which places of a modality hold a gene that varies among the training patients."""
    return constants[f"{name}_alive"] & (constants[f"{name}_sd"] > 0)


def gene_values(shape: ModelShape, profile: Profile) -> dict[str, Float[Array, "n w"]]:
    """Modality -> the standardised values of its genes in a profile, 0 where one is missing."""
    ends = np.cumsum([shape.others, *shape.widths.values()])
    parts = zip(shape.widths, ends[:-1], ends[1:], strict=True)
    return {name: profile.values[:, start:end] for name, start, end in parts}


def with_genes(
    shape: ModelShape, profile: Profile, x: Mapping[str, Float[Array, "n w"]]
) -> Profile:
    """The profile with other values of its genes; the same ones are missing."""
    before = profile.values[:, : shape.others]
    values = jnp.concatenate([before, *(x[name] for name in shape.widths)], axis=1)
    return profile._replace(values=values)


# --- the network ----------------------------------------------------------------------------------


def network_of(shape: ModelShape, weights: Mapping[str, float]) -> TaskNetwork:
    """The transformer as the encoder of a network with a head per task.

    weights: task -> w_k, 1 where it has none.
    """
    return TaskNetwork(
        config=shape.config,
        tasks=shape.tasks,
        slot=SLOT,
        encode=partial(encode, shape),
        modules=(ENCODER,),
        encoder_loss=partial(sparsity_loss, shape) if is_sparse(shape) else no_loss,
        weights=weights,
        # The scale of a norm and the strength of a value are no sizes of a connection.
        undecayed=(".*/norm.*", f"{ENCODER}/value/strength", f"{ENCODER}/pathways/slope"),
    )


def init(
    shape: ModelShape,
    network: TaskNetwork,
    further: Mapping[str, Any],
    key: PRNGKeyArray,
    batch: Batch,
    constants: Variables,
) -> Variables:
    """{"params", "batch_stats"} of the transformer and the heads.

    further: name -> description of the parameters of another module.
    """
    variables = init_network(network, key, batch[SLOT], {}, shape.embedding)
    own = draw(jax.random.fold_in(key, 1), {ENCODER: encoder_description(shape), **further})
    return {**variables, "params": {**variables["params"], **own}}


def encoder_description(shape: ModelShape) -> dict[str, Any]:
    """The description of the transformer's parameters, see `initial.draw`."""
    parameters = encoder_parameters(shape.encoder)
    if shape.pathways:
        parameters["pathways"] = pathway_parameters(shape.encoder, shape.pathways)
    if "attention" in shape.config.model.pool:
        channels = shape.config.model.channels
        parameters["pool"] = Uniform((channels,), channels / 3)
    if shape.config.model.linear:
        parameters["linear"] = Uniform((shape.tokens, shape.config.model.linear), shape.tokens / 3)
    if shape.vector_channels:
        sizes = shape.vector_channels, shape.config.model.channels
        parameters["projection"] = Uniform(sizes, shape.vector_channels / 3)
    return parameters


def encode(
    shape: ModelShape, variables: Variables, rows: Rows, key: PRNGKeyArray | None
) -> Encoded:
    """The patients' vectors, which the heads read.

    Validation patients come all at once; their tokens are held for as many as train in a step.
    """

    def vectors(rows: Rows) -> Float[Array, "n z"]:
        profile = profiles(shape, variables["constants"], rows)
        randomness = None if key is None else Randomness(key, rows["row"])
        return encode_profiles(shape, variables, profile, randomness)

    if key is None:
        return Encoded(in_blocks(vectors, rows, shape.config.training.batch_size), {}, {})
    terms = sparsity_terms(variables, rows) if is_sparse(shape) else {}
    return Encoded(vectors(rows), terms, {})


def is_sparse(shape: ModelShape) -> bool:
    """Whether the linear map is penalised."""
    return shape.config.model.linear_penalty > 0


def sparsity_terms(variables: Variables, rows: Rows) -> Terms:
    """{"sparsity": |L|_1}, counted once for every row: sums and weights are added over devices."""
    count = jnp.sum(rows["live"], dtype=jnp.float32)
    absolute = jnp.sum(jnp.abs(variables["params"][ENCODER]["linear"]))
    return {SPARSITY: Term(count * absolute, count)}


def sparsity_loss(shape: ModelShape, terms: Terms) -> Float[Array, ""]:
    """config.model.linear_penalty |L|_1, of training batches."""
    return shape.config.model.linear_penalty * terms[SPARSITY].mean


def encode_profiles(
    shape: ModelShape, variables: Variables, profile: Profile, randomness: Randomness | None = None
) -> Float[Array, "n z"]:
    """The vectors of patients with these tokens. randomness: in training."""
    p, known = variables["params"][ENCODER], known_vectors(shape, variables)
    if not shape.pathways:
        t = encode_tokens(shape.encoder, p, *profile, randomness, extra=known)
        return summary(shape, p, t, profile, randomness)
    members = Members(*(variables["constants"][name] for name in MEMBERS))
    is_read = takes_part(members, shape.others, shape.tokens)
    profile = profile._replace(exists=profile.exists & is_read)
    t, exists = encode_pathways(
        shape.encoder, p, *profile, members, shape.others, randomness, known
    )
    return summary(shape, p, t, profile, randomness, exists)


def known_vectors(shape: ModelShape, variables: Variables) -> Float[Array, "1 T d"] | float:
    """What is added to the vectors of genes that were known before, see `known_genes`; or 0.

    Their vectors are constants, or were trained by another arm and are frozen.
    """
    if not shape.vector_channels:
        return 0.0
    params, constants = variables["params"], variables["constants"]
    table = params[VECTOR_MODULE]["table"] if VECTOR_MODULE in params else constants["vectors"]
    first = jnp.full(1 + shape.covariates, NO_NODE)
    node = jnp.concatenate([first, *(constants[f"{name}_node"] for name in shape.widths)])
    projected = table[node] @ params[ENCODER]["projection"]
    return jnp.where(node[:, None] == NO_NODE, 0, projected)[None]


def summary(
    shape: ModelShape,
    p: Variables,
    t: Float[Array, "n U d"],
    profile: Profile,
    randomness: Randomness | None = None,
    exists: Bool[Array, "n U"] | None = None,
) -> Float[Array, "n z"]:
    """z of the module from the tokens after the last layer.

    exists: which of these take part; None where they are those of the profile.
    """
    z = pooled(shape.config.model.pool, p, t, profile.exists if exists is None else exists)
    if not shape.config.model.linear:
        return z
    x = jnp.where(profile.exists, profile.values, 0)
    if randomness is not None:
        key = jax.random.fold_in(randomness.key, _LINEAR_STREAM)
        x = row_dropout(key, randomness.rows, x, shape.config.model.linear_dropout)
    return jnp.concatenate([z, x @ p["linear"]], axis=1)


def pooled(
    how: str, p: Variables, t: Float[Array, "n T d"], exists: Bool[Array, "n T"]
) -> Float[Array, "n z"]:
    """A vector per patient from those of its tokens.

    how: "attention", weights softmax(t . w) over the tokens that exist; "cls", the first token;
      "cls_attention", both side by side; "mean", over the tokens that exist; "flatten", all side by
      side, 0 where one does not exist (the authors' code).
    """
    first, present = t[:, 0], jnp.where(exists[:, :, None], t, 0)
    if how == "cls":
        return first
    if how == "flatten":
        return present.reshape(len(t), -1)
    # As a sum, because a product with one vector rounds by the row's place in the batch.
    scores = jnp.zeros(exists.shape) if how == "mean" else jnp.sum(t * p["pool"], axis=-1)
    weights = jax.nn.softmax(jnp.where(exists, scores, -jnp.inf), axis=1)
    mean = jnp.einsum("nt,ntd->nd", weights, present)
    return jnp.concatenate([first, mean], axis=1) if how == "cls_attention" else mean
