"""What is known of genes before a training: their vectors in a file, or their network.

    config.network.vectors   a table of genes and numbers; stays as it is
    config.network.edges     a network, of which the arm `node_vectors_arm` trains vectors first

A gene of the data with such a vector v gets W v added to its own vector, W learned; the others have
their own vector alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.gene_networks.aliases import read_aliases
from omics_jax.data.gene_networks.embedding import read_embedding
from omics_jax.data.gene_networks.matching import match_genes
from omics_jax.data.gene_networks.network import Network, read_network
from omics_jax.errors import UserError

NO_NODE = -1


@dataclass(frozen=True)
class KnownGenes:
    """Genes with vectors, or with a network.

    genes: (N,) names.
    places: modality -> (F,) of every feature its place among the genes, `NO_NODE` where it has
      none.
    notes: how many features have one.
    network: of the genes; None where their vectors are given.
    vectors: (N, d) as given; None where they are trained.
    digest: of what the files hold.
    """

    genes: Shaped[np.ndarray, " N"]
    places: Mapping[str, Int32[np.ndarray, " F"]]
    notes: Sequence[str]
    network: Network | None
    vectors: Float32[np.ndarray, "N d"] | None
    digest: str

    def channels(self, config: Any) -> int:
        """d of their vectors."""
        return config.embedding.channels if self.vectors is None else self.vectors.shape[1]


def known_genes(config: Any, dataset: Dataset) -> KnownGenes | None:
    """The genes of the files that `config.network` names; None where it names none.

    Raises:
      UserError: two files, a limit of weights without edges, what a reader refuses, or genes of
        which the data have none.
    """
    settings = config.network
    if settings.edges and settings.vectors:
        raise UserError(
            "config.network names edges and vectors; leave one of them empty, since vectors are "
            "trained where edges are given"
        )
    if settings.least_weight and not settings.edges:
        raise UserError(
            f"config.network.least_weight is {settings.least_weight:g} and config.network.edges is "
            "empty; name the network whose weak edges are left out, or set it to 0"
        )
    if not (settings.edges or settings.vectors):
        return None
    network, vectors, notes = None, None, []
    if settings.edges:
        network = read_network(settings.edges, settings.aliases, settings.least_weight)
        genes = network.genes
        content = (genes, network.edges, network.weights)
        notes += network.notes
    else:
        genes, vectors = read_embedding(settings.vectors)
        content = (genes, vectors)
    aliases = read_aliases(settings.aliases) if settings.aliases else None
    places, said = places_among(dataset, genes, aliases)
    content = (*content, *places.values())
    return KnownGenes(genes, places, [*notes, *said], network, vectors, digest_of(content))


def places_among(
    dataset: Dataset,
    genes: Shaped[np.ndarray, " N"],
    aliases: Mapping[str, str] | None,
    file: str = "",
) -> tuple[dict[str, Int32[np.ndarray, " F"]], list[str]]:
    """Modality -> the place of every feature among the genes, and a note on each.

    file: of the genes, for notes and messages; "" for the nodes of a network.

    Raises:
      UserError: no feature of any modality is among them.
    """
    places, notes, errors = {}, [], []
    for name, modality in dataset.modalities.items():
        features = modality.features.astype(str)
        places[name] = np.full(len(features), NO_NODE, np.int32)
        try:
            places[name], said = match_genes(features, genes, aliases, file)
            notes.append(f"{name}: {said}")
        except UserError as error:
            known = file or "config.network"
            notes.append(f"{name}: none of its features is among the genes of {known}.")
            errors.append(error)
    if len(errors) == len(places):
        raise errors[0]
    return places, notes


def digest_of(content: Sequence[np.ndarray]) -> str:
    """A digest of names and numbers."""
    digest = hashlib.sha256()
    for array in content:
        part = array.astype("U") if array.dtype.kind in "OU" else array
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def known_constants(
    known: KnownGenes | None,
    dataset: Dataset,
    table: Dataset,
    constants: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The constants of a fold that say which vectors its genes have.

    M_node (w,) int32 of every modality M, the place of each chosen gene among the known ones; and
    vectors (N, d) where they are given.

    dataset: all features. table: those that any fold uses.
    constants: of the fold; M_columns (w,) are places in the table.
    """
    if known is None:
        return {}
    fitted: dict[str, np.ndarray] = {}
    for name, of_table in places_in_table(known, dataset, table).items():
        # A fold with fewer genes has no place for the last ones: one beyond the table.
        padded = np.array([*of_table, NO_NODE], np.int32)
        fitted[f"{name}_node"] = padded[constants[f"{name}_columns"]]
    return fitted if known.vectors is None else {**fitted, "vectors": known.vectors}


def places_in_table(
    known: KnownGenes, dataset: Dataset, table: Dataset
) -> dict[str, Int32[np.ndarray, " F"]]:
    """Modality -> the place among the known genes of every feature of a table.

    dataset: all features. table: some of them.
    """
    places = {}
    for name, modality in table.modalities.items():
        features = dataset.modalities[name].features.tolist()
        place = dict(zip(features, known.places[name], strict=True))
        own = [place[feature] for feature in modality.features.tolist()]
        places[name] = np.array(own, np.int32)
    return places
