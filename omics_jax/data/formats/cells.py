"""Cells of numbers that are written as texts: limits of detection, decimal commas, thousands.

    <0.1  >100     a limit: the setting below_detection says what stands for it
    <LOD  ND       a measurement below a limit that is not given
    1,5            a decimal comma, if the whole table has them
    1,234          refused: nothing tells thousands from decimals

A column is measured if such cells and numbers are more than half of it; a column of other texts is
left to its reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.matrix import Place
from omics_jax.errors import UserError

BELOW_DETECTION = ("error", "limit", "half", "missing")
_LIMIT = re.compile(r"([<>≤≥])=?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE)
# Said of a measurement without its limit.
_WORDS = frozenset(
    (
        *("lod", "loq", "llod", "lloq", "uloq", "dl", "ll", "ul"),
        *("bdl", "bld", "blq", "bql", "bloq", "alq", "nd", "n.d.", "n.d", "n/d"),
        *("below detection", "below detection limit", "below limit of detection"),
        *("not detected", "not detectable", "undetected", "undetectable", "below lod", "below loq"),
    )
)
_COMMA = re.compile(r"[+-]?\d[\d,]*,\d+(\.\d+)?([eE][+-]?\d+)?|[+-]?\d{1,3}(\.\d{3})+,\d+")
# Commas only where thousands have them.
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
# Two commas, or a comma and a point: certainly thousands.
_CERTAINLY_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3}){2,}|[+-]?[1-9]\d{0,2}(,\d{3})+\.\d+")
# Points between thousands, and a decimal comma.
_POINTS_AND_COMMA = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")
_SHOWN = 4  # columns in a message


@dataclass(frozen=True)
class _Column:
    """One column with cells that are not plain numbers.

    Attributes:
      cells: text, "" where missing.
      numbers: of the cells that are numbers, NaN elsewhere.
      kinds: of each cell "", "number", "limit", "word", "comma" or "other".
    """

    cells: pd.Series
    numbers: Float64[np.ndarray, " n"]
    kinds: pd.Series

    @property
    def is_measured(self) -> bool:
        """Whether the column holds measurements rather than texts."""
        counts = self.kinds.value_counts()
        filled = len(self.cells) - counts.get("", 0)
        return bool(filled and 2 * counts.get("other", 0) < filled)


def plain_numbers(
    path: Path,
    frame: pd.DataFrame,
    row_place: Place,
    label: Callable[[int, int], str],
    below_detection: str = "error",
    annotations: Collection[int] = (),
) -> tuple[pd.DataFrame, tuple[Use, ...]]:
    """The frame with plain numbers in its measured columns, and what was read in another way.

    Args:
      path: the file.
      frame: columns of numbers or text, labelled by position.
      row_place: where row i stands.
      label: what the cell in row i of column j measures: the column's name, or a variable's.
      below_detection: of `BELOW_DETECTION`: what stands for a limit.
      annotations: columns that are not to be touched.

    Raises:
      UserError: limits, where they are not to be read; commas that may be thousands.
    """
    columns = {j: _column(frame.iloc[:, j]) for j in _text_columns(frame, annotations)}
    columns = {j: column for j, column in columns.items() if column.is_measured}
    if not columns:
        return frame, ()
    uses: list[Use] = []
    if any((column.kinds == "comma").any() for column in columns.values()):
        names = tuple(dict.fromkeys(label(i, j) for i, j, _ in _cells_of(columns, "comma")))
        columns = _with_decimal_points(path, frame, columns, row_place, label)
        uses.append(Use(path.name, "columns", "read with decimal commas", names, "1,5 is 1.5"))
    limited = [j for j, column in columns.items() if column.kinds.isin(["limit", "word"]).any()]
    if limited:
        if below_detection == "error" or _lacks_limit(columns, below_detection):
            raise _limit_error(path, columns, row_place, label, below_detection)
        uses.append(_limit_use(path, {j: columns[j] for j in limited}, label, below_detection))
    changed = frame.copy(deep=False)
    for j, column in columns.items():
        changed.isetitem(j, _values(column, below_detection))
    return changed, tuple(uses)


def _text_columns(frame: pd.DataFrame, annotations: Collection[int]) -> Iterator[int]:
    for j, dtype in enumerate(frame.dtypes):
        if dtype.kind not in "iufbM" and j not in annotations:
            yield j


def _column(cells: pd.Series) -> _Column:
    text = as_text(cells).reset_index(drop=True)
    kind_of = {cell: _kind(cell) for cell in text.unique()}
    numbers = pd.to_numeric(text.where(text != ""), errors="coerce").to_numpy(np.float64)
    return _Column(text, numbers, text.map(kind_of))


def _kind(cell: str) -> str:
    if not cell:
        return ""
    if not np.isnan(pd.to_numeric(cell, errors="coerce")):
        return "number"
    if _LIMIT.fullmatch(cell):
        return "limit"
    if _COMMA.fullmatch(cell) or (cell[:1] in "<>" and _COMMA.fullmatch(cell[1:].strip())):
        return "comma"
    return "word" if cell.lstrip("<>≤≥=~ ").casefold() in _WORDS else "other"


def _cells_of(columns: dict[int, _Column], *kinds: str) -> list[tuple[int, int, str]]:
    """Row, column and text of every cell of these kinds, column by column."""
    return [
        (int(i), j, str(column.cells.iloc[i]))
        for j, column in columns.items()
        for i in np.flatnonzero(column.kinds.isin(kinds))
    ]


# --- commas ---------------------------------------------------------------------------------------


def _with_decimal_points(
    path: Path,
    frame: pd.DataFrame,
    columns: dict[int, _Column],
    row_place: Place,
    label: Callable[[int, int], str],
) -> dict[int, _Column]:
    """The columns with points for decimal commas.

    They are decimal commas if no number of the table has a point and one comma at least does not
    stand where thousands have theirs.

    Raises:
      UserError: the commas may separate thousands.
    """
    commas = _cells_of(columns, "comma")
    texts = [cell.lstrip("<> ") for _, _, cell in commas]
    has_points = _has_points(frame, columns)
    has_decimals = any(not _GROUPED.fullmatch(text) for text in texts)
    has_thousands = any(
        pattern.fullmatch(text)
        for text in texts
        for pattern in (_CERTAINLY_GROUPED, _POINTS_AND_COMMA)
    )
    if has_decimals and not has_points and not has_thousands:
        return {j: _pointed(column) for j, column in columns.items()}
    i, j, cell = next(
        (place for place, text in zip(commas, texts, strict=True) if _GROUPED.fullmatch(text)),
        commas[0],
    )
    names = list(dict.fromkeys(label(row, column) for row, column, _ in commas))
    raise UserError(
        f"{path}: {_cells(len(commas))} of {_list(names)} with a comma, such as {cell!r} "
        f"({row_place(i)}, {label(i, j)}); {comma_mend(cell, has_points)}"
    )


def _pointed(column: _Column) -> _Column:
    """The column with a point for the comma in its numbers."""
    with_points = column.cells.str.replace(",", ".", regex=False)
    return _column(column.cells.where(column.kinds != "comma", with_points))


def _has_points(frame: pd.DataFrame, columns: dict[int, _Column]) -> bool:
    """Whether a number of the table is written with a decimal point."""
    for j, dtype in enumerate(frame.dtypes):
        if dtype.kind == "f":
            values = frame.iloc[:, j].to_numpy(np.float64)
            if np.any(np.isfinite(values) & (values != np.round(values))):
                return True
    return any(
        column.cells[column.kinds.isin(["number", "limit"])].str.contains(".", regex=False).any()
        for column in columns.values()
    )


def comma_mend(cell: str, has_points: bool = False) -> str:
    """What to do about a number with a comma; never what would change its value unseen."""
    if _POINTS_AND_COMMA.fullmatch(cell):
        number = cell.replace(".", "").replace(",", ".")
        return f"points separate thousands and the comma decimals; write numbers as {number}"
    plain = cell.replace(",", "")
    if _CERTAINLY_GROUPED.fullmatch(cell):
        return f"the comma separates thousands; write numbers without it ({plain})"
    if not _GROUPED.fullmatch(cell):
        return "the comma seems to be a decimal comma; write a decimal point"
    others = ", as other numbers here have decimal points" if has_points else ""
    return (
        f"the comma may separate thousands{others}: then write numbers without it ({plain}); only "
        "if it is a decimal comma, write a decimal point"
    )


# --- limits of detection --------------------------------------------------------------------------


def _values(column: _Column, below_detection: str) -> np.ndarray:
    """Numbers, float64 with NaN where missing; texts remain where a cell is neither."""
    values = column.numbers.copy()
    if below_detection in ("limit", "half"):
        for i in np.flatnonzero(column.kinds == "limit"):
            values[i] = limit_value(column.cells.iloc[i], below_detection)
    is_other = (column.kinds == "other").to_numpy()
    if not is_other.any():
        return values
    mixed = values.astype(object)
    mixed[is_other] = column.cells[is_other]
    return mixed


def limit_value(cell: str, below_detection: str) -> float:
    """The number for a limit: itself; or the half of one from below (<0.1)."""
    side, limit = _LIMIT.fullmatch(cell).groups()
    is_below = side in "<≤"
    return float(limit) / 2 if below_detection == "half" and is_below else float(limit)


def is_comma_number(cell: str) -> bool:
    """Whether a cell is a number with commas."""
    return _COMMA.fullmatch(cell) is not None


def is_limit(cell: str) -> bool:
    """Whether a cell is a limit such as <0.1."""
    return _LIMIT.fullmatch(cell) is not None


def _lacks_limit(columns: dict[int, _Column], below_detection: str) -> bool:
    """Whether a cell such as <LOD gives no limit where one is to be taken."""
    return below_detection != "missing" and bool(_cells_of(columns, "word"))


def _limit_error(
    path: Path,
    columns: dict[int, _Column],
    row_place: Place,
    label: Callable[[int, int], str],
    below_detection: str,
) -> UserError:
    """How many cells of what are limits, and which settings read them."""
    words = _cells_of(columns, "word")
    cells = words if below_detection != "error" else _cells_of(columns, "limit", "word")
    names = list(dict.fromkeys(label(i, j) for i, j, _ in cells))
    i, j, cell = cells[0]
    setting = "--config.data.below_detection"
    mend = f"set {setting}=limit (the limit itself), half (half of a limit such as <0.1) or missing"
    if words:
        mend = (
            f"a cell such as {words[0][2]!r} gives no limit: write the limit as <0.1, or set "
            f"{setting}=missing"
        )
    return UserError(
        f"{path}: {_cells(len(cells))} of {_list(names)} beyond a limit of detection, such as "
        f"{cell!r} ({row_place(i)}, {label(i, j)}); {mend}"
    )


def _limit_use(
    path: Path,
    columns: dict[int, _Column],
    label: Callable[[int, int], str],
    below_detection: str,
) -> Use:
    cells = _cells_of(columns, "limit", "word")
    names = tuple(dict.fromkeys(label(i, j) for i, j, _ in cells))
    stands = {"limit": "the limit", "half": "half the limit", "missing": "a missing value"}
    why = (
        f"{len(cells):,} cells such as {cells[0][2]}, read as {stands[below_detection]} "
        "(data.below_detection)"
    )
    return Use(path.name, "columns", "read with limits of detection", names, why)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"


def _list(names: Sequence[str]) -> str:
    """As in "3 columns (a, b, c)"."""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{shown}" if len(names) == 1 else f"{len(names):,} columns or variables ({shown})"
