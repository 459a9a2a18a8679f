"""The words of public tables for what is missing, unknown, or an event; every reader uses these.

Three levels, from narrow to wide. A cell of numbers is missing where it is empty or one of
`MISSING`. A cell of an annotation (an outcome, a drug, a stage) is unknown also where it is one of
`UNKNOWN`. What only the user can know, such as -999 in a column of numbers, is in `Missing`, which
the setting `data.missing_values` makes.

Sources: the Genomic Data Commons ('--, not reported, Not Applicable), TCGA's clinical files
([Not Available]), CMap and LINCS (-666), cBioPortal (0:LIVING, 1:DECEASED).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from omics_jax.errors import UserError

# Compared in lower case.
MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none"))
UNKNOWN = MISSING | frozenset(
    (
        *("'--", "--", "-", ".", "?", "unk", "unknown", "not known", "unspecified", "undefined"),
        *("not reported", "not available", "not applicable", "not evaluated", "not recorded"),
        *("not specified", "not determined", "not provided", "not collected", "not done"),
        *("no data", "missing", "unavailable", "indeterminate", "not allowed to collect"),
        *("nd", "n.a.", "n.d.", "#value!", "#ref!", "#n/a n/a", "-666", "-666.0"),
    )
)
# As in [Not Available] and [Discrepancy], TCGA's way to leave a cell open.
_BRACKETED = re.compile(r"\[[a-z /]+\]")

# Of each pair the first means censored, the second an event.
EVENT_CODES = (
    ("0", "1"),
    ("false", "true"),
    ("f", "t"),
    ("no", "yes"),
    ("n", "y"),
    ("alive", "dead"),
    ("living", "deceased"),
    ("alive", "deceased"),
    ("alive", "expired"),
    ("survived", "died"),
    ("survivor", "non-survivor"),
    ("censored", "event"),
    ("censored", "uncensored"),
    ("no event", "event"),
    ("disease free", "recurred"),
    ("diseasefree", "recurred/progressed"),
)
# cBioPortal writes the code before the word: 0:CENSORED, 1:PROGRESSION.
_CODE_AND_WORD = re.compile(r"([01]):.*", re.DOTALL)


@dataclass(frozen=True)
class Missing:
    """What one user's files write for a missing value, besides `MISSING`.

    Attributes:
      numbers: values such as -999, which no measurement is.
      words: in lower case.
    """

    numbers: tuple[float, ...] = ()
    words: frozenset[str] = frozenset()

    def is_word(self, cell: str) -> bool:
        """Whether a cell of an annotation is unknown by this vocabulary or by `UNKNOWN`."""
        word = cell.strip().casefold()
        is_known_word = word in self.words or word in UNKNOWN or _BRACKETED.fullmatch(word)
        return bool(is_known_word) or self._is_code(word)

    def _is_code(self, word: str) -> bool:
        """Whether a text is one of the numbers, as -999.0 is -999."""
        return bool(self.numbers) and pd.to_numeric(word, errors="coerce") in self.numbers

    def is_number(self, values: Float[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
        """Which of the numbers stand for a missing value."""
        if not self.numbers:
            return np.zeros(np.shape(values), bool)
        return np.isin(values, np.asarray(self.numbers, np.asarray(values).dtype))


def parse_missing(setting: str | Sequence[str | float | int]) -> Missing:
    """`Missing` of `data.missing_values`: "-999, below detection", or its items in a tuple.

    Raises:
      UserError: an item that is empty, nan or infinite.
    """
    if isinstance(setting, str):
        setting = setting.split(",") if setting.strip() else ()
    numbers, texts = [], set()
    for word in (part for item in setting for part in str(item).split(",")):
        text = word.strip()
        number = pd.to_numeric(text, errors="coerce") if text else np.nan
        if not text or np.isinf(number):
            raise UserError(
                f"--config.data.missing_values has {word!r}; give numbers or words such as -999"
            )
        if not np.isnan(number):
            numbers.append(float(number))
        texts.add(text.casefold())
    return Missing(tuple(numbers), frozenset(texts))


def without_words(frame: pd.DataFrame, missing: Missing) -> pd.DataFrame:
    """The cells of a table with NaN where they are one of the user's words for a missing value."""
    if not missing.words:
        return frame
    cleaned = frame.copy(deep=False)
    for name, column in frame.items():
        if column.dtype.kind not in "iufb":
            is_word = column.astype(str).str.strip().str.casefold().isin(missing.words)
            cleaned[name] = column.astype(object).where(~is_word, np.nan)
    return cleaned


def blank_unknown(
    cells: Shaped[np.ndarray, " n"], missing: Missing = Missing()
) -> tuple[Shaped[np.ndarray, " n"], dict[str, int]]:
    """The text cells with "" for the unknown, and how often each word for it occurs.

    Beside a + (as in a receptor's status) a - is a value.
    """
    text = pd.Series(cells, dtype=object).astype(str)
    spellings = set(text.unique())
    unknown = {spelling for spelling in spellings if spelling and missing.is_word(spelling)}
    if "+" in spellings:
        unknown -= {"-"}
    if not unknown:
        return np.asarray(cells, dtype=object), {}
    is_unknown = text.isin(unknown)
    counts = text[is_unknown].value_counts().to_dict()
    return text.where(~is_unknown, "").to_numpy(dtype=object), counts


def event_codes(
    cells: Shaped[np.ndarray, " n"], event_value: str = ""
) -> tuple[Float[np.ndarray, " n"], tuple[str, str]] | None:
    """0 (censored), 1 (event) or NaN (unknown) of every cell, and the two codes, in lower case.

    Args:
      cells: text, "" where unknown.
      event_value: the cell that means an event, if the user names it; every other known cell is
        then censored.

    Returns:
      None if the cells are in none of `EVENT_CODES`, or if no cell is the named value.
    """
    plain = pd.Series(cells, dtype=object).astype(str).map(_plain)
    known = sorted(set(plain) - {""})
    if event_value:
        event = _plain(event_value)
        if event not in known:
            return None
        others = [code for code in known if code != event]
        codes = {event: 1.0, **dict.fromkeys(others, 0.0)}
        return plain.map(codes).to_numpy(np.float64), (" or ".join(others) or "(none)", event)
    for censored, event in EVENT_CODES:
        if set(known) <= {censored, event}:
            codes = {censored: 0.0, event: 1.0}
            return plain.map(codes).to_numpy(np.float64), (censored, event)
    return None


def _plain(cell: str) -> str:
    """In lower case; a number without a trailing .0; of 1:DECEASED the 1."""
    text = str(cell).strip().casefold()
    coded = _CODE_AND_WORD.fullmatch(text)
    if coded:
        return coded[1]
    number = pd.to_numeric(text, errors="coerce") if text else np.nan
    return text if np.isnan(number) else f"{number:g}"
