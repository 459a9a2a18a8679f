"""Delimited text (.csv, .tsv, .txt, plain or .gz): matrices of numbers and tables of conditions.

pandas' C parser does the reading; what it would forgive in silence (short rows, repeated names, a
text cell
that turns a column into text) is counted here first, and a cell is searched for only once there is
trouble.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.formats.matrix import Matrix, Reading, checked_matrix
from omics_jax.data.formats.orientation import decided_orientation
from omics_jax.errors import UserError

MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none"))
_MISSING_SPELLINGS = sorted(
    {s for m in MISSING for s in (m, m.upper(), m.capitalize())} | {"NaN", "-NaN"}
)
_NAMES = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar", " ": "a space"}
_QUOTED = re.compile(rb'"[^"]*"')


@dataclass(frozen=True)
class Records:
    """A delimited file cut into records.

    `lines`: bytes each, blank ones left out; `numbers`: the 1-based line each starts at; `quoted`:
    whether
    quotation marks have their meaning.
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
            return [field.strip() for field in next(csv.reader([text], delimiter=self.delimiter))]
        except (csv.Error, StopIteration) as error:
            raise UserError(
                f"{self.path}: line {self.numbers[record]} cannot be cut into fields ({error}); "
                "correct its quotation marks"
            ) from None

    def widths(self) -> list[int]:
        """How many fields each record has."""
        mark = self.delimiter.encode()
        # A whole field in quotation marks; one that stands elsewhere is left to the csv module.
        field = re.compile(rb'(^|%b)"(?:[^"]|"")*"(?=%b|$)' % (re.escape(mark), re.escape(mark)))
        counts = []
        for record, line in enumerate(self.lines):
            bare = field.sub(rb"\1", line) if self.quoted and b'"' in line else line
            stray = self.quoted and b'"' in bare
            counts.append(len(self.fields(record)) if stray else bare.count(mark) + 1)
        return counts

    def first_field(self, record: int) -> str:
        """The first field alone: records may be very long."""
        line = self.lines[record]
        if self.quoted and line.lstrip().startswith(b'"'):
            return self.fields(record)[0]
        return line.split(self.delimiter.encode(), 1)[0].decode().strip()


def records(path: Path, data: bytes, delimiter: str, quoted: bool = True) -> Records:
    """Cuts the file into records; a quoted field may run over several lines."""
    lines, numbers, open_line = [], [], 0
    for number, line in enumerate(data.split(b"\n"), 1):
        odd = quoted and line.count(b'"') % 2 == 1
        if open_line:
            lines[-1] += b"\n" + line
            open_line = 0 if odd else open_line
        elif line.strip(b" "):
            lines.append(line)
            numbers.append(number)
            open_line = number if odd else 0
    if open_line:
        raise UserError(
            f"{path}: line {open_line} opens a quotation mark that is never closed; close it, or "
            "remove it"
        )
    return Records(path, lines, numbers, delimiter, quoted)


def read_delimited(path: Path, how: Reading) -> Matrix:
    """`read_matrix` for .csv, .tsv and .txt; subsets are taken by the caller."""
    table, header, body = table_records(path)
    row_names = [table.first_field(r) for r in body]
    frame = parsed_numbers(table, body, range(1, len(header)))
    return matrix_from_frame(
        path,
        row_names,
        header[1:],
        frame,
        header[0],
        how,
        row_place=lambda i: f"line {table.numbers[body[i]]}",
        column_place=lambda j: f"column {j + 2} ({header[j + 1]!r})",
    )


