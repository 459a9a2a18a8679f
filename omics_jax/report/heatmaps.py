"""Figures of kind "heatmap": cells around 0, such as the activity of pathways in people.

Rows are grouped by the optional column `group`. Left out: clustering, and any order but that of the
frame.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omics_jax.report.maps import quantity_of
from omics_jax.report.matrices import inches_of
from omics_jax.report.style import WIDTH, clean, panel_grid

MOST_COLUMNS = 60
MOST_ROWS = 3_000
MOST_NAMED = 40  # rows up to which they are named, where there are no groups
LINE = 0.17  # inches of a label
SHADES = "RdBu_r"
SHARE = 0.98  # of the cells; the colours of those beyond are the ends of the scale


def draw_heatmap(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Columns of the frame from left to right, rows from top to bottom, groups together."""
    values, groups = value_table(frame)
    _note_cut(values.shape, note)
    values, groups = values.iloc[:MOST_ROWS, :MOST_COLUMNS], groups[:MOST_ROWS]
    sizes = group_sizes(groups)
    columns = [clean(name, 28) for name in values.columns]
    upright = inches_of(columns) > (WIDTH - 3) / len(columns)
    below = inches_of(columns) if upright else LINE
    height = float(np.clip(len(values) * LINE, max(1.6, 1.3 * LINE * len(sizes)), 6.0))
    figure, (axis,) = panel_grid(1, 1, height + below + 0.5)
    cells = values.to_numpy(np.float64)
    finite = np.abs(cells[np.isfinite(cells)])
    limit = float(np.quantile(finite, SHARE)) if finite.size else 0.0
    limit = limit or 1.0
    mesh = axis.pcolormesh(cells, cmap=SHADES, vmin=-limit, vmax=limit, rasterized=True)
    axis.set_facecolor("#c8c8c8")
    axis.set_ylim(len(cells), 0)
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90 if upright else 0)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    name_groups(axis, sizes, height, list(values.index))
    bar = figure.colorbar(mesh, ax=axis, shrink=min(1.0, 2.0 / height), anchor=(0.0, 1.0))
    quantity = quantity_of(frame)
    bar.set_label(quantity and clean(quantity, 36))
    bar.outline.set_visible(False)
    axis.set_xlabel(x_label and clean(x_label, 60))
    axis.set_ylabel(y_label and clean(y_label, 60))
    if finite.size and finite.max() > limit:
        note.append(f"Values beyond ±{limit:.2g} have the colours of the ends of the scale.")
    return figure


def value_table(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows by columns in the order of their first appearance, and the group of every row.

    A row of the same name in another group is another row; the last of repeated cells counts.
    """
    group = frame["group"].fillna("").astype(str) if "group" in frame else ""
    keyed = frame.assign(group=group)
    keyed = keyed.drop_duplicates(["group", "row", "column"], keep="last")
    wide = keyed.pivot(index=["group", "row"], columns="column", values="value")
    rows = pd.MultiIndex.from_frame(keyed[["group", "row"]].drop_duplicates())
    first = {name: place for place, name in enumerate(dict.fromkeys(keyed["group"]))}
    rows = rows[np.argsort([first[name] for name in rows.get_level_values(0)], kind="stable")]
    wide = wide.loc[rows, keyed["column"].unique()]
    return wide.droplevel(0), list(rows.get_level_values(0))


def group_sizes(groups: list[str]) -> dict[str, int]:
    """Group -> its number of rows, in order; {} without named groups."""
    sizes = {name: groups.count(name) for name in dict.fromkeys(groups)}
    return {} if set(sizes) <= {""} else sizes


def name_groups(axis: Axes, sizes: dict[str, int], height: float, rows: list) -> None:
    """The names of groups beside their rows, white lines between them; of few rows their own."""
    if not sizes:
        named = rows if len(rows) <= MOST_NAMED else []
        axis.set_yticks(np.arange(len(named)) + 0.5, [clean(name, 28) for name in named])
        return
    ends = np.cumsum(list(sizes.values()))
    middles = ends - np.array(list(sizes.values())) / 2
    per_row = height / ends[-1]
    places = spread(middles, LINE / per_row, float(ends[-1]))
    names = [f"{clean(name, 24)} ({count})" for name, count in sizes.items()]
    axis.set_yticks(places, names)
    for end in ends[:-1]:
        axis.axhline(end, color="white", linewidth=1.5)


def spread(places: Float[np.ndarray, " n"], gap: float, length: float) -> Float[np.ndarray, " n"]:
    """Ascending places, moved as little as needed to be `gap` apart within 0 to `length`."""
    moved = np.array(places, np.float64)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    last = length
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], last)
        last = moved[i] - gap
    return moved


def _note_cut(shape: tuple[int, int], note: list[str]) -> None:
    for count, most, noun in zip(
        shape, (MOST_ROWS, MOST_COLUMNS), ("rows", "columns"), strict=True
    ):
        if count > most:
            note.append(
                f"The first {most:,} of {count:,} {noun} are drawn; all are in the data file."
            )
