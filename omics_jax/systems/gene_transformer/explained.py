"""What a trained network says besides its predictions: attributions of genes, and their vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from omics_jax.data.formats.annotated import AnnotatedMatrix
from omics_jax.nn.pathway_tokens import Members, takes_part
from omics_jax.study.members import FEATURE_VECTORS
from omics_jax.study.patients.columns import in_rows
from omics_jax.study.system import Predictions
from omics_jax.systems.gene_transformer.dense import encode_dense
from omics_jax.systems.gene_transformer.model import (
    ENCODER,
    MEMBERS,
    ModelShape,
    Profile,
    encode_profiles,
    gene_values,
    known_vectors,
    profiles,
    varying,
    with_genes,
)
from omics_jax.tasks import attribution
from omics_jax.tasks import network as task_network
from omics_jax.tasks.embedding import dimension_names
from omics_jax.tasks.network import TaskNetwork
from omics_jax.training.stage import Variables

GENES = "genes"  # the file of genes' vectors

Rows = Mapping[str, Array]
EncodeProfile = Callable[[Variables, Profile, Rows], Float[Array, "n z"]]


def predict(
    shape: ModelShape,
    network: TaskNetwork,
    encode_profile: EncodeProfile,
    variables: Variables,
    rows: Rows,
) -> dict[str, Array]:
    """Every task's prediction, and with `config.predict.attributions` the fields of `explain`.

    encode_profile: `by_transformer` or `by_dense`.
    """
    predictions = task_network.predict(network, variables, rows)
    if not shape.config.predict.attributions:
        return predictions
    return {**predictions, **explain(shape, network, encode_profile, variables, rows)}


def by_transformer(
    shape: ModelShape, variables: Variables, profile: Profile, rows: Rows
) -> Float[Array, "n z"]:
    """What the heads read of patients with these tokens."""
    return encode_profiles(shape, variables, profile)


def by_dense(
    shape: ModelShape, variables: Variables, profile: Profile, rows: Rows
) -> Float[Array, "n z"]:
    """As `by_transformer`, of dense layers."""
    return encode_dense(shape, variables, profile, rows).embedding


def explain(
    shape: ModelShape,
    network: TaskNetwork,
    encode_profile: EncodeProfile,
    variables: Variables,
    rows: Rows,
) -> dict[str, Float[Array, "n F"]]:
    """TASK_attribution_M (n, F) of every task and modality, see `tasks.attribution`.

    The baseline is the same patient with every observed gene at its training mean. Missing genes
    and covariates stay as they are. The attribution is 0 for a gene that is missing, that does not
    vary among the training patients, or that the replicate did not choose.
    """
    constants = variables["constants"]
    profile = profiles(shape, constants, rows)

    def encode(x: Mapping[str, Float[Array, "n w"]]) -> Float[Array, "n z"]:
        return encode_profile(variables, with_genes(shape, profile, x), rows)

    def in_table(name: str, values: Float[Array, "n w"]) -> Float[Array, "n F"]:
        return in_rows(constants, name, rows[f"x_{name}"].shape[1], values)

    mean = {name: jnp.zeros(width) for name, width in shape.widths.items()}
    x = gene_values(shape, profile)
    return attribution.explain(network, variables, rows, encode, x, mean, in_table)


def gene_fields(shape: ModelShape, variables: Variables) -> dict[str, Array]:
    """The vectors of a network's w genes, side by side over the modalities.

    Returns:
      feature_vectors (w, d): of each gene, with the projection of what is known of it.
      columns_M (w_M,): places of the genes in the table; alive (w,): which genes the network reads.
    """
    constants, token = variables["constants"], variables["params"][ENCODER]["token"]
    vectors = (token + known_vectors(shape, variables)).reshape(token.shape)
    alive = jnp.concatenate([varying(constants, name) for name in shape.widths])
    if shape.pathways:
        members = Members(*(constants[name] for name in MEMBERS))
        alive &= takes_part(members, shape.others, shape.tokens)[shape.others :]
    return {
        **{f"columns_{name}": constants[f"{name}_columns"] for name in shape.widths},
        "alive": alive,
        FEATURE_VECTORS: vectors[shape.others :],
    }


def annotated_genes(
    features: Mapping[str, Sequence[str]], predictions: Predictions
) -> dict[str, AnnotatedMatrix]:
    """The vectors in the fields of `gene_fields`, with names and modalities; {} without them.

    features: modality -> all features of the table.
    """
    if FEATURE_VECTORS not in predictions:
        return {}
    alive, vectors = predictions["alive"], predictions[FEATURE_VECTORS]
    places = {name: predictions[f"columns_{name}"] for name in features}
    modality = np.repeat(list(places), [len(own) for own in places.values()])
    # The place of a gene that does not exist is one beyond the table.
    names = [np.array([*features[name], ""])[own] for name, own in places.items()]
    annotations = pd.DataFrame({"modality": modality[alive]})
    channels = dimension_names("channel", vectors)
    genes = np.concatenate(names)[alive]
    return {GENES: AnnotatedMatrix(vectors[alive], genes, channels, annotations)}