def matrix_from_frame(
    path: Path,
    row_names: Sequence[str],
    names: Sequence[str],
    frame: pd.DataFrame,
    corner: str,
    how: Reading,
    row_place: Callable[[int], str],
    column_place: Callable[[int], str],
) -> Matrix:
    """A matrix from named rows and a frame of one pandas column per name, in either orientation."""
    values, text = numbers_and_text(path, frame, row_place, column_place)
    text_columns = [names[j] for j in text]
    kind = decided_orientation(path, how.orientation, row_names, names, corner, text_columns)
    if kind == "genes":
        return checked_matrix(
            path,
            names,
            row_names,
            values.T.copy(),
            repeated=how.repeated,
            sample_place=column_place,
            gene_place=row_place,
        )
    annotating = [j for j, name in enumerate(names) if j in text or name in how.annotations]
    unnamed = [j for j in annotating if not names[j]]
    if unnamed:
        raise UserError(
            f"{path}: {column_place(unnamed[0])} has no name; give it one in the header, or remove "
            "it"
        )
    measured = np.setdiff1d(np.arange(len(names)), annotating)
    return checked_matrix(
        path,
        row_names,
        [names[j] for j in measured],
        values[:, measured],
        pd.DataFrame(
            {names[j]: text.get(j, values[:, j]) for j in annotating}, index=range(len(row_names))
        ),
        repeated=how.repeated,
        sample_place=row_place,
        gene_place=lambda j: column_place(measured[j]),
    )


def read_conditions(path: str) -> pd.DataFrame:
    """A table of conditions (.csv, .tsv, .txt, also .gz, or .parquet) as text, "" where a cell is
    missing.

    The index holds each row's place in the file ("line 7", "row 6"), for messages about it.
    """
    path = existing_file(path)
    if path.suffix.lower() == ".parquet":
        from omics_jax.data.formats.npz import parquet_frame

        frame = parquet_frame(path).reset_index()
        frame = frame.loc[:, [c for c in frame.columns if c not in ("index", "level_0")]]
        frame.columns = frame.columns.astype(str)
        places = [f"row {i + 1}" for i in range(len(frame))]
        return frame.apply(as_text).set_axis(places, axis=0)
    table, header, body = table_records(path)
    for j, name in enumerate(header):
        if name and name in header[:j]:
            raise UserError(
                f"{path}: line {table.numbers[0]} names column {name!r} twice; rename one of them"
            )
    rows = [table.fields(r) for r in body]
    cells = [["" if cell.casefold() in MISSING else cell for cell in row] for row in rows]
    return pd.DataFrame(
        cells, columns=header, index=[f"line {table.numbers[r]}" for r in body], dtype=object
    )


def as_text(column: pd.Series) -> pd.Series:
    """The column as strings: "" for missing, numbers without a trailing .0."""
    if column.dtype.kind in "iu":
        return column.astype(str).where(column.notna(), "")
    if column.dtype.kind == "f":
        return column.map(
            lambda x: "" if np.isnan(x) else np.format_float_positional(x, trim="-")
        ).astype(object)
    text = column.astype(object).where(column.notna(), "").map(lambda cell: str(cell).strip())
    return text.where(~text.str.casefold().isin(MISSING), "").astype(object)


def parsed_numbers(
    table: Records, body: Sequence[int], columns: Sequence[int], text: Sequence[int] = ()
) -> pd.DataFrame:
    """The given columns of the given records, parsed by pandas; columns are labelled by position.

    Those in `text` become categories as they are written: 007 keeps its zeros, and Na is sodium,
    not missing.
    """
    width = max(columns, default=0) + 1
    missing = (
        {j: _MISSING_SPELLINGS for j in columns if j not in text} if text else _MISSING_SPELLINGS
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(b"\n".join(table.lines[r] for r in body)),
                sep=table.delimiter,
                header=None,
                names=range(width),
                usecols=list(columns),
                index_col=False,
                dtype=dict.fromkeys(text, "category"),
                na_values=missing,
                keep_default_na=False,
                low_memory=False,
                skip_blank_lines=False,
                quoting=csv.QUOTE_MINIMAL if table.quoted else csv.QUOTE_NONE,
                float_precision="high",
            )
    except (pd.errors.ParserWarning, ValueError, OverflowError) as error:
        raise UserError(
            f"{table.path} cannot be parsed as a table: {error}; correct that place"
        ) from None
    if len(frame) != len(body):
        raise UserError(
            f"{table.path}: {len(body)} rows were counted but {len(frame)} parsed, so some "
            "quotation mark stands inside a field; remove it"
        )
    return frame


