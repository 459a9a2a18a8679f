"""A large delimited text of numbers as a grid, read in blocks of lines, never as a whole.

A table of 450,000 sites by 1,000 people is 4 GB of text; whole, it takes several times that. What a
block cannot answer alone (cells that are no numbers, rows of another width, an encoding that is not
UTF-8) is left to the reader of whole texts, which then reads the file again and says what is wrong.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from lzma import LZMAError
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.files import is_packed, opened
from omics_jax.data.formats.grid import Grid
from omics_jax.data.formats.parse import parse_numbers
from omics_jax.data.formats.preamble import GEO_END, DelimitedText, split_preamble
from omics_jax.data.formats.records import Records, aligned, cut_records
from omics_jax.data.formats.series_matrix import is_series_matrix, sample_annotations
from omics_jax.data.memory import check_memory
from omics_jax.errors import UserError

LARGE_BYTES = 256 << 20  # of a file, from which on it is read in blocks
LARGE_PACKED_BYTES = 64 << 20  # of a compressed one
BLOCK_BYTES = 32 << 20  # of text in memory
_MOST_COLUMNS = 20_000  # a parser of a block takes long for more
# Beyond it float32 does not hold every whole number, and a number may be an id.
_LARGEST_EXACT = 2**24


class _NotPlain(Exception):
    """Something that the reader of whole texts has to look at."""


@dataclass
class _Table:
    """What is read so far.

    Attributes:
      text: the preamble's delimiter, uses and lines on samples.
      header: the fields of the header.
      uses: of the records.
      rows: names of the rows; lines: where they stand.
      blocks: their numbers.
    """

    text: DelimitedText
    header: list[str]
    uses: tuple = ()
    rows: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    blocks: list[Float32[np.ndarray, "r c"]] = field(default_factory=list)


def is_large(path: Path) -> bool:
    """Whether a text is to be read in blocks."""
    return path.stat().st_size >= (LARGE_PACKED_BYTES if is_packed(path) else LARGE_BYTES)


def streamed_grid(path: Path) -> Grid | None:
    """The file's numbers in float32, as `delimited.delimited_grid` gives them; None if not plain.

    Raises:
      UserError: its numbers take more memory than is allowed.
    """
    try:
        table = _read(path)
    except (_NotPlain, OSError, EOFError, zlib.error, LZMAError):
        return None
    width = len(table.header) - 1
    values = mapped.empty_or_mapped((len(table.rows), width), np.float32)
    start = 0
    while table.blocks:
        block = table.blocks.pop(0)
        values[start : start + len(block)] = block
        start += len(block)
    header, lines = table.header, table.lines
    return Grid(
        rows=table.rows,
        columns=header[1:],
        cells=pd.DataFrame(np.asarray(values), copy=False),
        corner=header[0],
        row_place=lambda i: f"line {lines[i]}",
        column_place=lambda j: f"column {j + 2} ({header[j + 1]!r})",
        uses=table.uses,
        annotations=sample_annotations(path, table.text.sample_lines),
    )


def _read(path: Path) -> _Table:
    """All blocks of the file.

    Raises:
      _NotPlain: a block that is no plain table of numbers.
    """
    is_geo = is_series_matrix(path)
    table: _Table | None = None
    number = 1
    for block in _blocks(path):
        end = GEO_END.search(block) if is_geo else None
        body = block[: end.start()] if end else block
        if table is None:
            records, table = _first(path, block)
        else:
            records = _records(path, body, table.text.delimiter)
        _add(path, table, records, number)
        if end:
            break
        number += block.count(b"\n")
    if table is None or not table.rows:
        raise _NotPlain
    return table


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about `BLOCK_BYTES` at a time, ended by a bare newline."""
    with opened(path) as stream:
        rest, is_first = b"", True
        while data := stream.read(BLOCK_BYTES):
            cut = data.rfind(b"\n") + 1
            if not cut:
                rest += data
                continue
            yield _checked(rest + data[:cut], is_first)
            rest, is_first = data[cut:], False
        if rest:
            yield _checked(rest, is_first)


def _checked(block: bytes, is_first: bool) -> bytes:
    if is_first:
        block = block.removeprefix(b"\xef\xbb\xbf")
    try:
        is_text = b"\0" not in block and (block.isascii() or bool(block.decode()))
    except UnicodeDecodeError:
        is_text = False
    block = block.replace(b"\r\n", b"\n")
    if not is_text or b"\r" in block:
        raise _NotPlain
    return block


def _first(path: Path, block: bytes) -> tuple[Records, _Table]:
    """The first block's rows, and the table that they begin."""
    try:
        text = split_preamble(path, block)
        records = replace(cut_records(path, text.data, text.delimiter), uses=text.uses)
        records = aligned(records, row_names=True)
    except UserError:
        raise _NotPlain from None
    header = records.fields(0)
    if len(header) > _MOST_COLUMNS:
        raise _NotPlain
    rows = replace(records, lines=records.lines[1:], numbers=records.numbers[1:])
    return rows, _Table(replace(text, data=b""), header, records.uses)


def _records(path: Path, body: bytes, delimiter: str) -> Records:
    try:
        return cut_records(path, body, delimiter)
    except UserError:
        raise _NotPlain from None


def _add(path: Path, table: _Table, records: Records, number: int) -> None:
    """Adds the rows of a block; `number`: the line of the file with which it begins."""
    width = len(table.header)
    if not records.lines:
        return
    if any(found != width for found in records.widths()):
        raise _NotPlain
    body = range(len(records.lines))
    try:
        frame = parse_numbers(records, body, range(1, width))
    except UserError:
        raise _NotPlain from None
    if not all(dtype.kind in "iuf" for dtype in frame.dtypes):
        raise _NotPlain
    values = frame.to_numpy(np.float64)
    if (np.abs(values) > _LARGEST_EXACT).any():
        raise _NotPlain
    table.rows += [records.first_field(r) for r in body]
    table.lines += [found + number - 1 for found in records.numbers]
    table.blocks.append(values.astype(np.float32))
    size = sum(block.nbytes for block in table.blocks)
    check_memory(path, "its numbers", size, least=True)
