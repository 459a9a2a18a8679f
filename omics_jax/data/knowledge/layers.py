"""Site -> gene -> pathway (-> higher pathways): the connections that knowledge leaves to a network.

Names are matched exactly first, then by a table of aliases, then without regard to case. What has
no gene or no pathway goes to a few unannotated units or is left out; it is never connected to
everything. Nothing here has the size sites x genes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.knowledge.gene_sets import GeneSets
from omics_jax.data.knowledge.site_annotation import SiteGenes, without_suffix
from omics_jax.errors import UserError

UNANNOTATED = ("units", "drop")
_UNANNOTATED = "unannotated"
_UNIT = re.compile(rf"{_UNANNOTATED} (gene )?\d+")
_POSITION = re.compile(r"(chr)?([\dXY]+)[:_]\d+.*", re.IGNORECASE)
# As mouse and rat spell genes: Trp53, but not C3orf35.
_RODENT = re.compile(r"[A-Z][a-z][\w-]*")


@dataclass(frozen=True)
class Layer:
    """Units and what they are connected to below.

    Attributes:
      names: (O,) of the units.
      ends: (E, 2) unit below and unit here, by output, each pair once.
    """

    names: Shaped[np.ndarray, " O"]
    ends: Int[np.ndarray, "E 2"]


@dataclass(frozen=True)
class Knowledge:
    """The connections of a network over S sites.

    Attributes:
      sites: (S,) the features of the data that have a place in the network, in their order.
      genes: the first layer; pathways: the layers above it, the lowest first.
      notes: sentences on what was matched, left out and joined.
    """

    sites: Shaped[np.ndarray, " S"]
    genes: Layer
    pathways: tuple[Layer, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Matching:
    """How sites, genes and pathways are matched.

    Attributes:
      least, most: genes of a pathway, after matching; others are left out.
      unannotated: "units" (sites without a gene, and genes without a pathway, get units of their
        own kind) or "drop".
      n_unannotated: the number of such units.
      strip_suffixes: whether EPIC v2's suffixes are removed from the names of sites.
      aliases: other name of a gene -> its name in the sets.
    """

    least: int = 3
    most: int = 500
    unannotated: str = "units"
    n_unannotated: int = 4
    strip_suffixes: bool = False
    aliases: Mapping[str, str] | None = None


def is_unannotated(layer: Layer) -> Bool[np.ndarray, " O"]:
    """(O,) which units stand for sites without a gene, or genes without a pathway."""
    return np.array([_UNIT.fullmatch(name) is not None for name in layer.names.tolist()], bool)


def connect(
    sites: Sequence[str] | Shaped[np.ndarray, " S"],
    site_genes: SiteGenes,
    sets: GeneSets,
    parents: Sequence[Mapping[str, Sequence[str]]] = (),
    matching: Matching = Matching(),
) -> Knowledge:
    """The connections among these sites, their genes and the gene sets.

    Args:
      sites: the features of the data.
      parents: see `reactome.Levels`.

    Raises:
      UserError: no site in the annotation, or no gene in the sets.
    """
    site_of_pair, gene_of_pair, notes = _genes_of_sites(sites, site_genes, matching)
    gene_names = np.unique(site_genes.genes[gene_of_pair])
    members, more_notes = _match_sets(gene_names, sets, matching)
    pathways = [name for name, genes in members.items() if genes]
    genes_with_pathway = {gene for name in pathways for gene in members[name]}
    notes += more_notes

    unplaced_genes = [gene for gene in gene_names if gene not in genes_with_pathway]
    unplaced_sites = np.setdiff1d(np.arange(len(sites)), site_of_pair)
    joins = matching.unannotated == "units"
    kept_genes = gene_names if joins else np.array(sorted(genes_with_pathway))
    gene_place = {gene: g for g, gene in enumerate(kept_genes)}
    pair_gene = np.array([gene_place.get(g, -1) for g in site_genes.genes[gene_of_pair]], int)
    ends = np.stack([site_of_pair, pair_gene], axis=1)[pair_gene >= 0]
    names = list(kept_genes)
    lowest = [(gene_place[gene], p) for p, name in enumerate(pathways) for gene in members[name]]
    pathway_names = list(pathways)
    if joins and (len(unplaced_sites) or unplaced_genes):
        ends, names, lowest, pathway_names = _join_unannotated(
            ends, names, lowest, pathway_names, unplaced_sites, unplaced_genes, matching
        )
    notes += _orphan_notes(unplaced_sites, unplaced_genes, matching)
    has_place = np.isin(np.arange(len(sites)), ends[:, 0])
    new_place = np.cumsum(has_place) - 1
    ends[:, 0] = new_place[ends[:, 0]]
    genes = Layer(np.array(names, str), _by_output(ends))
    first = Layer(np.array(pathway_names, str), _by_output(np.array(lowest, int).reshape(-1, 2)))
    layers = _higher_levels(first, parents)
    return Knowledge(np.asarray(sites, str)[has_place], genes, layers, tuple(notes))


def _genes_of_sites(
    sites: Sequence[str] | Shaped[np.ndarray, " S"], annotation: SiteGenes, matching: Matching
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Site (index in `sites`) and gene (index in the annotation) of every pair, and notes."""
    own = without_suffix(sites) if matching.strip_suffixes else np.asarray(sites, dtype=str)
    theirs = annotation.sites
    if matching.strip_suffixes:
        theirs = without_suffix(theirs)
    place_of = {name: i for i, name in enumerate(theirs.tolist())}
    place = np.array([place_of.get(name, -1) for name in own.tolist()], int)
    if (place < 0).all():
        raise UserError(_no_site_message(own, annotation, matching))
    first, last = (
        np.searchsorted(annotation.pairs[:, 0], place, side) for side in ("left", "right")
    )
    count = np.where(place >= 0, last - first, 0)
    site_of_pair = np.repeat(np.arange(len(own)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    gene_of_pair = annotation.pairs[np.repeat(first, count) + within, 1]
    n_unknown = int((place < 0).sum())
    notes = [f"{len(own):,} sites, {int((count > 0).sum()):,} with a gene in {annotation.source}."]
    if n_unknown:
        unknown = count_phrase(n_unknown, "site", own[place < 0][:5].tolist())
        notes.append(f"{unknown} not in {annotation.source}.")
    return site_of_pair, gene_of_pair, notes


def _no_site_message(own: np.ndarray, annotation: SiteGenes, matching: Matching) -> str:
    hint = "name the annotation of the array that measured them"
    stripped = set(without_suffix(own).tolist())
    if not matching.strip_suffixes and stripped & set(without_suffix(annotation.sites).tolist()):
        bearer = "they bear" if stripped.isdisjoint(own.tolist()) else "those of the file bear"
        hint = f"set --config.knowledge.strip_suffixes=True, because {bearer} EPIC suffixes"
    elif _are(_POSITION, own) != _are(_POSITION, annotation.sites):
        where = "the data" if _are(_POSITION, own) else "the annotation"
        hint = (
            f"the sites of {where} are positions in a genome; name an annotation by the same kind "
            "of names, and of the same genome build"
        )
    elif _are(_POSITION, own):
        hint = "name an annotation of the same genome build, with positions written alike"
    elif kinds := _other_kinds(own, annotation.sites):
        hint = f"the data hold {kinds[0]} sites and the annotation {kinds[1]} sites; {hint}"
    return (
        f"none of the {len(own):,} sites (such as {str(own[0])!r}) is in {annotation.source}, "
        f"whose sites are called like {str(annotation.sites[0])!r}; {hint}"
    )


def _are(pattern: re.Pattern, names: np.ndarray) -> bool:
    """Whether most names are of the kind."""
    return 2 * sum(pattern.fullmatch(str(name)) is not None for name in names) > len(names)


def _other_kinds(own: np.ndarray, theirs: np.ndarray) -> tuple[str, str] | None:
    """cg and ch: what probes on both sides are called, where all differ."""
    sides = [{str(name)[:2].lower() for name in names} for names in (own, theirs)]
    known = {"cg", "ch", "rs"}
    if not all(side <= known for side in sides) or sides[0] & sides[1]:
        return None
    return " and ".join(sorted(sides[0])), " and ".join(sorted(sides[1]))


def _match_sets(
    genes: np.ndarray, sets: GeneSets, matching: Matching
) -> tuple[dict[str, list[str]], list[str]]:
    """Set -> its genes under our names, [] for a set outside of the limits; and notes."""
    matches = _match_names(genes, sets, matching)
    ours = {name: gene for name, (gene, _) in matches.items()}
    if not ours:
        raise UserError(_no_gene_message(genes, sets))
    by_case = [name for name, (_, rule) in matches.items() if rule == "case"]
    if 2 * len(by_case) > len(ours):
        _refuse_other_species(genes, by_case, ours, sets)
    members = {
        name: list(dict.fromkeys(ours[gene] for gene in in_set if gene in ours))
        for name, in_set in sets.genes.items()
    }
    sizes = np.array([len(in_set) for in_set in members.values()])
    fits = (matching.least <= sizes) & (sizes <= matching.most)
    if not fits.any():
        raise UserError(
            f"none of the {len(sets):,} sets of {sets.source} has {matching.least} to "
            f"{matching.most} of the genes of the sites (the largest has {sizes.max()}); lower "
            "--config.knowledge.least_genes"
        )
    limited = {
        name: in_set if fit else []
        for (name, in_set), fit in zip(members.items(), fits, strict=True)
    }
    notes = [_match_note(genes, matches, sets), _limits_note(sizes, sets, matching), *sets.notes]
    return limited, notes


def _match_names(
    genes: np.ndarray, sets: GeneSets, matching: Matching
) -> dict[str, tuple[str, str]]:
    """Name in the sets -> our gene, and by which rule: "exact", else "alias", else "case"."""
    exact = set(genes.tolist())
    aliases = {name.casefold(): symbol for name, symbol in (matching.aliases or {}).items()}
    by_alias, by_case = {}, {}
    for gene in genes.tolist():
        folded = gene.casefold()
        by_case.setdefault(folded, gene)
        if folded in aliases:
            by_alias.setdefault(aliases[folded], gene)
    matches = {}
    for name in dict.fromkeys(gene for members in sets.genes.values() for gene in members):
        if name in exact:
            matches[name] = name, "exact"
        elif name in by_alias:
            matches[name] = by_alias[name], "alias"
        elif name.casefold() in by_case:
            matches[name] = by_case[name.casefold()], "case"
    return matches


def _match_note(genes: np.ndarray, matches: Mapping[str, tuple[str, str]], sets: GeneSets) -> str:
    found = {gene for gene, _ in matches.values()}
    count = Counter(rule for _, rule in matches.values())
    return (
        f"{len(genes):,} genes have a site; {len(found):,} of them are in {sets.source} "
        f"({count['exact']:,} names equal, {count['alias']:,} by alias, {count['case']:,} in "
        "another case)."
    )


def _limits_note(sizes: Int[np.ndarray, " P"], sets: GeneSets, matching: Matching) -> str:
    """sizes: of all sets, in genes with a site."""
    smaller, larger = (sizes < matching.least).sum(), (sizes > matching.most).sum()
    fitting = len(sizes) - smaller - larger
    return (
        f"{fitting:,} of {len(sets):,} pathways have {matching.least} to {matching.most} genes "
        f"with a site; left out: {smaller:,} smaller, {larger:,} larger."
    )


def _refuse_other_species(
    genes: np.ndarray, by_case: Sequence[str], ours: Mapping[str, str], sets: GeneSets
) -> None:
    """Refuses genes of mouse or rat beside sets of man, or the reverse: Trp53 and TP53."""
    is_rodent = _are(_RODENT, genes)
    theirs = np.array([name for members in sets.genes.values() for name in members])
    if is_rodent == _are(_RODENT, theirs):
        return
    name = by_case[0]
    who = "the sites" if is_rodent else sets.source
    raise UserError(
        f"{len(by_case):,} of {len(ours):,} genes are spelled alike but for their case "
        f"({ours[name]!r} of the sites, {name!r} in {sets.source}); the genes of {who} seem to be "
        "of mouse or rat: name gene sets of the same species, or a table of orthologs as "
        "--config.knowledge.aliases"
    )


def _no_gene_message(genes: np.ndarray, sets: GeneSets) -> str:
    theirs = next(iter(sets.genes.values()))[0]
    kinds = {"Entrez numbers": str.isdigit, "Ensembl ids": lambda name: name.startswith("ENS")}
    hint = "use the same kind of names in both, or a table of aliases (--config.knowledge.aliases)"
    for kind, test in kinds.items():
        if test(str(genes[0])) != test(str(theirs)):
            hint = f"one of them uses {kind}; convert it, or set --config.knowledge.aliases"
    return (
        f"none of the {len(genes):,} genes of the sites (such as {str(genes[0])!r}) is in "
        f"{sets.source}, whose genes are called like {str(theirs)!r}; {hint}"
    )


def _join_unannotated(
    ends: np.ndarray,
    names: list[str],
    lowest: list[tuple[int, int]],
    pathway_names: list[str],
    sites: np.ndarray,
    genes: Sequence[str],
    matching: Matching,
) -> tuple[np.ndarray, list[str], list[tuple[int, int]], list[str]]:
    """With a few more units: genes for sites without one, pathways for genes without one.

    Sites and genes are dealt out to the units in turn.
    """
    count = matching.n_unannotated
    place = {gene: g for g, gene in enumerate(names)}
    homeless = [place[gene] for gene in genes]
    if len(sites):
        first = len(names)
        names = names + [f"{_UNANNOTATED} gene {k + 1}" for k in range(count)]
        unit = first + np.arange(len(sites)) % count
        ends = np.concatenate([ends, np.stack([sites, unit], axis=1)])
        homeless += list(range(first, first + count))
    first = len(pathway_names)
    pathway_names = pathway_names + [f"{_UNANNOTATED} {k + 1}" for k in range(count)]
    lowest = lowest + [(gene, first + k % count) for k, gene in enumerate(homeless)]
    return ends, names, lowest, pathway_names


def _orphan_notes(sites: np.ndarray, genes: Sequence[str], matching: Matching) -> list[str]:
    verb = "left out"
    if matching.unannotated == "units":
        verb = f"connected to {matching.n_unannotated} unannotated units"
    return [f"{len(sites):,} sites without a gene, {len(genes):,} genes without a pathway: {verb}."]


def _higher_levels(
    first: Layer, parents: Sequence[Mapping[str, Sequence[str]]]
) -> tuple[Layer, ...]:
    """The layers of pathways; a pathway without parents stands for itself on the next level."""
    layers = [first]
    for above in parents:
        below = layers[-1].names.tolist()
        names = dict.fromkeys(parent for name in below for parent in above.get(name, (name,)))
        place = {name: k for k, name in enumerate(names)}
        ends = [(b, place[p]) for b, name in enumerate(below) for p in above.get(name, (name,))]
        layers.append(Layer(np.array(list(names), str), _by_output(np.array(ends, int))))
    return tuple(layers)


def _by_output(ends: Int[np.ndarray, "E 2"]) -> Int[np.ndarray, "E 2"]:
    """Each pair once, sorted by output and then by input."""
    unique = np.unique(ends[:, ::-1], axis=0)
    return unique[:, ::-1]
