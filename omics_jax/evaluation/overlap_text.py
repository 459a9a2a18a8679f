"""Which modalities patients have together: reads a frame of combinations and draws it as text.

The frame is of kind "overlap"; the drawing follows the matrix of UpSet (Lex et al. 2014,
doi:10.1109/TVCG.2014.2346248). Left out: the figure, which the report draws.
"""

from __future__ import annotations

from collections import Counter
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
    known = numbers.where(np.isfinite(numbers), 0.0)
    counts: Counter[frozenset[str]] = Counter()
    names: dict[str, None] = {}  # in the order of their first appearance
    for combination, number in zip(frame["combination"], known, strict=True):
        parts = _names_in(str(combination))
        names |= dict.fromkeys(parts)
        counts[frozenset(parts)] += number
    patients = np.array([*counts.values()], dtype=float)
    shape = (len(counts), len(names))
    members = np.zeros(shape, dtype=bool)
    for row, combination in enumerate(counts):
        members[row] = [name in combination for name in names]
    totals = patients @ members
    rows = np.argsort(-patients, kind="stable")
    columns = np.argsort(-totals, kind="stable")
    all_names = tuple(names)
    ordered_names = tuple(all_names[column] for column in columns)
    ordered_members = members[rows][:, columns]
    return Overlap(ordered_names, ordered_members, patients[rows])


def overlap_text(frame: pd.DataFrame) -> str:
    """A line of names, then a line per combination.

    A line has a circle per modality (● in the combination, ○ not), a bar and a number. frame:
    columns combination and patients, as `read_overlap` takes them. The longest bar has 30 columns.
    Lines are joined by newlines, without one at the end.
    """
    names, members, patients = read_overlap(frame)
    largest = patients.max(initial=0.0) or 1.0
    lines = [[*names, "patients"]]
    for has, count in zip(members, patients, strict=True):
        circles = _circles(names, has)
        blocks = bar(count / largest)
        number = f"{count:,.0f}"
        lines.append([*circles, f"{blocks} {number}".lstrip()])
    return "\n".join("  ".join(line) for line in lines)


def _names_in(combination: str) -> list[str]:
    """The names in "a + b"; none in ""."""
    parts = [part.strip() for part in combination.split(SEPARATOR)]
    return [part for part in parts if part]


def _circles(names: tuple[str, ...], has: Bool[np.ndarray, " m"]) -> list[str]:
    """A circle under each name, as wide as the name."""
    circles = []
    for name, member in zip(names, has, strict=True):
        circle = "●" if member else "○"
        circles.append(circle.ljust(len(name)))
    return circles


def bar(share: float) -> str:
    """Blocks for a share of `BAR_WIDTH` columns, in eighths of a column.

    At least one eighth where the share is not 0.
    """
    least = 1 if share > 0 else 0
    eighths = max(round(share * BAR_WIDTH * 8), least)
    full_blocks, last_eighths = divmod(eighths, 8)
    return "█" * full_blocks + EIGHTHS[last_eighths]
