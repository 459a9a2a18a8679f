"""Other names of genes: the table by which ids of proteins become symbols of genes.

    two columns     other name, name of the gene; further columns are left out
    protein.info    STRING's ids and preferred names
    protein.aliases STRING's ids, aliases and their sources, many for one id

Source: the downloads of STRING 12 (string-db.org). Before version 11.5 a field named several
sources, separated by spaces.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from omics_jax.data.formats.known_names import header_form
from omics_jax.data.gene_networks.rows import STRING_ID, Rows, read_rows, texts
from omics_jax.errors import UserError

# Sources whose aliases are symbols of genes, the best first.
SYMBOL_SOURCES = (
    "Ensembl_HGNC_symbol",
    "BioMart_HUGO",
    "UniProt_GN_Name",
    "Ensembl_UniProt_GN_Name",
    "BLAST_UniProt_GN_Name",
    "Ensembl_UniProt_GN",
    "BLAST_UniProt_GN",
    "Ensembl_HGNC",
    "Ensembl_MGI",
)


def read_aliases(path: str) -> dict[str, str]:
    """Other name, or id of a protein -> name of its gene, from a table with a header.

    Of several aliases in STRING's protein.aliases the one of the best source counts, and of one
    source the first in the file.

    Raises:
      UserError: one column, an empty name, a name of two genes, or no source of symbols.
    """
    rows = read_rows(path, text=(0, 1, 2), is_header=lambda fields: True)
    if rows.width < 2:
        raise UserError(
            f"{rows.path} has one column; a table of aliases has two, another name of a gene and "
            "its name"
        )
    header = [header_form(name) for name in rows.header]
    has_sources = header[0] == STRING_ID and header[2:3] == ["source"]
    return _best_aliases(rows) if has_sources else _pairs(rows)


def _pairs(rows: Rows) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for i, (other, name) in enumerate(zip(texts(rows, 0), texts(rows, 1), strict=True)):
        if not other or not name:
            raise UserError(
                f"{rows.path}: {rows.place(i)} lacks one of its two names; fill it in or remove it"
            )
        if aliases.get(other, name) != name:
            raise UserError(
                f"{rows.path}: {other!r} is an alias of {aliases[other]!r} and, in "
                f"{rows.place(i)}, of {name!r}; keep one of them"
            )
        aliases[other] = name
    return aliases


def _best_aliases(rows: Rows) -> dict[str, str]:
    rank = _ranks(texts(rows, 2))
    best_first = np.argsort(rank, kind="stable")
    best_first = best_first[rank[best_first] < len(SYMBOL_SOURCES)]
    if not len(best_first):
        raise UserError(
            f"{rows.path}: none of its aliases is a symbol of a gene (their sources are not "
            f"{', '.join(SYMBOL_SOURCES[:3])} or the like); name STRING's protein.info of the same "
            "species"
        )
    ids, names = (texts(rows, column)[best_first] for column in (0, 1))
    aliases: dict[str, str] = {}
    for other, name in zip(ids, names, strict=True):
        if other and name:
            aliases.setdefault(other, name)
    return aliases


def _ranks(sources: np.ndarray) -> np.ndarray:
    """(n,) places among `SYMBOL_SOURCES`, their number for any other source."""
    place = {source: rank for rank, source in enumerate(SYMBOL_SOURCES)}
    code, distinct = pd.factorize(sources)
    other = len(SYMBOL_SOURCES)
    ranks = [
        min((place.get(part, other) for part in cell.split()), default=other) for cell in distinct
    ]
    return np.array(ranks, int)[code]
