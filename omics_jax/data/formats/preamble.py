"""What stands before the header of a delimited file, and what separates its fields.

Comments (#, such as cBioPortal's four lines), the lines with ! around the table of a GEO series
matrix (but for those on its samples), and Excel's line sep=; are left out. A title without such a
mark is not told from a header here; it is refused where fields are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.series_matrix import is_sample_line, no_values
from omics_jax.errors import UserError

DELIMITERS = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar", " ": "a space"}
_BY_SUFFIX = {".csv": ",", ".tsv": "\t"}
_SAMPLED = 50  # lines that the delimiter is judged by
_QUOTED = re.compile(rb'"[^"]*"')
_SEPARATOR_LINE = re.compile(rb'"?sep=([,;|\t])"?', re.IGNORECASE)
GEO_END = re.compile(rb"^!series_matrix_table_end", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class DelimitedText:
    """A delimited text from its header on.

    Attributes:
      data: the text; lines before the header are blank, so that all lines keep their numbers.
      delimiter: what separates fields.
      uses: what became of the lines that are not part of the table.
      sample_lines: those of a GEO series matrix that say something of its samples.
    """

    data: bytes
    delimiter: str
    uses: tuple[Use, ...] = ()
    sample_lines: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class _Preamble:
    """The lines before the table.

    Attributes:
      end: where the table begins, in bytes.
      lines: number, from 1, and content of each comment.
      delimiter: that a line sep=; names, or "".
    """

    end: int
    lines: tuple[tuple[int, bytes], ...]
    delimiter: str


def split_preamble(path: Path, data: bytes) -> DelimitedText:
    """The table in a text, and its delimiter.

    Raises:
      UserError: nothing but comments, or a header of a single field.
    """
    preamble = _preamble(data)
    is_geo = any(line.startswith(b"!") for _, line in preamble.lines)
    geo_end = GEO_END.search(data, preamble.end) if is_geo else None
    body = data[preamble.end : geo_end.start() if geo_end else None]
    on_samples = tuple(line for _, line in preamble.lines if is_sample_line(line))
    if on_samples and b"\n" not in body.strip():
        raise no_values(path, [line for _, line in preamble.lines])
    if not body.strip():
        raise UserError(
            f"{path} holds nothing but lines that begin with # or !; it needs a header line and at "
            "least one row"
        )
    first_number = data.count(b"\n", 0, preamble.end) + 1
    sample = _sampled_lines(body)
    delimiter = preamble.delimiter or _delimiter(path, first_number, sample)
    comments, uses = preamble.lines, _delimiter_use(path, delimiter, preamble.delimiter)
    before = b"\n" * (first_number - 1)
    if comments and _is_header(comments, sample, delimiter):
        number, header = comments[-1]
        before = b"\n" * (number - 1) + header.lstrip(b'# "') + b"\n" * (first_number - number)
        uses += (Use(path.name, "lines", "header", (_shown(header),), "without its #"),)
        comments = comments[:-1]
    unread = [(number, line) for number, line in comments if line not in on_samples]
    return DelimitedText(before + body, delimiter, _comment_uses(path, unread) + uses, on_samples)


def _preamble(data: bytes) -> _Preamble:
    """Blank lines, comments and a line sep=; at the head of the text."""
    start, number, lines, delimiter = 0, 1, [], ""
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line = data[start:end].strip(b" ")
        separator = _SEPARATOR_LINE.fullmatch(line)
        if separator:
            delimiter = separator[1].decode()
        elif line.lstrip(b'"')[:1] in (b"#", b"!"):
            lines.append((number, line))
        elif line:
            break
        start, number = end + 1, number + 1
    return _Preamble(min(start, len(data)), tuple(lines), delimiter)


def _is_header(
    comments: Sequence[tuple[int, bytes]], sample: Sequence[str], delimiter: str
) -> bool:
    """Whether the last comment is the header, as in "#OTU ID<tab>s1<tab>s2".

    It has as many fields as the line below. That line holds numbers, or is the only one beneath a
    comment of such a width: cBioPortal describes the columns above its header in four.
    """
    width = sample[0].count(delimiter)
    texts = [_QUOTED.sub(b"", line).decode() for _, line in comments]
    as_wide = [text for text in texts if width and text.count(delimiter) == width]
    if not as_wide or texts[-1].count(delimiter) != width:
        return False
    return _has_numbers(sample[0], delimiter) or len(as_wide) == 1


def _has_numbers(line: str, delimiter: str) -> bool:
    """Whether a field after the first is a number."""
    return any(_NUMBER.fullmatch(field.strip()) for field in line.split(delimiter)[1:])


def _comment_uses(path: Path, comments: Sequence[tuple[int, bytes]]) -> tuple[Use, ...]:
    if not comments:
        return ()
    shown = tuple(_shown(line) for _, line in comments)
    return (Use(path.name, "lines", "left out", shown, "comments before the header"),)


def _shown(line: bytes) -> str:
    """The first words of a line."""
    text = " ".join(line.decode().split())
    return text if len(text) <= 40 else f"{text[:37]}..."


# --- the delimiter --------------------------------------------------------------------------------


def _sampled_lines(body: bytes) -> list[str]:
    """The first lines that are not blank, without what stands in quotation marks."""
    end = -1
    for _ in range(_SAMPLED):
        end = body.find(b"\n", end + 1)
        if end < 0:
            break
    head = body if end < 0 else body[:end]
    unquoted = _QUOTED.sub(b"", head).split(b"\n")
    return [line.decode(errors="replace") for line in unquoted if line.strip()]


def _delimiter(path: Path, number: int, sample: Sequence[str]) -> str:
    """The mark that the lines hold equally often.

    The one that the suffix promises comes first, then the one that most lines agree on; a header
    that lacks R's name of the row names may have one less.
    """
    agreement = {mark: _agreement(sample, mark) for mark in DELIMITERS}
    promised = _promised(path)
    header = sample[0]
    found = [mark for mark in DELIMITERS if mark in header and agreement[mark]]
    best = max(found, key=agreement.get, default="")
    if promised and promised in header:
        # Spaces are in texts as well; they never outdo a comma or a tab.
        is_clear = best.strip() and agreement[best] == 1 > agreement[promised]
        return best if is_clear else promised
    if best:
        return best
    expected = DELIMITERS[promised] if promised else "a comma or a tab"
    raise UserError(
        f"{path}: line {number} holds a single field ({header.strip()[:40]!r}); write a header of "
        f"an id column and at least one more, separated by {expected}; a title above it begins "
        "with #"
    )


def _agreement(sample: Sequence[str], mark: str) -> float:
    """The share of lines with the commonest number of marks, which is not 0."""
    counts = [line.count(mark) for line in sample]
    commonest = Counter(counts[1:] or counts).most_common(1)[0][0]
    if not commonest:
        return 0.0
    agreeing = sum(count == commonest for count in counts[1:])
    return (agreeing + (commonest - counts[0] in (0, 1))) / len(counts)


def _promised(path: Path) -> str:
    """The delimiter that the file's suffix says, "" where it says none."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return _BY_SUFFIX.get(suffixes[-1] if suffixes else "", "")


def _delimiter_use(path: Path, delimiter: str, told: str) -> tuple[Use, ...]:
    """That the delimiter is another than the file's suffix says; () where it is not."""
    promised = _promised(path)
    if told or not promised or promised == delimiter:
        return ()
    why = f"the lines show it, although the file's name promises {DELIMITERS[promised]}"
    return (Use(path.name, "fields", f"separated by {DELIMITERS[delimiter]}", ("all",), why),)
