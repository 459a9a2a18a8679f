"""Networks of genes: which pairs are connected, and how strongly, from a table or gene sets.

    table   gene1, gene2 and perhaps a weight, with or without a header; STRING's protein.links too
    GMT     genes that share a set are connected; the weight is the number of sets that they share

An edge has no direction. Left out: self loops, edges of weight 0 or below a limit, and genes that
have no other edges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Int32, Shaped
from scipy import sparse

from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.known_names import header_form
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.gene_networks.aliases import read_aliases
from omics_jax.data.gene_networks.rows import Rows, is_number, numbers, read_rows, texts
from omics_jax.data.knowledge.gene_sets import GMT_SUFFIXES, read_gene_sets
from omics_jax.errors import UserError

MOST_GENES = 500  # of a set whose genes are connected
_WEIGHTS = ("weight", "combined_score", "score", "confidence")  # headers of weights, the best first
_WEIGHT_MEND = "a weight is a number, 0 or more: correct it, or remove the line or the whole column"
# As in gene1, protein_b, source or Target ID.
_GENE_COLUMN = re.compile(
    r"(\w+_)?(gene|protein|node|symbol|source|target|partner|interactor|regulator|from|to)"
    r"(_?(symbol|name|id))?_?[12ab]?"
)


@dataclass(frozen=True)
class Network:
    """N genes and E edges between them.

    Attributes:
      genes: (N,) their names, each once; every gene has an edge.
      edges: (E, 2) places of two genes, the smaller first; each pair once, in ascending order.
      weights: (E,) above 0, in the unit of the file; 1 where it has none.
      notes: sentences on what was united, renamed and left out.
    """

    genes: Shaped[np.ndarray, " N"]
    edges: Int32[np.ndarray, "E 2"]
    weights: Float32[np.ndarray, " E"]
    notes: tuple[str, ...] = ()


def read_network(path: str, aliases: str = "", least_weight: float | int = 0) -> Network:
    """The network of a table (.csv, .tsv, .txt, also .gz, or .parquet) or of gene sets (.gmt).

    Of a table the first two columns are the genes. Weights are in the column called weight,
    combined_score, score or confidence, else in the third of three columns. Of an edge that stands
    several times, in whichever direction, the largest weight counts. Sets of more than 500 genes
    connect nothing.

    Args:
      aliases: a table by which the names become those of genes, see `aliases.read_aliases`; a name
        that is not in it stays.
      least_weight: edges of less are left out.

    Raises:
      UserError: no such file, one column, an empty name, a weight that is no number or negative,
        aliases of none of the names, or no edge.
    """
    file = existing_file(path)
    is_gmt = file.name.lower().endswith(GMT_SUFFIXES)
    read = _from_gene_sets if is_gmt else _from_table
    return read(file, aliases, least_weight)


# --- a table of edges -----------------------------------------------------------------------------


def _from_table(file: Path, aliases: str, least_weight: float | int) -> Network:
    rows = read_rows(str(file), text=(0, 1), is_header=_is_header)
    if rows.width < 2:
        raise UserError(
            f"{file} has one column; a network has two for the genes of an edge, and a third for "
            "its weight"
        )
    names, ends = _named_ends(rows)
    weights, weight_notes = _weights(rows)
    genes, gene_of_name, alias_notes = _renamed(file, names, aliases)
    notes = [*_header_note(rows), *weight_notes, *alias_notes]
    return _united(file, genes, gene_of_name[ends], weights, least_weight, notes)


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a first line names columns: where there may be a weight, no number is."""
    further = fields[2:]
    if any(is_number(cell) and cell for cell in further):
        return False
    named = any(_GENE_COLUMN.fullmatch(header_form(cell)) for cell in fields)
    return named or bool(further and all(further))


def _header_note(rows: Rows) -> list[str]:
    """That the first line is an edge, where its names might be those of columns."""
    if rows.header or rows.width > 2:
        return []
    first, second = texts(rows, 0)[0], texts(rows, 1)[0]
    return [f"the first line ({first}, {second}) is read as an edge, not as a header."]


def _named_ends(rows: Rows) -> tuple[Shaped[np.ndarray, " K"], Int[np.ndarray, "M 2"]]:
    """The names in ascending order, and of every row the places of its two."""
    cells = np.concatenate([texts(rows, 0), texts(rows, 1)])
    code, names = pd.factorize(cells, sort=True)
    ends = code.reshape(2, -1).T
    if names[0] == "":
        row = int((ends == 0).any(axis=1).argmax())
        raise UserError(
            f"{rows.path}: {rows.place(row)} lacks one of its two genes; fill it in or remove it"
        )
    return names.astype(str), ends


def _weights(rows: Rows) -> tuple[Float32[np.ndarray, " M"], list[str]]:
    """The weight of every row, and what became of other columns."""
    column = _weight_column(rows)
    others = [rows.column(j) for j in range(2, rows.width) if j != column]
    notes = [f"{count_phrase(len(others), 'column', others)} left out."] if others else []
    if column is None:
        notes += ["no column is called weight or score: every edge weighs 1."] if others else []
        return np.ones(len(rows.cells), np.float32), notes
    weights = numbers(rows, column, _WEIGHT_MEND)
    if (weights < 0).any():
        row = int((weights < 0).argmax())
        raise UserError(
            f"{rows.path}: {rows.place(row)}, {rows.column(column)}: the weight "
            f"{weights[row]:g} is negative; give weights of 0 or more, such as absolute "
            "correlations"
        )
    return weights, notes


def _weight_column(rows: Rows) -> int | None:
    """The column that is called a weight, else the third of three; None for no weights."""
    header = [header_form(name) for name in rows.header]
    named = [header.index(name, 2) for name in _WEIGHTS if name in header[2:]]
    if named:
        return named[0]
    return 2 if rows.width == 3 else None


