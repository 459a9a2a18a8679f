"""A delimited file cut into records (lines, or several where a quoted field runs over them).

What pandas' parser would forgive in silence, rows that are too short or too long, is counted here
before anything is parsed.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.files import read_text
from omics_jax.data.formats.known_names import is_id_header
from omics_jax.data.formats.preamble import DELIMITERS, split_preamble
from omics_jax.errors import UserError


@dataclass(frozen=True)
class Records:
    """A delimited file cut into records.

    Attributes:
      path: the file.
      lines: the bytes of each record; blank ones are left out.
      numbers: the line of the file, from 1, at which each record starts.
      delimiter: what separates fields.
      quoted: whether quotation marks have their meaning.
      uses: what became of lines that are no records, and of a header without a name for the ids.
      sample_lines: what a GEO series matrix says of its samples.
    """

    path: Path
    lines: list[bytes]
    numbers: list[int]
    delimiter: str
    quoted: bool = True
    uses: tuple[Use, ...] = ()
    sample_lines: tuple[bytes, ...] = ()

    def fields(self, record: int) -> list[str]:
        """The stripped fields of one record."""
        text = self.lines[record].decode()
        if not self.quoted:
            return [field.strip() for field in text.split(self.delimiter)]
        try:
            fields = next(csv.reader([text], delimiter=self.delimiter))
        except (csv.Error, StopIteration) as error:
            raise UserError(
                f"{self.path}: line {self.numbers[record]} cannot be cut into fields ({error}); "
                "correct its quotation marks"
            ) from None
        return [field.strip() for field in fields]

    def widths(self) -> list[int]:
        """How many fields each record has."""
        mark = self.delimiter.encode()
        escaped = re.escape(mark)
        # A field that is in quotation marks from end to end; the csv module reads any other use.
        quoted_field = re.compile(rb'(^|%b)"(?:[^"]|"")*"(?=%b|$)' % (escaped, escaped))
        counts = []
        for record, line in enumerate(self.lines):
            if self.quoted and b'"' in line:
                line = quoted_field.sub(rb"\1", line)
            has_stray_mark = self.quoted and b'"' in line
            width = len(self.fields(record)) if has_stray_mark else line.count(mark) + 1
            counts.append(width)
        return counts

    def first_field(self, record: int) -> str:
        """The first field alone: records may be very long."""
        line = self.lines[record]
        if self.quoted and line.lstrip().startswith(b'"'):
            return self.fields(record)[0]
        return line.split(self.delimiter.encode(), 1)[0].decode().strip()


def cut_records(path: Path, data: bytes, delimiter: str, quoted: bool = True) -> Records:
    """The file's records; a quoted field may run over several lines.

    Raises:
      UserError: a quotation mark that is never closed.
    """
    lines, numbers, open_line = [], [], 0
    pieces: list[bytes] = []  # the lines of the open record: added one by one, they take for ever
    for number, line in enumerate(data.split(b"\n"), 1):
        toggles = quoted and line.count(b'"') % 2 == 1
        if open_line:
            pieces.append(line)
            if toggles:
                lines[-1] = b"\n".join(pieces)
                open_line = 0
        elif line.strip(b" "):
            lines.append(line)
            numbers.append(number)
            if toggles:
                pieces, open_line = [line], number
    if open_line:
        raise UserError(
            f"{path}: line {open_line} opens a quotation mark that is never closed; close it, or "
            "remove it"
        )
    return Records(path, lines, numbers, delimiter, quoted)


def read_records(path: Path, row_names: bool = False) -> tuple[Records, list[str], list[int]]:
    """A .csv, .tsv or .txt: its records, the header's fields, and which records are rows.

    Args:
      path: the file.
      row_names: whether the first fields of rows that have one more than the header may be R's row
        names: in a matrix, but never in a long table, whose first fields repeat.

    Raises:
      UserError: no rows, or a record that is not as wide as the header.
    """
    data = read_text(path)
    if re.match(rb"#1\.[23]\s", data):
        raise UserError(
            f"{path}: line 1 ({data[:4].decode()!r}) is that of a GCT file; name the file .gct"
        )
    text = split_preamble(path, data)
    table = cut_records(path, text.data, text.delimiter)
    table = replace(table, uses=text.uses, sample_lines=text.sample_lines)
    if len(table.lines) < 2:
        raise UserError(
            f"{path} has a header in line {table.numbers[0]} but no rows below it; add them"
        )
    table = aligned(table, row_names)
    return table, table.fields(0), list(range(1, len(table.lines)))


def aligned(table: Records, row_names: bool) -> Records:
    """The records, all as wide as the header; R's header gets its missing field.

    Raises:
      UserError: a record of another width.
    """
    widths = table.widths()
    others = {r: width for r, width in enumerate(widths) if width != widths[0]}
    if not others:
        return table
    has_one_more = set(widths[1:]) == {widths[0] + 1}
    if has_one_more and row_names and _has_row_names(table):
        # R's write.table leaves out the header of the row names.
        header = table.delimiter.encode() + table.lines[0]
        use = Use(
            table.path.name,
            "columns",
            "ids",
            ("the first",),
            "the header names one column less, as R leaves out that of the row names",
        )
        return replace(table, lines=[header, *table.lines[1:]], uses=(*table.uses, use))
    r, width = next(iter(others.items()))
    raise UserError(
        f"{table.path}: line {table.numbers[r]} has {_fields(width)} where line "
        f"{table.numbers[0]} has {widths[0]}; {_width_mend(table, widths, r, has_one_more)}"
    )


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _has_row_names(table: Records) -> bool:
    """Whether the first fields of the rows look like R's row names: texts, each once, or 1 to n.

    Not where the header begins with the name of ids: then a field too many stands elsewhere.
    """
    if _ends_with_delimiter(table):
        return False
    names = [table.first_field(r) for r in range(1, len(table.lines))]
    if names == [str(k + 1) for k in range(len(names))]:
        return True
    are_texts = not all(_is_number(name) for name in names)
    is_unique = len(set(names)) == len(names) and "" not in names
    return are_texts and is_unique and not is_id_header(table.fields(0)[0])


def _ends_with_delimiter(table: Records) -> bool:
    mark = table.delimiter.encode()
    return all(line.rstrip(b" ").endswith(mark) for line in table.lines[1:])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _width_mend(table: Records, widths: Sequence[int], r: int, has_one_more: bool) -> str:
    """Why record `r` is not as wide as the header, as far as it shows, and the mend."""
    mark = DELIMITERS.get(table.delimiter, repr(table.delimiter))
    if has_one_more and _ends_with_delimiter(table):
        return f"every line below the header ends with {mark}, which begins one more; remove it"
    commonest = Counter(widths[1:]).most_common(1)[0][0]
    others_agree = len(set(widths[1:])) == 1
    if others_agree and widths[0] < commonest - 1:
        return (
            f"if line {table.numbers[0]} is a title, remove it or begin it with #; else fill in "
            f"its fields (they are separated by {mark})"
        )
    if table.lines[r].lstrip(b'" ').startswith((b"#", b"!")):
        return "it looks like a comment, which is read above the header only; remove it"
    if table.delimiter == "," and widths[0] < commonest and _last_fields_are_whole(table):
        return (
            "the fields are separated by a comma; if numbers hold decimal commas, write decimal "
            "points, or separate the fields by semicolons or tabs"
        )
    return f"fill in or remove fields (they are separated by {mark})"


def _last_fields_are_whole(table: Records) -> bool:
    """Whether every row ends with digits, as one does that is cut at its decimal comma."""
    return all(table.fields(r)[-1].isdigit() for r in range(1, len(table.lines)))
