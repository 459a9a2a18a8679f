"""An outcome's pairs of genes as a picture of a network, and as nodes and edges for a graph's file.

Genes are grouped into modules of co-expressed ones: average linkage of 1 - |correlation|, cut at
`MODULE_DISTANCE`, so that two clusters are joined where their genes correlate by .25 or more on
average. The largest are called module 1, module 2 and so on; the others have no name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.graphml import as_graphml
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.system import Predictions
from omics_jax.systems.gene_transformer.interaction_tables import LEVEL, gene_names
from omics_jax.systems.gene_transformer.known_pairs import genes_of

GENES = "genes"  # the frame, and its kind
MODULE_DISTANCE = 0.75
LEAST_GENES, MOST_MODULES = 3, 8  # that have a name
DRAWN, WRITTEN = 40, 500  # pairs
BEYOND = f"beyond the null (q < {LEVEL:g})"

Labels = Mapping[str, str]  # gene -> a word on it


class Graph(NamedTuple):
    """nodes: gene and what is known of it. edges: source, target, and further columns."""

    nodes: pd.DataFrame
    edges: pd.DataFrame


def pictures(
    pairs: pd.DataFrame, genes: pd.DataFrame, edges: Mapping[str, pd.DataFrame]
) -> dict[str, Table]:
    """OUTCOME_network of every outcome, with its graph as GraphML.

    pairs, genes: of the network's folds. edges: outcome -> its pairs in the first fold, strongest
      first.
    """
    fold = pairs["fold"].iloc[0]
    modules = modules_of(pairs[pairs["fold"] == fold])
    own_genes = genes.loc[genes["fold"] == fold, ["gene", "modality"]]
    tables = {}
    for name, own in edges.items():
        graph = as_graphml(*graph_of(own, own_genes, modules))
        drawn = picture(name, own, modules)
        tables[f"{name}_network"] = replace(drawn, formats={"graphml": graph})
    return tables


def gene_frame(predictions: Predictions, test: Dataset, train: Dataset) -> Frame:
    """A row per gene that there is: gene, modality."""
    alive = np.asarray(predictions["alive"]) > 0.5
    widths = [len(predictions[f"columns_{name}"]) for name in test.modalities]
    modality = np.repeat(list(test.modalities), widths)[alive]
    return Frame(GENES, pd.DataFrame({"gene": gene_names(predictions, test), "modality": modality}))


def modules_of(fold: pd.DataFrame) -> dict[str, str]:
    """Gene -> its module, "" for none. fold: its pairs, with the column coexpression."""
    from scipy.cluster.hierarchy import fcluster, linkage

    genes = genes_of(fold)
    if len(genes) < 2:
        return dict.fromkeys(genes, "")
    # The rows of a fold are in the order of condensed distances.
    distance = np.clip(1 - fold["coexpression"].to_numpy(), 0, 1)
    cluster = fcluster(linkage(distance, "average"), MODULE_DISTANCE, "distance")
    sizes = pd.Series(cluster).value_counts(sort=True)
    named = sizes[sizes >= LEAST_GENES].index[:MOST_MODULES]
    names = {number: f"module {place}" for place, number in enumerate(named, start=1)}
    return {gene: names.get(own, "") for gene, own in zip(genes, cluster, strict=True)}


def picture(outcome: str, edges: pd.DataFrame, modules: Labels) -> Table:
    """The strongest pairs of an outcome. edges: strongest first."""
    drawn = edges[edges["strength"] > 0].head(DRAWN)
    frame = pd.DataFrame(
        {
            "source": drawn["source"],
            "target": drawn["target"],
            "value": drawn["strength"],
            "sign": np.sign(drawn["interaction"]),
            "series": np.where(drawn["q"] < LEVEL, BEYOND, "within the null"),
            "source_group": drawn["source"].map(modules),
            "target_group": drawn["target"].map(modules),
        }
    )
    caption = (
        f"The {len(drawn)} strongest interactions of the first fold's network. Positive: where one "
        "value is higher, the other raises the prediction more. Modules are of genes co-expressed "
        "in the training patients (average linkage of 1 - |correlation|, cut at "
        f"{MODULE_DISTANCE:g}); the outcome plays no part in them. The GraphML file has all pairs "
        f"with q < {LEVEL:g} and the strongest others, {WRITTEN} in all."
    )
    return Table("network", frame, f"{outcome}: network of genes that act together", caption)


def graph_of(edges: pd.DataFrame, genes: pd.DataFrame, modules: Labels) -> Graph:
    """The pairs beyond the null and the strongest others, up to `WRITTEN` in all; their genes.

    edges: strongest first. genes: gene, modality.
    """
    beyond = edges["q"] < LEVEL
    written = pd.concat([edges[beyond], edges[~beyond]]).head(max(WRITTEN, int(beyond.sum())))
    ends = pd.concat([written["source"], written["target"]])
    strength = pd.concat([written["strength"]] * 2).groupby(ends.to_numpy()).agg(["size", "sum"])
    nodes = genes[genes["gene"].isin(ends)].reset_index(drop=True)
    if genes["modality"].nunique() < 2:
        nodes = nodes[["gene"]]
    own = strength.loc[nodes["gene"]]
    nodes = nodes.assign(
        module=nodes["gene"].map(modules),
        interactions=own["size"].to_numpy(),
        strength=own["sum"].to_numpy(),
    )
    return Graph(nodes, written.reset_index(drop=True))
