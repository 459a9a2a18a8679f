"""A delimited file cut into records (lines, or several where a quoted field runs over them).

What pandas' parser would forgive in silence, rows that are too short or too long, is counted here
before anything is parsed.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from omics_jax.data.formats.files import read_text
from omics_jax.errors import UserError

_DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar", " ": "a space"}
_QUOTED = re.compile(rb'"[^"]*"')


@dataclass(frozen=True)
class Records:
    """A delimited file cut into records.

    Attributes:
      path: the file.
      lines: the bytes of each record; blank ones are left out.
      numbers: the line of the file, from 1, at which each record starts.
      delimiter: what separates fields.
      quoted: whether quotation marks have their meaning.
    """

    path: Path
    lines: list[bytes]
    numbers: list[int]
    delimiter: str
    quoted: bool = True

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
    for number, line in enumerate(data.split(b"\n"), 1):
        toggles = quoted and line.count(b'"') % 2 == 1
        if open_line:
            lines[-1] += b"\n" + line
            open_line = 0 if toggles else open_line
        elif line.strip(b" "):
            lines.append(line)
            numbers.append(number)
            open_line = number if toggles else 0
    if open_line:
        raise UserError(
            f"{path}: line {open_line} opens a quotation mark that is never closed; close it, or "
            "remove it"
        )
    return Records(path, lines, numbers, delimiter, quoted)


def read_records(path: Path, row_names: bool = True) -> tuple[Records, list[str], list[int]]:
    """A .csv, .tsv or .txt: its records, the header's fields, and which records are rows.

    row_names: whether the header may lack the field of the names of rows, as R writes a matrix.

    Raises:
      UserError: no rows, or a record that is not as wide as the header.
    """
    data = read_text(path)
    if re.match(rb"#1\.[23]\s", data):
        raise UserError(
            f"{path}: line 1 ({data[:4].decode()!r}) is that of a GCT file; name the file .gct"
        )
    table = cut_records(path, data, _delimiter(path, data))
    _align_widths(table, row_names)
    header = table.fields(0)
    if len(table.lines) < 2:
        raise UserError(
            f"{path} has a header in line {table.numbers[0]} but no rows below it; add them"
        )
    return table, header, list(range(1, len(table.lines)))


def _align_widths(table: Records, row_names: bool) -> None:
    """Refuses a record of another width than the header's; R's header gets its missing field."""
    widths = table.widths()
    if row_names and len(widths) > 1 and all(width == widths[0] + 1 for width in widths[1:]):
        # R's write.table leaves out the header of the row names.
        table.lines[0] = table.delimiter.encode() + table.lines[0]
        widths[0] += 1
    for r, width in enumerate(widths):
        if width != widths[0]:
            raise UserError(
                f"{table.path}: line {table.numbers[r]} has {width} fields where line "
                f"{table.numbers[0]} has {widths[0]}; fill in or remove fields (they are separated "
                f"by {_DELIMITERS[table.delimiter]})"
            )


def _delimiter(path: Path, data: bytes) -> str:
    """The delimiter by the file's suffix; .txt takes the one its first line holds most of."""
    first_line = data.lstrip(b"\n").split(b"\n", 1)[0]
    first = _QUOTED.sub(b"", first_line).decode(errors="replace")
    counts = {mark: first.count(mark) for mark in _DELIMITERS}
    commonest = max(counts, key=counts.get)
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    by_suffix = {".csv": ",", ".tsv": "\t"}
    expected = by_suffix.get(suffixes[-1] if suffixes else "", commonest)
    if counts[expected]:
        return expected
    if not counts[commonest]:
        raise UserError(
            f"{path}: line 1 holds a single field ({first[:40]!r}); write a header of an id column "
            f"and at least one more, separated by {_DELIMITERS[expected]}"
        )
    mends = {",": "name it .csv", "\t": "name it .tsv"}
    raise UserError(
        f"{path}: line 1 has no {_DELIMITERS[expected].split()[1]} but {_DELIMITERS[commonest]} "
        f"{counts[commonest]} times; {mends.get(commonest, 'save it with commas or tabs')}"
    )
