"""A matrix of counts, for one a table of confusion: cells coloured by their share of the row (kind
"matrix").

Left out: clustering, and any order but that of the frame.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from omics_jax.report.style import PALETTE, WIDTH, clean, panel_grid

SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", PALETTE[0], "#00304f"])
DARK = 0.42  # the share from which white letters are read more easily than black ones
MOST_WRITTEN = 12  # categories up to which the cells hold their counts
MOST_CATEGORIES = 40
LETTER = 0.082  # inches, of type in 9.5 points


def draw_matrix(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Columns of the frame from left to right, rows from top to bottom."""
    counts = count_table(frame)
    total = counts.sum(axis=1)
    shares = counts.div(total.where(total > 0), axis=0).fillna(
        0.0
    )  # of the whole row, also where not all is drawn
    if max(counts.shape) > MOST_CATEGORIES:
        cut = f"The first {MOST_CATEGORIES} of {max(counts.shape)} categories are drawn; all are in the data file."
        note.append(cut)
    counts, shares = (table.iloc[:MOST_CATEGORIES, :MOST_CATEGORIES] for table in (counts, shares))
    rows, columns = (
        [clean(name, 28) for name in names] for names in (counts.index, counts.columns)
    )
    side = min(0.65, (WIDTH - 1.6 - LETTER * max(map(len, rows))) / len(columns))
    upright = max(map(len, columns)) * LETTER > side
    below = LETTER * max(map(len, columns)) if upright else 0.2
    figure, (axis,) = panel_grid(1, 1, max(1.9, side * len(rows) + below + 0.5))
    mesh = axis.pcolormesh(
        shares.to_numpy(), cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.6
    )
    axis.set(aspect="equal", anchor="W", ylim=(len(rows), 0))
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90 if upright else 0)
    axis.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    key_of_shades(axis, mesh, side * len(columns), side * len(rows))
    texts = [[f"{count:.10g}" for count in row] for row in counts.to_numpy()]
    if max(counts.shape) <= MOST_WRITTEN and max(map(len, sum(texts, []))) * LETTER <= side:
        write_counts(axis, texts, shares.to_numpy())
    title_side(axis.set_xlabel, x_label, side * len(columns), "left")
    title_side(axis.set_ylabel, y_label, side * len(rows), "top")
    return figure


def count_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns in order of first appearance; 0 where the frame has no cell, the sum where
    it has several.
    """
    sums = frame.groupby(["row", "column"], sort=False)["value"].sum().unstack(fill_value=0.0)
    return sums.loc[frame["row"].unique(), frame["column"].unique()]


def title_side(set_label: Callable, title: str, inches: float, start: str) -> None:
    """An axis title in lines along a side of this length; one that is longer begins at the side's
    `start`.
    """
    lines = textwrap.wrap(clean(title, 60), max(18, int(inches / LETTER))) if title else []
    fits = LETTER * max(map(len, lines), default=0) <= inches
    set_label("\n".join(lines), loc="center" if fits else start)


def key_of_shades(axis: Axes, mesh: ScalarMappable, width: float, height: float) -> None:
    """A colour bar beside the matrix, which is `width` by `height` inches."""
    share = min(1.0, 2.0 / height)
    place = axis.inset_axes((1 + 0.15 / width, 1 - share, 0.15 / width, share))
    bar = axis.figure.colorbar(mesh, cax=place, label="share of the row", ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)


def write_counts(axis: Axes, texts: list[list[str]], shares: np.ndarray) -> None:
    """The counts in the cells, grey where nothing is."""
    for (row, column), share in np.ndenumerate(shares):
        text = texts[row][column]
        colour = "#8a8a8a" if text == "0" else "white" if share > DARK else "black"
        axis.text(
            column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=9.5
        )
