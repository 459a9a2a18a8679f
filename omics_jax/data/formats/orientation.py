"""Whether the rows of a table of numbers are samples or genes, judged by its names and its shape.

The rules are this project's own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from omics_jax.data.formats.known_names import (
    GENE_ANNOTATIONS,
    GENE_HEADERS,
    GENE_IDENTIFIERS,
    SAMPLE_HEADERS,
    header_form,
    is_gene,
)
from omics_jax.errors import UserError

_SETTING = "--config.data.orientation"


def gene_annotations(columns: Sequence[str], text: Collection[int]) -> list[int]:
    """The columns that are no samples if the rows are genes, by position.

    These are the texts before the first column of numbers, and columns that are known to describe
    genes, such as Entrez_Gene_Id and Length, although they hold numbers.
    """
    known = [j for j, name in enumerate(columns) if header_form(name) in GENE_ANNOTATIONS]
    leading = 0
    while leading < len(columns) and (leading in text or leading in known):
        leading += 1
    return sorted({*known, *range(leading)})


def decide_orientation(
    path,
    orientation: str,
    rows: Sequence[str],
    columns: Sequence[str],
    corner: str,
    text: Collection[int],
) -> str:
    """What the rows are, "samples" or "genes", by the rules in `read_matrix`'s docstring.

    Args:
      rows, columns: their names.
      corner: the header of the id column.
      text: the columns that hold no numbers, by position.

    Raises:
      UserError: text where the columns are samples, or nothing that decides.
    """
    misplaced = sorted(set(text) - set(gene_annotations(columns, text)))
    if orientation == "genes" and misplaced:
        raise UserError(
            f"{path}: column {columns[misplaced[0]]!r} holds text, but with genes in rows every "
            "column after the first sample is one; move it before the samples or remove it, or set "
            f"{_SETTING}=samples"
        )
    if orientation != "auto":
        return orientation
    header = header_form(corner)
    row_genes, column_genes = _gene_share(rows), _gene_share(columns)
    is_sample_table = header in SAMPLE_HEADERS
    names_of_genes = not GENE_IDENTIFIERS.isdisjoint(map(header_form, columns))
    look_like_genes = row_genes > 3 * column_genes or names_of_genes
    rows_are_genes = header in GENE_HEADERS or (look_like_genes and not is_sample_table)
    if misplaced and rows_are_genes:
        raise UserError(
            f"{path}: its rows look like genes (such as {rows[0]!r}), yet column "
            f"{columns[misplaced[0]]!r} holds text after the first sample; move it before the "
            f"samples or remove it, or set {_SETTING}=samples if rows are samples"
        )
    if rows_are_genes:
        return "genes"
    if text or is_sample_table or column_genes > 3 * row_genes:
        return "samples"
    return _orientation_by_shape(path, rows, columns)


def _orientation_by_shape(path, rows: Sequence[str], columns: Sequence[str]) -> str:
    """Genes are many, and many more than samples."""
    n_rows, n_columns = len(rows), len(columns)
    longer, shorter = max(n_rows, n_columns), min(n_rows, n_columns)
    if longer >= 200 and longer >= 5 * shorter:
        return "genes" if n_rows > n_columns else "samples"
    raise UserError(
        f"{path}: cannot tell whether its {n_rows} rows (such as {rows[0]!r}) are samples or "
        f"genes, nor its {n_columns} columns (such as {columns[0]!r}); set {_SETTING}=samples or "
        f"{_SETTING}=genes"
    )


def _gene_share(names: Sequence[str]) -> float:
    return sum(map(is_gene, names)) / max(len(names), 1)
