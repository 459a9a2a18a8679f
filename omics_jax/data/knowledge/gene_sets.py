"""Sets of genes (pathways) from a GMT file or a table of pairs.

GMT (Broad Institute): a set per line, its name, a description, then its genes, separated by tabs.
The table has two columns, gene and set, and a header. Names of genes stay as the file has them;
they are matched in `layers`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from scipy import sparse

from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.formats.read import read_table
from omics_jax.errors import UserError

GMT_SUFFIXES = (".gmt", ".gmt.gz")


@dataclass(frozen=True)
class GeneSets:
    """Named sets of genes.

    Attributes:
      source: the file, for messages.
      genes: set -> its genes, each once, in the order of the file.
      descriptions: set -> the second field of its GMT line, such as Reactome's stable id.
      notes: sentences on what was merged or left out.
    """

    source: str
    genes: Mapping[str, tuple[str, ...]]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.genes)


def read_gene_sets(path: str) -> GeneSets:
    """Sets of genes from a .gmt (also .gz), or from a table with the columns gene and set.

    Raises:
      UserError: no sets, a line without genes' fields, one name for two different sets.
    """
    file = existing_file(path)
    is_gmt = file.name.lower().endswith(GMT_SUFFIXES)
    return _read_gmt(file) if is_gmt else _read_pairs(file)


def memberships(sets: GeneSets, genes: Shaped[np.ndarray, " G"]) -> sparse.csr_array:
    """(G + 1, K) which genes are in each of K sets; the last row is of no gene.

    genes: all of the sets, ascending.
    """
    gene = np.concatenate([np.searchsorted(genes, list(own)) for own in sets.genes.values()])
    number = np.repeat(np.arange(len(sets)), [len(own) for own in sets.genes.values()])
    return sparse.csr_array((np.ones(len(gene), bool), (gene, number)), (len(genes) + 1, len(sets)))


def _read_gmt(path: Path) -> GeneSets:
    genes: dict[str, tuple[str, ...]] = {}
    descriptions: dict[str, str] = {}
    line_of: dict[str, int] = {}
    repeated, empty = [], []
    for number, line in enumerate(read_text(path).decode().split("\n"), 1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        if not name or not rest:
            raise UserError(
                f"{path}: line {number} has {'no name' if rest else 'no tab'}; a GMT line is a "
                "name, a description and genes, separated by tabs"
            )
        members = tuple(dict.fromkeys(filter(None, rest[1:])))
        if name in genes and set(genes[name]) != set(members):
            raise UserError(
                f"{path}: the set {name!r} occurs twice with different genes, in lines "
                f"{line_of[name]} and {number}; rename or remove one of them"
            )
        if name in genes:
            repeated.append(name)
        elif not members:
            empty.append(name)
        else:
            genes[name], descriptions[name], line_of[name] = members, rest[0], number
    notes = []
    if repeated:
        notes.append(f"{path.name}: {len(repeated)} sets stand twice with the same genes; merged.")
    if empty:
        notes.append(
            f"{path.name}: {len(empty)} sets without genes left out, such as {empty[0]!r}."
        )
    return _checked(GeneSets(str(path), genes, descriptions, tuple(notes)))


def _read_pairs(path: Path) -> GeneSets:
    table = read_table(path)
    if len(table.columns) != 2:
        raise UserError(
            f"{path} has {len(table.columns)} columns; a table of gene sets has two, the gene and "
            "the set, and other files of sets are named .gmt"
        )
    members: dict[str, dict[str, None]] = defaultdict(dict)
    for place, gene, name in zip(table.index, table.iloc[:, 0], table.iloc[:, 1], strict=True):
        if not gene or not name:
            raise UserError(f"{path}: {place} lacks its gene or its set; fill it in or remove it")
        members[name][gene] = None
    return _checked(GeneSets(str(path), {name: tuple(genes) for name, genes in members.items()}))


def _checked(sets: GeneSets) -> GeneSets:
    if not sets.genes:
        raise UserError(f"{sets.source} holds no set with a gene; name another file")
    return sets
