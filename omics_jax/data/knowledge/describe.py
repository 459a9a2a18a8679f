"""What a network's knowledge looks like, for `--mode=inspect` and the report: sizes and degrees.

A degree is the number of connections of a unit to the layer below or above it. Units for what has
no gene or no pathway are counted apart, for they join many that have nothing in common.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from omics_jax.data.knowledge.layers import Knowledge, Layer, is_unannotated

_WIDTH = 30  # marks of the longest bar


def describe(knowledge: Knowledge) -> list[str]:
    """Sentences on sizes, orphans and matching, and a histogram in text of every degree."""
    lines = [_sizes(knowledge), *_orphans(knowledge), *knowledge.notes]
    table = degree_table(knowledge)
    for kind, degrees in degrees_of(knowledge).items():
        lines.append(
            f"{kind}: median {np.median(degrees):g}, mean {degrees.mean():.3g}, "
            f"{degrees.min()} to {degrees.max()}."
        )
        lines += _bars(table[table["degree"] == kind])
    return lines


def degree_table(knowledge: Knowledge) -> pd.DataFrame:
    """How many units have which degree: columns degree ("genes per pathway"), least, most, units.

    The bins are 0, 1, 2, 3 to 4, 5 to 8, and so on, from the smallest degree to the largest.
    """
    rows = []
    for kind, degrees in degrees_of(knowledge).items():
        least, most = 0, 0
        while least <= degrees.max():
            if degrees.min() <= most:
                units = int(((least <= degrees) & (degrees <= most)).sum())
                rows.append({"degree": kind, "least": least, "most": most, "units": units})
            least, most = most + 1, max(1, 2 * most)
    return pd.DataFrame(rows, columns=["degree", "least", "most", "units"])


def degrees_of(knowledge: Knowledge) -> Mapping[str, Int[np.ndarray, " k"]]:
    """Kind of degree -> that of each unit, without the units for what has no gene or pathway."""
    genes, pathways = knowledge.genes, knowledge.pathways[0]
    real_genes, real_pathways = ~is_unannotated(genes), ~is_unannotated(pathways)
    all_sites = np.ones(len(knowledge.sites), bool)
    degrees = {
        "sites per gene": _per_output(genes, all_sites, real_genes),
        "genes per site": _per_input(genes, all_sites, real_genes),
        "genes per pathway": _per_output(pathways, real_genes, real_pathways),
        "pathways per gene": _per_input(pathways, real_genes, real_pathways),
    }
    below = real_pathways
    for level, layer in enumerate(knowledge.pathways[1:], 2):
        above = ~is_unannotated(layer)
        kind = f"pathways of level {level - 1} per pathway of level {level}"
        degrees[kind] = _per_output(layer, below, above)
        below = above
    return {kind: found for kind, found in degrees.items() if len(found)}


def _connections(
    layer: Layer, below: Bool[np.ndarray, " I"], above: Bool[np.ndarray, " O"]
) -> Int[np.ndarray, "E 2"]:
    """The pairs between the units that are chosen on both sides."""
    return layer.ends[below[layer.ends[:, 0]] & above[layer.ends[:, 1]]]


def _per_output(
    layer: Layer, below: Bool[np.ndarray, " I"], above: Bool[np.ndarray, " O"]
) -> Int[np.ndarray, " k"]:
    ends = _connections(layer, below, above)
    return np.bincount(ends[:, 1], minlength=len(above))[above]


def _per_input(
    layer: Layer, below: Bool[np.ndarray, " I"], above: Bool[np.ndarray, " O"]
) -> Int[np.ndarray, " k"]:
    ends = _connections(layer, below, above)
    return np.bincount(ends[:, 0], minlength=len(below))[below]


def _sizes(knowledge: Knowledge) -> str:
    genes = int((~is_unannotated(knowledge.genes)).sum())
    levels = [int((~is_unannotated(layer)).sum()) for layer in knowledge.pathways]
    pathways = f"{levels[0]:,} pathways"
    if len(levels) > 1:
        pathways += f" ({', '.join(f'{count:,}' for count in levels[1:])} on the levels above)"
    edges = len(knowledge.genes.ends) + sum(len(layer.ends) for layer in knowledge.pathways)
    return (
        f"{len(knowledge.sites):,} sites, {genes:,} genes and {pathways} remain, with {edges:,} "
        "connections."
    )


def _orphans(knowledge: Knowledge) -> list[str]:
    """How many sites have no gene but a unit of their own kind, and how many genes no pathway."""
    genes, pathways = knowledge.genes, knowledge.pathways[0]
    to_gene_unit = is_unannotated(genes)[genes.ends[:, 1]]
    to_pathway_unit = is_unannotated(pathways)[pathways.ends[:, 1]]
    real = ~is_unannotated(genes)[pathways.ends[:, 0]]
    counts = {
        "sites without a gene": len(np.unique(genes.ends[to_gene_unit, 0])),
        "genes without a pathway": len(np.unique(pathways.ends[to_pathway_unit & real, 0])),
    }
    return [f"{count:,} {what}, in unannotated units." for what, count in counts.items() if count]


def _bars(rows: pd.DataFrame) -> list[str]:
    """As in "  5-8      40 ##########"."""
    longest = max(1, int(rows["units"].max()))
    lines = []
    for row in rows.itertuples():
        span = f"{row.least}" if row.least == row.most else f"{row.least}-{row.most}"
        bar = "#" * -(-_WIDTH * row.units // longest)
        lines.append(f"  {span:>11} {row.units:>8,} {bar}".rstrip())
    return lines
