"""Vectors of genes from a file, as node2vec, gene2vec or a language model of cells gave them.

    table     gene, then d numbers, with or without a header
    word2vec  the same without a header, below a line "N d"

Source of the second: the text format of word2vec (Mikolov et al. 2013), its tokens being genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from omics_jax.data.formats.known_names import is_id_header
from omics_jax.data.formats.names import check_names
from omics_jax.data.formats.records import Records
from omics_jax.data.gene_networks.rows import is_number, numbers, read_rows, records_of, texts
from omics_jax.errors import UserError

_LEAST_COUNTED = 4  # of a row that counts 0, 1, 2, 3: no gene has such numbers by chance
_MEND = "a vector has a number in every column: correct it, or remove the gene"


def read_embedding(path: str) -> tuple[Shaped[np.ndarray, " N"], Float32[np.ndarray, "N d"]]:
    """(N,) genes and their (N, d) vectors, in the order of the file.

    Args:
      path: .csv, .tsv, .txt (also .gz) or any other name of a text, or .parquet.

    Raises:
      UserError: no rows, lines of different widths, a cell that is no finite number, an empty or
        repeated gene, or not the number of genes that the first line promises.
    """
    rows = read_rows(path, text=(0,), is_header=_is_header, cut=_lines_of_genes)
    if rows.width < 2:
        raise UserError(
            f"{rows.path} has one column; an embedding has the gene and then its numbers"
        )
    genes = texts(rows, 0)
    check_names(rows.path, "row", genes, rows.place)
    vectors = [numbers(rows, column, _MEND) for column in range(1, rows.width)]
    return genes.astype(str), np.stack(vectors, axis=1)


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a first line names columns: gene, 0, 1, 2, 3, or node, x, y, z."""
    name, columns = fields[0], list(fields[1:])
    if is_id_header(name) or not any(map(is_number, columns)):
        return True
    count = len(columns)
    are_counted = columns in ([str(k) for k in range(count)], [str(k + 1) for k in range(count)])
    return are_counted and (not name or count >= _LEAST_COUNTED)


def _lines_of_genes(path: Path) -> Records:
    """The lines of a text, without the first of word2vec's format."""
    table = records_of(path)
    counts = table.fields(0)
    are_whole = len(counts) == 2 and all(map(str.isdecimal, counts))
    if not are_whole or len(table.lines) < 2:
        return table
    width = len(table.fields(1)) - 1
    if width < 2:
        return table  # two columns: a gene of digits and its only number
    _check_counts(table, int(counts[0]), int(counts[1]), width)
    return replace(table, lines=table.lines[1:], numbers=table.numbers[1:])


def _check_counts(table: Records, promised: int, promised_width: int, width: int) -> None:
    """Refuses another number of genes, or of numbers for the first of them, than line 1 says."""
    first, second = table.numbers[:2]
    if width != promised_width:
        raise UserError(
            f"{table.path}: line {first} promises {promised_width} numbers for each gene, and line "
            f"{second} has {width}; fetch the file again, or remove line {first}"
        )
    found = len(table.lines) - 1
    if found != promised:
        raise UserError(
            f"{table.path}: line {first} promises {promised:,} genes, and {found:,} follow; fetch "
            f"the file again, or remove line {first}"
        )
