"""What a GEO series matrix says of its samples: the lines !Sample_... above its table.

Source: the SOFT and series matrix formats of NCBI's Gene Expression Omnibus. A sample's
characteristics ("disease state: rheumatoid arthritis") become a column per key, whichever line a
sample has a key in; its title, source, description and platform are columns too. Left out are
protocols, contacts, dates and files.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterator, Sequence
from lzma import LZMAError
from pathlib import Path

import pandas as pd

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.files import existing_file, opened
from omics_jax.errors import UserError

ACCESSION = "geo_accession"
UNNAMED = "characteristics"  # the column of characteristics without a key
_SAMPLE_LINE = re.compile(
    rb'"?!Sample_(title|geo_accession|source_name_ch\d|organism_ch\d|characteristics_ch\d'
    rb'|description|platform_id)"?\t'
)
_BEGIN = b"!series_matrix_table_begin"
_HEADS = (b"!Series_", b"!Sample_", b'"!Series_', b'"!Sample_')
_KEYED = re.compile(r"([^:]+):\s*(.*)", re.DOTALL)
_FILES = re.compile(r"!Series_supplementary_file", re.IGNORECASE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_sample_line(line: bytes) -> bool:
    """Whether a line above the table says something of the samples that is read."""
    return _SAMPLE_LINE.match(line) is not None


def sample_annotations(path: Path, lines: Sequence[bytes]) -> pd.DataFrame | None:
    """A row of text per sample, in the order of the file, "" where unknown; None without lines.

    lines: those for which `is_sample_line` holds.

    Raises:
      UserError: lines that speak of different numbers of samples.
    """
    if not lines:
        return None
    rows = [_fields(line) for line in lines]
    count = len(rows[0]) - 1
    cells: list[dict[str, str]] = [{} for _ in range(count)]
    spelling: dict[str, str] = {}
    for tag, *values in rows:
        if len(values) != count:
            raise UserError(
                f"{path}: its line {tag} speaks of {len(values)} samples, and {rows[0][0]} of "
                f"{count}; fetch the file again"
            )
        for sample, value in zip(cells, values, strict=True):
            key, text = _key_and_value(tag.removeprefix("!Sample_"), value.strip())
            name = spelling.setdefault(key.casefold(), key)
            before = sample.get(name, "")
            is_new = text and text not in before.split("; ")
            sample[name] = f"{before}; {text}" if before and is_new else before or text
    # The accession comes first, because the first column of a table holds its ids.
    names = sorted(spelling.values(), key=lambda name: name != ACCESSION)
    frame = pd.DataFrame(cells, columns=names, dtype=object).fillna("")
    return frame.loc[:, (frame != "").any(axis=0)]


def _fields(line: bytes) -> list[str]:
    text = line.decode(errors="replace")
    return [field.strip() for field in next(csv.reader([text], delimiter="\t"))]


def _key_and_value(tag: str, value: str) -> tuple[str, str]:
    """The column of a value and the value itself."""
    name, _, channel = tag.partition("_ch")
    behind = f" (channel {channel})" if channel not in ("", "1") else ""
    if name != "characteristics":
        return f"{name}{behind}", value
    keyed = _KEYED.fullmatch(value)
    key, text = (keyed[1].strip(), keyed[2].strip()) if keyed else (UNNAMED, value)
    return f"{key}{behind}", text


# --- the file as a table of samples ---------------------------------------------------------------


def is_series_matrix(path: Path) -> bool:
    """Whether a text file begins as a series matrix does."""
    try:
        with opened(path) as stream:
            return stream.read(64).removeprefix(_BYTE_ORDER_MARK).startswith(_HEADS)
    except (OSError, EOFError, zlib.error, LZMAError):
        return False  # the reader of text says what is wrong


def series_matrix_samples(path: Path) -> tuple[pd.DataFrame, tuple[Use, ...]]:
    """The annotations of the samples, indexed by their places; the file's values are not read.

    Raises:
      UserError: no line about samples.
    """
    lines = [line for line in _head(existing_file(path)) if is_sample_line(line)]
    frame = sample_annotations(path, lines)
    if frame is None:
        raise UserError(f"{path} is a series matrix without a line !Sample_geo_accession; add it")
    places = [f"sample {i + 1}" for i in range(len(frame))]
    why = "a series matrix named as a table tells of its samples alone"
    use = Use(path.name, "lines", "left out", ("its matrix of values",), why)
    return frame.set_axis(places, axis=0), (use,)


def _head(path: Path) -> Iterator[bytes]:
    """The lines above the table."""
    with opened(path) as stream:
        for line in stream:
            if line.lower().startswith(_BEGIN):
                return
            yield line.rstrip(b"\r\n")


def no_values(path: Path, lines: Sequence[bytes]) -> UserError:
    """The error for a series matrix whose table is empty: where its values are.

    lines: all above the table.
    """
    named = [_fields(line) for line in lines if _FILES.match(line.decode(errors="replace"))]
    files = [Path(field).name for _, *fields in named for field in fields if field != "NONE"]
    where = f": {', '.join(files[:4])}" if files else ""
    return UserError(
        f"{path} is a GEO series matrix without values, as GEO leaves out the table of large "
        "arrays; take the matrix from the supplementary files on the page of the series"
        f"{where}, and name this file as the table of the samples "
        "(data.clinical or data.conditions)"
    )