def numbers_and_text(
    path: Path,
    frame: pd.DataFrame,
    row_place: Callable[[int], str],
    column_place: Callable[[int], str],
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """(rows, columns) float64 with NaN for missing, and the text columns by position.

    A column is text where at most half of its filled cells are numbers; in any other a cell that is
    no number
    is an error.
    """
    kinds = np.array([dtype.kind for dtype in frame.dtypes])
    numeric = np.isin(kinds, list("iuf"))
    if numeric.all():
        return frame.to_numpy(dtype=np.float64), {}
    values = np.full(frame.shape, np.nan)
    values[:, numeric] = frame.loc[:, numeric].to_numpy(dtype=np.float64)
    text = {}
    for j in np.flatnonzero(~numeric):
        cells = as_text(frame.iloc[:, j])
        filled = (cells != "").to_numpy()
        numbers = pd.to_numeric(cells.where(filled), errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(filled & np.isnan(numbers))
        if 2 * len(wrong) >= filled.sum() and len(wrong):
            text[int(j)] = cells.to_numpy(dtype=object)
            continue
        if len(wrong):
            raise not_a_number(path, row_place(wrong[0]), column_place(j), cells.iloc[wrong[0]])
        values[:, j] = numbers
    return values, text


def not_a_number(path: Path, row: str, column: str, cell: str) -> UserError:
    """The error for a cell that should be a number."""
    comma = re.fullmatch(r"[+-]?\d+,\d+", cell) is not None
    mend = "write a decimal point" if comma else "write a number, or NA where nothing was measured"
    return UserError(f"{path}: {row}, {column}: {cell[:40]!r} is not a number; {mend}")


def table_records(path: Path) -> tuple[Records, list[str], list[int]]:
    """A .csv, .tsv or .txt cut into records: all of them, the header's fields, and which records
    are rows.
    """
    table = _records_of_table(path)
    header = table.fields(0)
    if len(table.lines) < 2:
        raise UserError(
            f"{path} has a header in line {table.numbers[0]} but no rows below it; add them"
        )
    return table, header, list(range(1, len(table.lines)))


def _records_of_table(path: Path) -> Records:
    """The records of a .csv, .tsv or .txt, every one as wide as the header."""
    data = read_text(path)
    if re.match(rb"#1\.[23]\s", data):
        raise UserError(
            f"{path}: line 1 ({data[:4].decode()!r}) is that of a GCT file; name the file .gct"
        )
    delimiter = _delimiter(path, data)
    table = records(path, data, delimiter)
    widths = table.widths()
    if len(widths) > 1 and all(width == widths[0] + 1 for width in widths[1:]):
        # R's write.table leaves out the header of the row names.
        table.lines[0] = delimiter.encode() + table.lines[0]
        widths[0] += 1
    for r, width in enumerate(widths):
        if width != widths[0]:
            raise UserError(
                f"{path}: line {table.numbers[r]} has {width} fields where line {table.numbers[0]} "
                f"has {widths[0]}; fill in or remove fields (they are separated by "
                f"{_NAMES[delimiter]})"
            )
    return table


def _delimiter(path: Path, data: bytes) -> str:
    """The delimiter by the file's suffix; .txt takes the one its first line holds most of."""
    first = _QUOTED.sub(b"", data.lstrip(b"\n").split(b"\n", 1)[0]).decode(errors="replace")
    counts = {mark: first.count(mark) for mark in _NAMES}
    found = max(counts, key=counts.get)
    suffix = [s.lower() for s in path.suffixes if s.lower() != ".gz"][-1:]
    expected = {".csv": ",", ".tsv": "\t"}.get(suffix[0] if suffix else "", found)
    if counts[expected]:
        return expected
    if not counts[found]:
        raise UserError(
            f"{path}: line 1 holds a single field ({first[:40]!r}); write a header of an id column "
            f"and at least one more, separated by {_NAMES[expected]}"
        )
    mend = {",": "name it .csv", "\t": "name it .tsv"}.get(found, "save it with commas or tabs")
    raise UserError(
        f"{path}: line 1 has no {_NAMES[expected].split()[1]} but {_NAMES[found]} {counts[found]} "
        f"times; {mend}"
    )
