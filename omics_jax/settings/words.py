r"""Settings that are lists in a text: "a,b", "rna=a.csv, mirna=b.csv", "ER+HER2", "TIME:EVENT".

One parser for all of them. A backslash takes the meaning of the mark after it away, so that a name
may hold it: "Other\, specify". Anywhere else a backslash is itself. A comma that no name= follows
needs none: in "rna=my, data/rna.csv" it is part of the path.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

from omics_jax.errors import UserError

_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def split_list(text: str, mark: str = ",") -> list[str]:
    r"""The items of a text, without spaces around them, the empty ones too; \ before a mark.

    >>> split_list(r"DMSO, 5\,6-EET")
    ['DMSO', '5,6-EET']
    """
    return [_unescaped(item, mark).strip() for item in _split(text, mark)]


def parse_tuple(text: str) -> tuple[Any, ...]:
    r"""The value of a setting that is a tuple: "a,b", "64,32", "()" or Python's "('a', 'b,c')".

    Items that are all numbers are numbers.
    """
    text = text.strip()
    if text[:1] in ("(", "[", "'", '"'):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = None
        if value is not None:
            return tuple(value) if isinstance(value, list | tuple) else (value,)
    items = [item for item in split_list(text) if item]
    numbers = [_number(item) for item in items]
    return tuple(items) if None in numbers else tuple(numbers)


def parse_pairs(text: str, setting: str) -> dict[str, str]:
    """The pairs of a text such as "rna=a.csv, mirna=b.csv"; none for "".

    A part without = continues the value before it, comma and all.

    Raises:
      UserError: a part without a name or value, or a name that occurs twice.
    """
    parts: list[str] = []
    for part in _split(text, ","):
        if parts and part.strip() and not _has_mark(part, "="):
            parts[-1] += f",{part}"
        elif part.strip():
            parts.append(part)
    pairs: dict[str, str] = {}
    for part in parts:
        name, *values = _split(part, "=")
        name = _unescaped(name, ",=").strip()
        value = _unescaped("=".join(values), ",=").strip()
        if not (name and value):
            raise UserError(
                f"--config.{setting} has {part.strip()!r}; write name=value, several separated by "
                "commas"
            )
        if name in pairs:
            raise UserError(f"--config.{setting} names {name!r} twice; give it once")
        pairs[name] = value
    return pairs


def split_known(text: str, mark: str, known: Collection[str]) -> list[str]:
    r"""The items of a text, of which a known one may hold the mark itself.

    >>> split_known("ER++ER-", "+", {"ER+", "ER-"})
    ['ER+', 'ER-']

    Where the pieces make no sequence of known items, each is an item, and an empty one the mark at
    the end of the item before it.
    """
    pieces = _split(text, mark)
    known_items = _join_known(pieces, mark, known)
    if known_items is not None:
        return known_items
    items: list[str] = []
    for piece in pieces:
        if items and not piece.strip():
            items[-1] += mark
        else:
            items.append(_unescaped(piece, mark).strip())
    return items


def _join_known(pieces: list[str], mark: str, known: Collection[str]) -> list[str] | None:
    """The pieces joined to known items, the longest first; None where that is impossible."""
    if not pieces:
        return []
    for end in range(len(pieces), 0, -1):
        item = _unescaped(mark.join(pieces[:end]), mark).strip()
        rest = _join_known(pieces[end:], mark, known) if item in known else None
        if rest is not None:
            return [item, *rest]
    return None


def _split(text: str, mark: str) -> list[str]:
    """The text cut at the marks that no backslash precedes; backslashes stay."""
    return re.split(rf"(?<!\\){re.escape(mark)}", text)


def _has_mark(text: str, mark: str) -> bool:
    return len(_split(text, mark)) > 1


def _unescaped(text: str, marks: str) -> str:
    """The text without the backslashes before these marks."""
    return re.sub(rf"\\([{re.escape(marks)}])", r"\1", text)


def _number(text: str) -> float | int | None:
    """The number that a text is, None where it is none: 007 is a name."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def parse_number(text: str, setting: str) -> float:
    """The number that a text represents.

    Raises:
      UserError: the text is not a number.
    """
    try:
        return float(text)
    except ValueError:
        raise UserError(f"config.{setting} is {text!r}; give a number") from None
