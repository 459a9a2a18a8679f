"""The hierarchy of pathways in Reactome: its relations file, parent and child per line.

Source: ReactomePathwaysRelation.txt. As in P-NET (Elmarakeby et al. 2021) the hierarchy is cut at a
number of levels below its roots; a pathway without children stands for itself on the levels below.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.knowledge.gene_sets import GeneSets
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Levels:
    """Pathways in levels, the lowest first; a level's pathways belong to those of the next.

    Attributes:
      sets: the genes of the lowest level.
      parents: for every level but the highest, pathway -> its parents on the next level.
    """

    sets: GeneSets
    parents: tuple[Mapping[str, tuple[str, ...]], ...]


def read_relations(path: str, known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """child -> parents, among the known ids (a file of all species is thereby cut to one).

    Raises:
      UserError: a line that is no pair, no relation between known ids, or a cycle.
    """
    file = existing_file(path)
    ids = set(known)
    parents: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(read_text(file).decode().split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split()
        if len(cells) != 2:
            raise UserError(
                f"{file}: line {number} has {len(cells)} fields, and a relation has two, a parent "
                "and a child; name ReactomePathwaysRelation.txt"
            )
        parent, child = cells
        if parent in ids and child in ids:
            parents[child].append(parent)
    if not parents:
        example = next(iter(ids), "none")
        raise UserError(
            f"{file} relates none of the {len(ids):,} pathways (with ids such as {example!r}); "
            "name the relations of the same species and version"
        )
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise UserError(f"{file}: its pathways form a cycle ({cycle}); remove a relation") from None
    return {child: tuple(dict.fromkeys(above)) for child, above in parents.items()}


def pathway_levels(sets: GeneSets, parents: Mapping[str, Sequence[str]], levels: int) -> Levels:
    """The upper `levels` levels of the hierarchy, with the genes of everything below them.

    Level `levels` holds the roots, each level below it the children of those above; a pathway
    without children stands for itself below. A set of the lowest level has its own genes and those
    of all its descendants.

    Args:
      sets: whose descriptions are the ids in `parents`, as in ReactomePathways.gmt.
      parents: child id -> parent ids.
      levels: 1 or more.

    Raises:
      UserError: less than one level.
    """
    if levels < 1:
        raise UserError(f"the number of pathway levels is {levels}; give 1 or more")
    name_of = {sets.descriptions[name]: name for name in sets.genes}
    children: dict[str, list[str]] = defaultdict(list)
    for child, above in parents.items():
        for parent in above:
            children[name_of[parent]].append(name_of[child])
    genes = _genes_with_descendants(sets, children)
    level = [name for name in sets.genes if not parents.get(sets.descriptions[name])]
    upward = []
    for _ in range(levels - 1):
        below: dict[str, list[str]] = defaultdict(list)
        for name in level:
            for child in children.get(name) or [name]:
                below[child].append(name)
        upward.insert(0, {child: tuple(above) for child, above in below.items()})
        level = list(below)
    lowest = GeneSets(
        sets.source,
        {name: genes[name] for name in level},
        {name: sets.descriptions[name] for name in level},
        sets.notes,
    )
    return Levels(lowest, tuple(upward))


def _genes_with_descendants(
    sets: GeneSets, children: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Set -> its genes and those of everything below it."""
    graph = {name: children.get(name, ()) for name in sets.genes}
    total: dict[str, dict[str, None]] = {}
    for name in TopologicalSorter(graph).static_order():
        total[name] = dict.fromkeys(sets.genes[name])
        for child in graph[name]:
            total[name] |= total[child]
    return {name: tuple(genes) for name, genes in total.items()}
