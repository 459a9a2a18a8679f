"""Which node of a network, or row of an embedding, each gene of the data is.

Names are matched exactly first, then by a form without case and without the version of an Ensembl
id (ENSG00000141510.18), then by a table of aliases. A form that two nodes share matches neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int, Int32, Shaped

from omics_jax.data.formats.checks import quoted_list
from omics_jax.errors import UserError

Names = Sequence[str] | Shaped[np.ndarray, "_"]

_SHOWN = 5  # names in a note
_EXAMPLES = 3  # names in a message
_RULES = ("names equal", "equal but for case or version", "by alias")
_VERSIONED = re.compile(r"(ENS[A-Z]*[GTP]\d{11})\.\d+", re.IGNORECASE)
_KINDS = {
    "Entrez numbers": re.compile(r"\d+"),
    "Ensembl ids of genes": re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?"),
    "Ensembl ids of transcripts": re.compile(r"ENS[A-Z]*T\d{11}(\.\d+)?"),
    "Ensembl ids of proteins": re.compile(r"ENS[A-Z]*P\d{11}(\.\d+)?"),
    "STRING's ids of proteins": re.compile(r"\d+\.[A-Za-z]\S+"),
}
# As mouse and rat spell genes: Trp53, but not C3orf35.
_RODENT = re.compile(r"[A-Z][a-z][\w-]*")


def match_genes(
    genes: Names, nodes: Names, aliases: Mapping[str, str] | None = None, file: str = ""
) -> tuple[Int32[np.ndarray, " G"], str]:
    """(G,) the node of each gene, -1 where it has none, and a note on them.

    Several genes have the same node where their names differ in case or version, or by alias.

    Args:
      genes: G names, as the data have them.
      nodes: different names, as the network or the embedding has them.
      aliases: name of a gene in the data, in whatever case -> its name among the nodes.
      file: what has the names, for the note and messages; "" for the nodes of a network.

    Raises:
      UserError: no gene has a node.
    """
    genes, nodes = list(map(str, genes)), list(map(str, nodes))
    exact = {node: place for place, node in enumerate(nodes)}
    by_form = _unambiguous((_form(node), place) for node, place in exact.items())
    targets = {
        alias: exact.get(node, by_form.get(_form(node))) for alias, node in (aliases or {}).items()
    }
    by_alias = _unambiguous(
        (_form(alias), place) for alias, place in targets.items() if place is not None
    )
    found = np.array(
        [[exact.get(g, -1), by_form.get(_form(g), -1), by_alias.get(_form(g), -1)] for g in genes],
        np.int32,
    ).reshape(-1, len(_RULES))
    has_node = (found >= 0).any(axis=1)
    if not has_node.any():
        raise UserError(_no_match_message(genes, nodes, file))
    rule = np.where(has_node, (found >= 0).argmax(axis=1), -1)
    places = found[np.arange(len(genes)), rule]
    return places, _note(genes, nodes, places, rule, file)


def _form(name: str) -> str:
    """What names of one gene have in common: ensg00000141510 of ENSG00000141510.18."""
    versioned = _VERSIONED.fullmatch(name)
    return (versioned[1] if versioned else name).casefold()


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """form -> place, without the forms of several places."""
    places: dict[str, set[int]] = {}
    for form, place in pairs:
        places.setdefault(form, set()).add(place)
    return {form: min(several) for form, several in places.items() if len(several) == 1}


# --- what is said of it ---------------------------------------------------------------------------


def _note(
    genes: Sequence[str],
    nodes: Sequence[str],
    places: Int32[np.ndarray, " G"],
    rule: Int[np.ndarray, " G"],
    file: str,
) -> str:
    """As in: 2 of 4 genes have a node (1 names equal, 1 by alias); without: A, B."""
    by_rule = {name: int((rule == r).sum()) for r, name in enumerate(_RULES)}
    how = ", ".join(f"{count:,} {name}" for name, count in by_rule.items() if count)
    matched = places >= 0
    count, different = int(matched.sum()), len(np.unique(places[matched]))
    note = f"{count:,} of {len(genes):,} genes {f'are in {file}' if file else 'have a node'}"
    if different < count:
        note += f", {different:,} {'of its genes' if file else 'nodes'} in all"
    note += f" ({how})"
    without = [genes[i] for i in np.flatnonzero(~matched)]
    if without:
        ellipsis = ", ..." if len(without) > _SHOWN else ""
        note += f"; without: {', '.join(without[:_SHOWN])}{ellipsis}"
    note += "" if note.endswith("...") else "."
    return note + _species_warning(genes, nodes, places, rule)


def _species_warning(
    genes: Sequence[str],
    nodes: Sequence[str],
    places: Int32[np.ndarray, " G"],
    rule: Int[np.ndarray, " G"],
) -> str:
    """That most matches are of Trp53 with TRP53 or the reverse; "" where they are not."""
    by_form = np.flatnonzero(rule == 1)
    are_most = 2 * len(by_form) > (rule >= 0).sum()
    if not are_most or _are(_RODENT, genes) == _are(_RODENT, nodes):
        return ""
    gene, node = genes[by_form[0]], nodes[places[by_form[0]]]
    return (
        f" Most names differ in their case ({gene!r} and {node!r}), as genes of mouse or rat and "
        "of man do: if they are of two species, give a table of orthologs as aliases."
    )


def _are(pattern: re.Pattern, names: Sequence[str]) -> bool:
    """Whether most names are of the kind."""
    return 2 * sum(pattern.fullmatch(name) is not None for name in names) > len(names)


def _no_match_message(genes: Sequence[str], nodes: Sequence[str], file: str) -> str:
    kinds = [
        next((kind for kind, pattern in _KINDS.items() if _are(pattern, names)), "")
        for names in (genes, nodes)
    ]
    hint = "the two name genes by different conventions"
    if kinds[0] != kinds[1]:
        whose = f"{file} has" if file else "the nodes have"
        told = [("the data have", kinds[0]), (whose, kinds[1])]
        hint = " and ".join(f"{who} {kind}" for who, kind in told if kind)
    theirs = f"in {file}" if file else f"among the {len(nodes):,} nodes"
    return (
        f"none of the {len(genes):,} genes of the data (such as {quoted_list(genes[:_EXAMPLES])}) "
        f"is {theirs} (such as {quoted_list(nodes[:_EXAMPLES])}); {hint}: "
        "convert one of them (symbols, Entrez numbers or Ensembl ids in both), or give a table of "
        f"aliases, the name in the data and the name {f'in {file}' if file else 'of the node'}"
    )
