"""Figures of kind "matrix": counts, such as a confusion matrix, coloured by their share of the row.

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
WIDEST_CELL = 0.65  # inches


def draw_matrix(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Columns of the frame from left to right, rows from top to bottom."""
    counts = count_table(frame)
    shares = shares_of_rows(counts)  # before the cut: a share is of the whole row
    _note_cut(max(counts.shape), note)
    counts = counts.iloc[:MOST_CATEGORIES, :MOST_CATEGORIES]
    shares = shares.iloc[:MOST_CATEGORIES, :MOST_CATEGORIES].to_numpy()
    rows = [clean(name, 28) for name in counts.index]
    columns = [clean(name, 28) for name in counts.columns]
    room = WIDTH - 1.6 - inches_of(rows)
    cell = min(WIDEST_CELL, room / len(columns))
    width = cell * len(columns)
    height = cell * len(rows)
    upright = inches_of(columns) > cell
    below = inches_of(columns) if upright else 0.2
    figure, (axis,) = panel_grid(1, 1, max(1.9, height + below + 0.5))
    mesh = axis.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
    name_rows_and_columns(axis, rows, columns, upright)
    key_of_shades(axis, mesh, width, height)
    texts = [[f"{count:.10g}" for count in row] for row in counts.to_numpy()]
    widest = max(inches_of(row) for row in texts)
    if max(counts.shape) <= MOST_WRITTEN and widest <= cell:
        write_counts(axis, texts, shares)
    title_side(axis.set_xlabel, x_label, width, "left")
    title_side(axis.set_ylabel, y_label, height, "top")
    return figure


def count_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of counts: 0 where the frame has no cell, the sum where it has several.

    Rows and columns are in the order of their first appearance.
    """
    sums = frame.groupby(["row", "column"], sort=False)["value"].sum().unstack(fill_value=0.0)
    return sums.loc[frame["row"].unique(), frame["column"].unique()]


def shares_of_rows(counts: pd.DataFrame) -> pd.DataFrame:
    """Each count over the sum of its row; 0 in a row without counts."""
    total = counts.sum(axis=1)
    return counts.div(total.where(total > 0), axis=0).fillna(0.0)


def _note_cut(categories: int, note: list[str]) -> None:
    if categories > MOST_CATEGORIES:
        note.append(
            f"The first {MOST_CATEGORIES} of {categories} categories are drawn; all are in the "
            "data file."
        )


def inches_of(texts: list[str]) -> float:
    """The width of the longest text."""
    return LETTER * max(map(len, texts), default=0)


def name_rows_and_columns(axis: Axes, rows: list[str], columns: list[str], upright: bool) -> None:
    """Square cells with the names of rows and columns, the first row on top."""
    rotation = 90 if upright else 0
    axis.set(aspect="equal", anchor="W", ylim=(len(rows), 0))
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=rotation)
    axis.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def title_side(set_label: Callable, title: str, inches: float, start: str) -> None:
    """An axis title in lines along a side of this length.

    One that is longer begins at the side's `start`.
    """
    letters = max(18, int(inches / LETTER))
    lines = textwrap.wrap(clean(title, 60), letters) if title else []
    fits = inches_of(lines) <= inches
    set_label("\n".join(lines), loc="center" if fits else start)


def key_of_shades(axis: Axes, mesh: ScalarMappable, width: float, height: float) -> None:
    """A colour bar beside the matrix, which is `width` by `height` inches."""
    length = min(1.0, 2.0 / height)
    thickness = 0.15 / width
    place = axis.inset_axes((1 + thickness, 1 - length, thickness, length))
    bar = axis.figure.colorbar(mesh, cax=place, label="share of the row", ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)


def write_counts(axis: Axes, texts: list[list[str]], shares: np.ndarray) -> None:
    """The counts in the cells, grey where they are 0."""
    centred = {"ha": "center", "va": "center", "fontsize": 9.5}
    for (row, column), share in np.ndenumerate(shares):
        text = texts[row][column]
        if text == "0":
            colour = "#8a8a8a"
        else:
            colour = "white" if share > DARK else "black"
        axis.text(column + 0.5, row + 0.5, text, color=colour, **centred)
