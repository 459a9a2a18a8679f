"""Which gene a methylation site belongs to: a two-column table, or Illumina's manifest.

A manifest (450k, EPIC v1 and v2) is a CSV with some heading lines before its table and a second
table of control probes behind it; the columns IlmnID or Name, UCSC_RefGene_Name, CHR and MAPINFO
are read. Several genes of a site are separated by semicolons. Left out: the part of the gene in
which a site lies, and genome builds.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.formats.read import read_table
from omics_jax.errors import UserError

_MANIFEST_COLUMNS = ("IlmnID", "UCSC_RefGene_Name", "CHR")
_HEADING_LINES = 30  # among which a manifest's table begins
# EPIC v2 names replicates of a probe by a suffix such as _TC21.
_EPIC_SUFFIX = re.compile(r"_[TB][CO]\d\d$")


@dataclass(frozen=True)
class SiteGenes:
    """The genes of S sites.

    Attributes:
      source: the file, for messages.
      sites: (S,) their names, each once.
      pairs: (E, 2) site and gene, as indices.
      genes: (G,) their names.
      chromosomes: (S,) such as "1" or "X", "" where unknown.
    """

    source: str
    sites: Shaped[np.ndarray, " S"]
    pairs: Int[np.ndarray, "E 2"]
    genes: Shaped[np.ndarray, " G"]
    chromosomes: Shaped[np.ndarray, " S"]


def read_site_genes(path: str) -> SiteGenes:
    """The genes of sites from a manifest, or from a table with the columns site and gene.

    Raises:
      UserError: neither of the two, or not one site with a gene.
    """
    file = existing_file(path)
    skipped = _heading_length(file)
    table = _read_manifest(file, skipped) if skipped is not None else _read_two_columns(file)
    sites, site_of_row = np.unique(table["site"].to_numpy(dtype=str), return_inverse=True)
    chromosomes = np.full(len(sites), "", object)
    chromosomes[site_of_row] = table["chromosome"]
    split = table["gene"].str.split(";").explode()
    split = split[split != ""]
    if split.empty:
        raise UserError(
            f"{file}: not one of its {len(sites):,} sites has a gene; name another file"
        )
    genes, gene_of_pair = np.unique(split.str.strip().to_numpy(dtype=str), return_inverse=True)
    pairs = np.stack([site_of_row[split.index], gene_of_pair], axis=1)
    return SiteGenes(str(file), sites, np.unique(pairs, axis=0), genes, chromosomes.astype(str))


def without_suffix(sites: Sequence[str] | np.ndarray) -> Shaped[np.ndarray, " n"]:
    """The names without EPIC v2's suffixes: cg00000029_TC21 is cg00000029."""
    return np.array([_EPIC_SUFFIX.sub("", str(site)) for site in sites], dtype=str)


def _heading_length(path: Path) -> int | None:
    """How many lines stand before a manifest's header; None for any other table."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rb") as stream:
            head = [stream.readline() for _ in range(_HEADING_LINES)]
    except (OSError, EOFError, zlib.error):
        return None  # the reader of tables says what is wrong
    for number, line in enumerate(head):
        if line.startswith((b"IlmnID,", b'"IlmnID",')):
            return number
    return None


def _read_manifest(path: Path, skipped: int) -> pd.DataFrame:
    """Columns site, gene and chromosome of the assay table."""
    lines = read_text(path).decode().split("\n")[skipped:]
    rows = csv.reader(lines)
    header = next(rows)
    for name in _MANIFEST_COLUMNS:
        if name not in header:
            raise UserError(f"{path}: the manifest has no column {name}; name the full manifest")
    places = [header.index(name) for name in _MANIFEST_COLUMNS]
    cells = []
    for row in rows:
        if row and row[0] == "[Controls]":
            break
        if row and len(row) != len(header):
            raise UserError(
                f"{path}: line {skipped + rows.line_num} has {len(row)} fields, and its header "
                f"{len(header)}; fetch the manifest again"
            )
        # Control probes of a manifest without the [Controls] line have no chromosome and no gene.
        if row and row[places[0]]:
            cells.append([row[place] for place in places])
    return pd.DataFrame(cells, columns=["site", "gene", "chromosome"], dtype=str)


def _read_two_columns(path: Path) -> pd.DataFrame:
    table = read_table(path)
    if len(table.columns) != 2:
        raise UserError(
            f"{path} has {len(table.columns)} columns; a table of sites and genes has two, and "
            "Illumina's manifest has a column IlmnID"
        )
    site, gene = table.iloc[:, 0], table.iloc[:, 1]
    frame = pd.DataFrame({"site": site, "gene": gene, "chromosome": ""}).reset_index(drop=True)
    if (frame["site"] == "").any():
        place = table.index[int((frame["site"] == "").to_numpy().argmax())]
        raise UserError(f"{path}: {place} has no site; fill it in or remove the line")
    return frame
