"""Which modalities patients have together: a frame of combinations read (kind "overlap"), and drawn
for a terminal.

After the matrix of UpSet (Lex et al. 2014, doi:10.1109/TVCG.2014.2346248). Left out: the figure
(the report's).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

BETWEEN = " + "
BAR = 30  # columns of a terminal
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


class Overlap(NamedTuple):
    """Names of modalities, the largest total first; per combination, the most frequent first:
    members and patients.
    """

    names: tuple[str, ...]
    members: Bool[np.ndarray, "c m"]
    patients: Float[np.ndarray, " c"]

    @property
    def totals(self) -> Float[np.ndarray, " m"]:
        """Patients per modality, whatever else they have."""
        return self.patients @ self.members


def read_overlap(frame: pd.DataFrame) -> Overlap:
    """A frame with the columns combination (names joined by " + ", "" for none) and patients, as
    `Overlap`.

    Combinations that differ in the order of their names alone are added; one without a number
    counts 0.
    """
    counts: dict[frozenset[str], float] = {}
    names: dict[str, None] = {}
    for combination, patients in zip(
        frame["combination"], frame["patients"].astype(float), strict=True
    ):
        parts = [name.strip() for name in str(combination).split(BETWEEN) if name.strip()]
        names |= dict.fromkeys(parts)
        key = frozenset(parts)
        counts[key] = counts.get(key, 0.0) + (patients if np.isfinite(patients) else 0.0)
    patients = np.array(list(counts.values()), dtype=float)
    members = np.array([[name in key for name in names] for key in counts], dtype=bool).reshape(
        len(counts), len(names)
    )
    rows = np.argsort(-patients, kind="stable")
    columns = np.argsort(-(patients @ members), kind="stable")
    ordered = tuple(np.array([*names], dtype=object)[columns])
    return Overlap(ordered, members[rows][:, columns], patients[rows])


def overlap_text(frame: pd.DataFrame) -> str:
    """A line of names, then a line per combination: a circle per modality (● in it, ○ not), a bar
    and a number.

    frame: columns combination and patients, as `read_overlap` takes them. The longest bar has 30
    columns. Lines are joined by newlines, without one at the end.
    """
    names, members, patients = read_overlap(frame)
    largest = patients.max(initial=0.0) or 1.0
    lines = ["  ".join([*names, "patients"])]
    for member, count in zip(members, patients, strict=True):
        circles = [
            ("●" if has else "○").ljust(len(name)) for name, has in zip(names, member, strict=True)
        ]
        lines.append("  ".join([*circles, f"{bar(count / largest)} {count:,.0f}".lstrip()]))
    return "\n".join(lines)


def bar(share: float) -> str:
    """Blocks for a share of `BAR` columns, in eighths of a column; at least one eighth where there
    is anything.
    """
    eighths = max(round(share * BAR * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8]
