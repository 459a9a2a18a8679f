"""How a network's pairs of genes agree with what is known: with known edges, and with gene sets.

    config.network.edges    known edges, of which the network was given vectors of genes, too
    config.interpret.sets   sets of genes, such as pathways, of which the network knows nothing

Both are matched to the genes of the data before a training. Every fold's pairs then have a column
`KNOWN`, and a frame says which sets its genes belong to; the statistics are of `edge_enrichment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from scipy import sparse
from scipy.spatial.distance import squareform

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.gene_networks.aliases import read_aliases
from omics_jax.data.gene_networks.network import Network
from omics_jax.data.knowledge.gene_sets import memberships, read_gene_sets
from omics_jax.errors import UserError
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.edge_enrichment import edge_auroc, permutations_of, set_strength
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.system import Predictions
from omics_jax.systems.gene_transformer.interaction_tables import (
    KNOWN,
    PAIRS,
    STRENGTH,
    gene_names,
    in_words,
    method_columns,
    pair_frame,
)
from omics_jax.systems.gene_transformer.known_genes import KnownGenes, places_among, places_in_table

SETS = "gene_sets"  # the frame, and its kind
LEAST_GENES = 3  # of a set
EDGE_PERMUTATIONS, SET_PERMUTATIONS = 1_000, 10_000  # more for sets, of which there are many
_SEED = 0  # of the permutations

# Modality -> what its features have, and one more for places beyond them.
ByFeature = Mapping[str, Shaped[np.ndarray, "F ..."]]
Tables = dict[str, Table]


# --- before a training ----------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownEdges:
    """Known edges among the genes of a table.

    places: modality -> (F,) of every feature its place among N genes, N - 1 where it has none.
    adjacency: (N, N), symmetric; the last gene has no edge.
    """

    places: ByFeature
    adjacency: sparse.csr_array


@dataclass(frozen=True)
class SetMembers:
    """Sets of genes. names: (K,). members: modality -> (F, K) which features are in each."""

    names: Shaped[np.ndarray, " K"]
    members: ByFeature
    notes: tuple[str, ...]


def known_edges(known: KnownGenes | None, dataset: Dataset, table: Dataset) -> KnownEdges | None:
    """The known edges among the genes of a table; None where no network is known.

    dataset: all features.
    """
    if known is None or known.network is None:
        return None
    nodes = places_in_table(known, dataset, table)
    own = np.unique(np.concatenate(list(nodes.values())))
    own = own[own >= 0]
    places = {
        name: np.where(values >= 0, np.searchsorted(own, values), len(own))
        for name, values in nodes.items()
    }
    return KnownEdges(places, _adjacency(known.network, own))


def _adjacency(network: Network, own: Int[np.ndarray, " N"]) -> sparse.csr_array:
    """Of these nodes, and of one more without an edge."""
    is_own = np.isin(network.edges, own).all(axis=1)
    i, j = np.searchsorted(own, network.edges[is_own]).T
    ends = np.concatenate([i, j]), np.concatenate([j, i])
    return sparse.csr_array((np.ones(2 * len(i), bool), ends), (len(own) + 1, len(own) + 1))


def read_sets(
    config: Any, table: Dataset, constants: Mapping[str, np.ndarray]
) -> SetMembers | None:
    """The sets of `config.interpret.sets` with the features of a table; None where it names none.

    constants: of the first fold.

    Raises:
      UserError: what a reader refuses, genes of which the data have none, or no set with
        `LEAST_GENES` of the first fold's genes.
    """
    if not config.interpret.sets:
        return None
    sets = read_gene_sets(config.interpret.sets)
    genes = np.unique([gene for own in sets.genes.values() for gene in own])
    aliases = read_aliases(config.network.aliases) if config.network.aliases else None
    places, notes = places_among(table, genes, aliases, sets.source)
    is_member = memberships(sets, genes)
    found = SetMembers(
        np.array(list(sets.genes)),
        {name: is_member[own].toarray() for name, own in places.items()},
        (*sets.notes, *notes),
    )
    _check_sizes(sets.source, found, constants)
    return found


def _check_sizes(source: str, sets: SetMembers, constants: Mapping[str, np.ndarray]) -> None:
    parts = [
        own[constants[f"{name}_columns"][_is_read(constants, name)]]
        for name, own in sets.members.items()
    ]
    members = np.concatenate(parts)
    sizes = members.sum(axis=0)
    if sizes.max() < LEAST_GENES:
        raise UserError(
            f"{source}: no set has {LEAST_GENES} or more of the {len(members):,} genes that the "
            f"first fold reads ({sets.names[sizes.argmax()]!r} has {sizes.max()}); name a file of "
            "larger sets, or let a fold read more genes (config.preprocess.top_k)"
        )


def _is_read(constants: Mapping[str, np.ndarray], name: str) -> Bool[np.ndarray, " w"]:
    return constants[f"{name}_alive"] & (constants[f"{name}_sd"] > 0)


# --- of one training ------------------------------------------------------------------------------


def known_pair_frame(
    edges: KnownEdges, predictions: Predictions, test: Dataset, train: Dataset
) -> Frame:
    """`pair_frame` with the column `KNOWN`: 1 for a known edge, 0 for any other pair.

    Two features of one gene, as of two modalities, are no edge.
    """
    frame = pair_frame(predictions, test, train)
    places = of_genes(predictions, edges.places)
    known = edges.adjacency[places][:, places].toarray()
    rows = frame.rows.assign(**{KNOWN: squareform(known, checks=False).astype(np.float64)})
    return Frame(PAIRS, rows)


def set_frame(sets: SetMembers, predictions: Predictions, test: Dataset, train: Dataset) -> Frame:
    """A row for each set and each of its genes in a fold, of sets with `LEAST_GENES` or more."""
    members = of_genes(predictions, sets.members)
    is_large = members.sum(axis=0) >= LEAST_GENES
    place, gene = np.nonzero(members.T & is_large[:, None])
    names = gene_names(predictions, test)
    return Frame(SETS, pd.DataFrame({"set": sets.names[place], "gene": names[gene]}))


def of_genes(predictions: Predictions, by_feature: ByFeature) -> Shaped[np.ndarray, "a ..."]:
    """What features have, of the genes that there are."""
    parts = [
        np.take(values, np.asarray(predictions[f"columns_{name}"]).astype(int), 0, mode="clip")
        for name, values in by_feature.items()
    ]
    return np.concatenate(parts)[np.asarray(predictions["alive"]) > 0.5]


# --- of all trainings -----------------------------------------------------------------------------


def known_tables(frame: pd.DataFrame) -> Tables:
    """How well every method's pairs agree with known edges; {} where none are known.

    frame: of the network's folds.
    """
    if KNOWN not in frame:
        return {}
    methods = method_columns(frame)
    folds = [fold for _, fold in frame.groupby(["group", "fold"], sort=False)]
    auroc = np.stack([_auroc(fold, methods, 0)[0] for fold in folds])
    _, p = _auroc(folds[0], methods, EDGE_PERMUTATIONS)
    edges, pairs = int(folds[0][KNOWN].sum()), len(folds[0])
    lines = pd.DataFrame(
        {"method": [in_words(name) for name in methods], "AUROC": auroc.mean(axis=0), "p": p}
    )
    caption = (
        f"AUROC of the known edges among all pairs of a fold's genes, mean over the folds: .5 is "
        f"chance. In the first fold {edges:,} of {pairs:,} pairs are known edges "
        "(config.network.edges); pairs of genes that the network lacks count as others. p: of the "
        f"first fold, against {EDGE_PERMUTATIONS:,} permutations of the genes' names, which leave "
        "all scores of a gene together. The transformer started from vectors of this network, so "
        "that its agreement is no independent evidence; co-expression and partial correlations "
        "know nothing of it."
    )
    table = Table("table", lines.round(4), "Agreement with known edges", caption)
    return {"gene_network_known": table}


def _auroc(
    fold: pd.DataFrame, methods: list[str], permutations: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    known = squares(fold, [KNOWN])[0] > 0.5
    order = permutations_of(permutations, len(known), _SEED)
    return edge_auroc(squares(fold, methods), known, order)


def set_tables(frame: pd.DataFrame, members: pd.DataFrame | None) -> Tables:
    """For every outcome how strongly the genes of each set interact; {} where no sets are given.

    frame, members: of the network's folds; the first is tested.
    """
    if members is None:
        return {}
    first, own = (part[part["fold"] == frame["fold"].iloc[0]] for part in (frame, members))
    outcomes = [c.removeprefix(STRENGTH) for c in frame if c.startswith(STRENGTH)]
    is_member = pd.crosstab(own["set"], own["gene"]).reindex(columns=genes_of(first), fill_value=0)
    order = permutations_of(SET_PERMUTATIONS, is_member.shape[1], _SEED)
    scores = squares(first, [f"{STRENGTH}{outcome}" for outcome in outcomes])
    ratio, p = set_strength(scores, is_member.to_numpy() > 0, order)
    sizes = is_member.sum(axis=1)
    caption = (
        f"Sets of config.interpret.sets with {LEAST_GENES} or more of the first fold's genes. "
        "ratio: mean strength of the interactions within the set, relative to all pairs. p: "
        f"against {SET_PERMUTATIONS:,} permutations of the genes' names, which leave all "
        "interactions of a gene together; q after Benjamini and Hochberg over the sets."
    )
    tables = {}
    for outcome, own_ratio, own_p in zip(outcomes, ratio, p, strict=True):
        lines = pd.DataFrame({"set": sizes.index, "genes": sizes.to_numpy(), "ratio": own_ratio})
        lines = lines.assign(p=own_p, q=benjamini_hochberg(own_p))
        lines = lines.sort_values(["p", "ratio"], ascending=[True, False], kind="stable")
        title = f"{outcome}: gene sets that interact"
        tables[f"{outcome}_sets"] = Table("table", lines.reset_index(drop=True), title, caption)
    return tables


def genes_of(fold: pd.DataFrame) -> list[str]:
    """The genes of a fold's pairs, in their order."""
    return pd.unique(pd.concat([fold["gene_a"], fold["gene_b"]])).tolist()


def squares(fold: pd.DataFrame, columns: list[str]) -> Float[np.ndarray, "m w w"]:
    """Columns of a fold's pairs as symmetric matrices in the order of `genes_of`, diagonal 0."""
    return np.stack([squareform(fold[name].to_numpy(np.float64), checks=False) for name in columns])