# --- gene sets ------------------------------------------------------------------------------------


def _from_gene_sets(file: Path, aliases: str, least_weight: float | int) -> Network:
    sets = read_gene_sets(str(file))
    members = {name: genes for name, genes in sets.genes.items() if len(genes) <= MOST_GENES}
    large = [name for name in sets.genes if name not in members]
    if not members:
        raise UserError(
            f"{file}: each of its {len(large):,} sets has more than {MOST_GENES} genes, which say "
            "nothing of pairs; name a file of smaller sets"
        )
    names, member = np.unique([g for genes in members.values() for g in genes], return_inverse=True)
    set_of_member = np.repeat(np.arange(len(members)), [len(genes) for genes in members.values()])
    genes, gene_of_name, notes = _renamed(file, names, aliases)
    if large:
        notes.append(
            f"{count_phrase(len(large), 'set', large)} left out, with more than {MOST_GENES} genes."
        )
    ends, shared = _pairs_in_sets(set_of_member, gene_of_name[member])
    network = _united(file, genes, ends, shared, least_weight, notes)
    return replace(network, notes=(*sets.notes, *network.notes))


def _pairs_in_sets(
    sets: Int[np.ndarray, " M"], genes: Int[np.ndarray, " M"]
) -> tuple[Int[np.ndarray, "E 2"], Float32[np.ndarray, " E"]]:
    """Pairs of genes that share a set, and how many they share.

    sets, genes: of every membership. Names of one gene in one set are one member.
    """
    in_set = sparse.csr_array((np.ones(len(sets), np.float32), (sets, genes)))
    in_set.data[:] = 1
    shared = sparse.triu(in_set.T @ in_set, k=1).tocoo()
    return np.stack([shared.row, shared.col], axis=1), shared.data


# --- both -----------------------------------------------------------------------------------------


def _renamed(
    file: Path, names: Shaped[np.ndarray, " K"], aliases: str
) -> tuple[Shaped[np.ndarray, " N"], Int[np.ndarray, " K"], list[str]]:
    """The names of genes, which of them each name stands for, and notes."""
    if not aliases:
        return names, np.arange(len(names)), []
    name_of = read_aliases(aliases)
    unknown = [name for name in names.tolist() if name not in name_of]
    if len(unknown) == len(names):
        raise UserError(
            f"{aliases} names none of the {len(names):,} genes or proteins of {file} (such as "
            f"{unknown[0]!r}); its first column holds names like {next(iter(name_of))!r}: name the "
            "aliases of the same species and version"
        )
    genes, gene_of_name = np.unique(
        [name_of.get(name, name) for name in names.tolist()], return_inverse=True
    )
    known = len(names) - len(unknown)
    notes = [
        f"{known:,} of {len(names):,} names are in {aliases}; all stand for {len(genes):,} genes."
    ]
    if unknown:
        notes.append(f"{count_phrase(len(unknown), 'name', unknown)} not in it, and unchanged.")
    return genes, gene_of_name, notes


def _united(
    file: Path,
    names: Shaped[np.ndarray, " K"],
    ends: Int[np.ndarray, "M 2"],
    weights: Float32[np.ndarray, " M"],
    least_weight: float | int,
    notes: Sequence[str],
) -> Network:
    """Every pair of two genes once, with its largest weight, and the genes that have one."""
    is_loop = ends[:, 0] == ends[:, 1]
    is_zero = ~is_loop & (weights == 0)
    kept = ~(is_loop | is_zero)
    left_out = {
        "between a gene and itself": int(is_loop.sum()),
        "of weight 0": int(is_zero.sum()),
    }
    counts = [f"{_edges(count)} {what}" for what, count in left_out.items() if count]
    if not kept.any():
        found = f" (it has {' and '.join(counts)})" if counts else ""
        raise UserError(f"{file} holds no edge between two genes{found}; name another file")
    edges, largest = _largest_of_each(np.sort(ends[kept], axis=1), weights[kept])
    notes = [*notes, *(f"{count} left out." for count in counts)]
    repeated = int(kept.sum()) - len(edges)
    if repeated:
        notes.append(
            f"{_edges(repeated)} repeated, in the same or the other direction: the largest weight "
            "counts."
        )
    is_strong = largest >= least_weight
    if not is_strong.any():
        raise UserError(
            f"{file}: none of its {_edges(len(edges))} has a weight of {least_weight:g} or more "
            f"(the largest is {largest.max():g}); lower --config.network.least_weight"
        )
    if not is_strong.all():
        weak = _edges(int((~is_strong).sum()))
        notes.append(f"{weak} of a weight below {least_weight:g} left out.")
    edges, largest = edges[is_strong], largest[is_strong]
    connected, places = np.unique(edges, return_inverse=True)
    lonely = np.delete(names, connected).tolist()
    if lonely:
        notes.append(f"{count_phrase(len(lonely), 'gene', lonely)} left out, without an edge.")
    return Network(
        names[connected],
        places.reshape(-1, 2).astype(np.int32),
        largest,
        tuple(f"{file.name}: {note}" for note in notes),
    )


def _edges(count: int) -> str:
    return "1 edge" if count == 1 else f"{count:,} edges"


def _largest_of_each(
    pairs: Int[np.ndarray, "M 2"], weights: Float32[np.ndarray, " M"]
) -> tuple[Int[np.ndarray, "E 2"], Float32[np.ndarray, " E"]]:
    """Each pair once, in ascending order, and the largest of its weights."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    ordered = pairs[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    return ordered[starts], np.maximum.reduceat(weights[order], starts)
