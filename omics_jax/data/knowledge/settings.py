"""The settings of `read_knowledge` (`config.knowledge` of a run); "" or () means none.

site_genes: which gene a site belongs to: a table of two columns, or Illumina's manifest.
gene_sets: pathways: a GMT file or a table of two columns, gene and set.
ontology, annotations: instead of gene sets an OBO file and a GAF file; branch, evidence: which of
  the annotations count.
relations, levels: Reactome's relations of its gene sets, and how many levels of them there are.
aliases: a table of two columns, another name of a gene and its name in the sets.
least_genes, most_genes: of a pathway, after matching.
unannotated, n_unannotated: whether what has no gene or pathway gets units, and how many.
strip_suffixes: whether EPIC v2's suffixes are cut off the names of sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omics_jax.data.knowledge.layers import UNANNOTATED
from omics_jax.data.knowledge.ontology import BRANCHES
from omics_jax.errors import UserError
from omics_jax.settings.checks import Rule, choice, flag, names, text, whole

FILES = ("site_genes", "gene_sets", "ontology", "annotations", "relations", "aliases")
_MOST_LEVELS = 20


def rules() -> dict[str, Rule]:
    """What the settings of the section `knowledge` may be."""
    return {
        **{f"knowledge.{name}": text() for name in FILES},
        "knowledge.branch": choice(*BRANCHES, ""),
        "knowledge.evidence": names(),
        "knowledge.levels": whole(1, _MOST_LEVELS),
        "knowledge.least_genes": whole(1),
        "knowledge.most_genes": whole(1),
        "knowledge.unannotated": choice(*UNANNOTATED),
        "knowledge.n_unannotated": whole(1, 10_000),
        "knowledge.strip_suffixes": flag(),
    }


def named_files(settings: Any) -> tuple[str, ...]:
    """The files that the settings name; () where they name none."""
    return tuple(settings[name] for name in FILES if settings[name])


def check_settings(settings: Any) -> None:
    """Refuses settings that contradict each other.

    Raises:
      UserError: the message names both.
    """
    for name, value, mend in _contradictions(settings):
        if value:
            raise UserError(f"config.knowledge.{name}; {mend}")


def _contradictions(settings: Any) -> Sequence[tuple[str, bool, str]]:
    """What is wrong, whether it is so, and the mend."""
    sets, ontology = bool(settings.gene_sets), bool(settings.ontology)
    annotations, relations = bool(settings.annotations), bool(settings.relations)
    least, most = settings.least_genes, settings.most_genes
    return (
        (
            "gene_sets and knowledge.ontology both name pathways",
            sets and ontology,
            "leave one of them empty",
        ),
        (
            "ontology is named without knowledge.annotations",
            ontology and not annotations,
            "name the annotations of its genes, such as goa_human.gaf.gz",
        ),
        (
            "annotations is named without knowledge.ontology",
            annotations and not ontology,
            "name the ontology, such as go-basic.obo",
        ),
        (
            "relations is named without knowledge.gene_sets",
            relations and not sets,
            "name the gene sets that they relate, such as ReactomePathways.gmt",
        ),
        (
            f"levels is {settings.levels} and knowledge.relations is empty",
            settings.levels > 1 and not relations,
            "name the relations of the pathways, or set it to 1",
        ),
        (
            "evidence is named without knowledge.annotations",
            bool(settings.evidence) and not annotations,
            "it selects among annotations of an ontology; leave it empty",
        ),
        (
            "site_genes is empty",
            not settings.site_genes,
            "name the genes of the sites, a table or Illumina's manifest",
        ),
        (
            "gene_sets and knowledge.ontology are empty",
            not sets and not ontology,
            "name the pathways of the genes, such as a .gmt",
        ),
        (
            f"least_genes is {least} and knowledge.most_genes is {most}",
            least > most,
            "give a least number that is not above the most",
        ),
    )
