"""Lists of genes, such as those of a panel or of a collection of pathways.

    text  one gene a line
    GMT   the genes of all sets

Empty lines, and lines that begin with #, are no genes.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.files import existing_file, read_text, unpacked
from omics_jax.data.knowledge.gene_sets import GMT_SUFFIXES, read_gene_sets
from omics_jax.errors import UserError

_SEPARATORS = ("\t", ",")  # of fields, which a list has not


def read_gene_list(path: str) -> tuple[str, ...]:
    """The genes of a list (.txt or any other name of a text, also .gz) or of gene sets (.gmt).

    Returns:
      each once, in the order of the file.

    Raises:
      UserError: no such file, a line of several fields, or no gene.
    """
    file = existing_file(path)
    if file.name.lower().endswith(GMT_SUFFIXES):
        sets = read_gene_sets(str(file)).genes.values()
        return tuple(dict.fromkeys(gene for members in sets for gene in members))
    if not unpacked(file).strip():
        raise UserError(f"{file} is empty; a list has one gene a line")
    lines = read_text(file).decode().split("\n")
    names = [_name(file, number, line) for number, line in enumerate(lines, 1)]
    genes = tuple(dict.fromkeys(name for name in names if name and not name.startswith("#")))
    if not genes:
        raise UserError(f"{file} lists no gene; a list has one gene a line")
    return genes


def _name(file: Path, number: int, line: str) -> str:
    name = line.strip().strip("\"'")
    is_comment = name.startswith("#")
    if any(mark in name for mark in _SEPARATORS) and not is_comment:
        raise UserError(
            f"{file}: line {number} has several fields ({name[:40]!r}); a list has one gene a "
            "line, and files of gene sets are named .gmt"
        )
    return name
