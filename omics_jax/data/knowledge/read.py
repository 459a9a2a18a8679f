"""The connections of a network from the files that `config.knowledge` names.

site -> gene (table or manifest) -> pathway (gene sets or ontology) -> higher levels (Reactome)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Shaped

from omics_jax.data.formats.read import read_table
from omics_jax.data.knowledge import site_annotation
from omics_jax.data.knowledge.gene_sets import GeneSets, read_gene_sets
from omics_jax.data.knowledge.layers import Knowledge, Matching, connect
from omics_jax.data.knowledge.ontology import ontology_gene_sets, read_gaf, read_obo
from omics_jax.data.knowledge.reactome import pathway_levels, read_relations
from omics_jax.data.knowledge.settings import check_settings
from omics_jax.data.knowledge.site_annotation import SiteGenes
from omics_jax.errors import UserError


def read_knowledge(
    settings: Any,
    sites: Sequence[str] | Shaped[np.ndarray, " S"],
    site_genes: SiteGenes | None = None,
) -> Knowledge:
    """The network's connections over these sites.

    Args:
      settings: a mapping or config with the entries that `settings` describes.
      sites: the features of the data.
      site_genes: what `read_site_genes` gave, where it was read before.

    Raises:
      UserError: settings that contradict each other, anything wrong with a file, or no connection.
    """
    check_settings(settings)
    site_genes = site_genes or read_site_genes(settings)
    sets, parents = _pathways(settings)
    return connect(sites, site_genes, sets, parents, matching_of(settings))


def read_site_genes(settings: Any) -> SiteGenes:
    """The genes and chromosomes of the sites in `knowledge.site_genes`."""
    check_settings(settings)
    return site_annotation.read_site_genes(settings.site_genes)


def chromosomes_of(site_genes: SiteGenes, stripped: bool = False) -> dict[str, str]:
    """Site -> chromosome, where it is known.

    stripped: whether the names of sites are without EPIC v2's suffixes.
    """
    names = site_genes.sites
    if stripped:
        names = site_annotation.without_suffix(names)
    pairs = zip(names.tolist(), site_genes.chromosomes.tolist(), strict=True)
    return {site: chromosome for site, chromosome in pairs if chromosome}


def matching_of(settings: Any) -> Matching:
    """How the settings want names matched."""
    return Matching(
        least=settings.least_genes,
        most=settings.most_genes,
        unannotated=settings.unannotated,
        n_unannotated=settings.n_unannotated,
        strip_suffixes=settings.strip_suffixes,
        aliases=_read_aliases(settings.aliases) if settings.aliases else None,
    )


def _pathways(settings: Any) -> tuple[GeneSets, tuple[Mapping[str, Sequence[str]], ...]]:
    """The lowest pathways, and the parents of every level above."""
    if settings.ontology:
        ontology = read_obo(settings.ontology)
        annotations = read_gaf(settings.annotations)
        evidence = tuple(settings.evidence)
        return ontology_gene_sets(ontology, annotations, evidence, settings.branch), ()
    sets = read_gene_sets(settings.gene_sets)
    if not settings.relations:
        return sets, ()
    ids = _ids(sets)
    levels = pathway_levels(sets, read_relations(settings.relations, ids), settings.levels)
    counts = [len(levels.sets), *(len(_above(parents)) for parents in levels.parents)]
    sentence = (
        f"{sets.source}: pathways of the hierarchy by level, the lowest first: "
        f"{', '.join(f'{count:,}' for count in counts)}."
    )
    return replace(levels.sets, notes=(*levels.sets.notes, sentence)), levels.parents


def _above(parents: Mapping[str, Sequence[str]]) -> set[str]:
    return {name for above in parents.values() for name in above}


def _ids(sets: GeneSets) -> list[str]:
    """The ids of the sets, by which relations name them.

    Raises:
      UserError: two sets of one id.
    """
    ids = [sets.descriptions.get(name, "") for name in sets.genes]
    seen: dict[str, str] = {}
    for name, identifier in zip(sets.genes, ids, strict=True):
        if identifier in seen:
            raise UserError(
                f"{sets.source}: the sets {seen[identifier]!r} and {name!r} have one id "
                f"({identifier!r}), by which knowledge.relations name them; name Reactome's "
                "ReactomePathways.gmt, or leave knowledge.relations empty"
            )
        seen[identifier] = name
    return ids


def _read_aliases(path: str) -> dict[str, str]:
    """Other name of a gene -> its name in the sets.

    Raises:
      UserError: not two columns, an empty cell, or an alias of two names.
    """
    table = read_table(path)
    if len(table.columns) != 2:
        raise UserError(
            f"{path} has {len(table.columns)} columns; a table of aliases has two, another name "
            "of a gene and its name in the gene sets"
        )
    aliases: dict[str, str] = {}
    for place, other, name in zip(table.index, table.iloc[:, 0], table.iloc[:, 1], strict=True):
        if not other or not name:
            raise UserError(f"{path}: {place} lacks one of its two names; fill it in or remove it")
        if aliases.get(other, name) != name:
            raise UserError(
                f"{path}: {other!r} is an alias of {aliases[other]!r} and, in {place}, of "
                f"{name!r}; keep one of them"
            )
        aliases[other] = name
    return aliases
