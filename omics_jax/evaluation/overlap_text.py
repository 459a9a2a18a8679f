"""Which modalities patients have together: reads a frame of combinations and draws it as text.

The frame is of kind "overlap"; the drawing follows the matrix of UpSet (Lex et al. 2014,
doi:10.1109/TVCG.2014.2346248). Left out: the figure, which the report draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

SEPARATOR = " + "
BAR_WIDTH = 30  # columns of a terminal
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


class Overlap(NamedTuple):
    """Modalities, the largest total first; members and patients of c combinations.

    The most frequent combination comes first.
    """

    names: tuple[str, ...]
    members: Bool[np.ndarray, "c m"]
    patients: Float[np.ndarray, " c"]

    @property
    def totals(self) -> Float[np.ndarray, " m"]:
        """Patients per modality, whatever else they have."""
        return self.patients @ self.members


def read_overlap(frame: pd.DataFrame) -> Overlap:
    """`Overlap` of a frame with the columns combination and patients.

    A combination is its names joined by " + ", "" for none. Combinations that differ in the order
    of their names alone are added; one without a number counts 0.
    """
    numbers = frame["patients"].astype(float)
    counts: dict[frozenset[str], float] = {}
    names: dict[str, None] = {}
    for combination, number in zip(frame["combination"], numbers, strict=True):
        parts = [name.strip() for name in str(combination).split(SEPARATOR) if name.strip()]
        names |= dict.fromkeys(parts)
        key = frozenset(parts)
        counts[key] = counts.get(key, 0.0) + (number if np.isfinite(number) else 0.0)
    patients = np.array(list(counts.values()), dtype=float)
    members = np.zeros((len(counts), len(names)), dtype=bool)
    for row, key in enumerate(counts):
        members[row] = [name in key for name in names]
    rows = np.argsort(-patients, kind="stable")
    columns = np.argsort(-(patients @ members), kind="stable")
    ordered = tuple(np.array([*names], dtype=object)[columns])
    return Overlap(ordered, members[rows][:, columns], patients[rows])


def overlap_text(frame: pd.DataFrame) -> str:
    """A line of names, then a line per combination.

    A line has a circle per modality (● in the combination, ○ not), a bar and a number. frame:
    columns combination and patients, as `read_overlap` takes them. The longest bar has 30 columns.
    Lines are joined by newlines, without one at the end.
    """
    names, members, patients = read_overlap(frame)
    largest = patients.max(initial=0.0) or 1.0
    lines = ["  ".join([*names, "patients"])]
    for member, count in zip(members, patients, strict=True):
        circles = ["●" if has else "○" for has in member]
        columns = [circle.ljust(len(name)) for name, circle in zip(names, circles, strict=True)]
        bar_and_number = f"{bar(count / largest)} {count:,.0f}".lstrip()
        lines.append("  ".join([*columns, bar_and_number]))
    return "\n".join(lines)


def bar(share: float) -> str:
    """Blocks for a share of `BAR_WIDTH` columns, in eighths of a column.

    At least one eighth where the share is not 0.
    """
    eighths = max(round(share * BAR_WIDTH * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8]
