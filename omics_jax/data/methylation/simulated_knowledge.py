"""Sites, genes and pathways of the simulator: how they are connected, and what is published of it.

A share of the connections is hidden: they are real, and the published knowledge lacks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from omics_jax.data.knowledge.gene_sets import GeneSets
from omics_jax.data.knowledge.site_annotation import SiteGenes

SOURCE = "the simulator"  # of the knowledge
NO_GENE = -1  # in place of the gene of a site

Generators = Mapping[str, np.random.Generator]  # of every part of the simulation
NamePairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Structure:
    """The connections among sites, genes and pathways, in all studies the same.

    Attributes:
      sites, genes, pathways: their names.
      gene_of_site: (S,) place of every site's gene, or `NO_GENE`.
      members: (P, G) which genes a pathway has.
    """

    sites: Shaped[np.ndarray, " S"]
    genes: Shaped[np.ndarray, " G"]
    pathways: Shaped[np.ndarray, " P"]
    gene_of_site: Int[np.ndarray, " S"]
    members: Bool[np.ndarray, "P G"]


def draw_structure(
    rng: Generators, sites: int, genes: int, pathways: int, pathway_genes: int, without_gene: float
) -> Structure:
    """Names, a random gene for most sites, and random genes for every pathway.

    without_gene: share of sites that belong to no gene.
    """
    return Structure(
        sites=np.array([f"cg{i:08d}" for i in range(sites)]),
        genes=np.array([f"GENE{i:04d}" for i in range(genes)]),
        pathways=np.array([f"pathway {i:03d}" for i in range(pathways)]),
        gene_of_site=_draw_genes(rng["sites"], sites, genes, without_gene),
        members=_draw_sets(rng["sets"], genes, pathways, pathway_genes),
    )


def _draw_sets(
    rng: np.random.Generator, genes: int, pathways: int, size: int
) -> Bool[np.ndarray, "P G"]:
    """Which genes a pathway has."""
    members = np.zeros((pathways, genes), bool)
    for row in members:
        row[rng.choice(genes, size, replace=False)] = True
    return members


def _draw_genes(
    rng: np.random.Generator, sites: int, genes: int, without_gene: float
) -> Int[np.ndarray, " S"]:
    """The gene of every site, `NO_GENE` for a share of them."""
    return np.where(rng.random(sites) < without_gene, NO_GENE, rng.integers(0, genes, sites))


def publish_genes(
    rng: np.random.Generator, structure: Structure, hidden: float
) -> tuple[SiteGenes, NamePairs]:
    """The genes of sites as they are published, and the site and gene of what is hidden."""
    sites = np.flatnonzero(structure.gene_of_site != NO_GENE)
    published, left_out = _split(rng, sites, structure.gene_of_site[sites], hidden)
    used, gene = np.unique(published[1], return_inverse=True)
    site_genes = SiteGenes(
        source=SOURCE,
        sites=structure.sites,
        pairs=np.stack([published[0], gene], axis=1),
        genes=structure.genes[used],
        chromosomes=np.full(len(structure.sites), "1"),
    )
    return site_genes, _name_pairs(structure.sites[left_out[0]], structure.genes[left_out[1]])


def publish_sets(
    rng: np.random.Generator, structure: Structure, hidden: float
) -> tuple[GeneSets, NamePairs]:
    """The genes of pathways as they are published, and the gene and pathway of what is hidden."""
    published, left_out = _split(rng, *np.nonzero(structure.members), hidden)
    used, first = np.unique(published[0], return_index=True)
    genes_of = np.split(structure.genes[published[1]], first[1:])
    sets = dict(zip(texts(structure.pathways[used]), map(texts, genes_of), strict=True))
    pathway, gene = left_out
    return GeneSets(SOURCE, sets), _name_pairs(structure.genes[gene], structure.pathways[pathway])


def _split(
    rng: np.random.Generator, first: np.ndarray, second: np.ndarray, hidden: float
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The ends of the connections that are published, and of those that are hidden."""
    is_hidden = rng.random(len(first)) < hidden
    return (first[~is_hidden], second[~is_hidden]), (first[is_hidden], second[is_hidden])


def _name_pairs(first: np.ndarray, second: np.ndarray) -> NamePairs:
    return tuple(zip(first.tolist(), second.tolist(), strict=True))


def texts(names: np.ndarray) -> tuple[str, ...]:
    """The names of an array as text."""
    return tuple(names.tolist())
