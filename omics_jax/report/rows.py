"""Figures of kinds "ranking" and "intervals", with a labelled row per entry.

Left out: figures on a plane (`planes.py`) or over a numeric axis (`curves.py`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from omics_jax.report.style import (
    MOST_PANELS,
    PALETTE,
    add_legend,
    clean,
    keep_first,
    mark,
    outer_labels,
    panel_grid,
    series_of,
)

ROW = 0.24  # inches per labelled row
MOST_ROWS = 60
MOST_RANKED = 25


def draw_ranking(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Bars, largest magnitude first; dots for intervals and for series that share labels."""
    frame = frame[np.isfinite(frame["value"])]
    series = series_of(frame)
    if len(series) <= len(PALETTE) and share_labels(series):
        figure = ranking_together(frame, series, note)
    else:
        figure = ranking_panels(keep_first(series, MOST_PANELS, note), note)
    outer_labels(figure, x_label, y_label)
    return figure


def share_labels(series: dict[str, pd.DataFrame]) -> bool:
    """True where more than half of the labels of several series are in all of them."""
    labels = [set(part["label"]) for part in series.values()]
    return len(labels) > 1 and len(set.intersection(*labels)) * 2 > len(set.union(*labels))


def ranking_panels(series: dict[str, pd.DataFrame], note: list[str]) -> Figure:
    """A panel per series, each with its own labels in its own order."""
    most = MOST_RANKED if len(series) == 1 else MOST_RANKED // 2
    if any(len(part) > most for part in series.values()):
        note.append(f"The {most} largest are drawn; all are in the data file.")
    parts = [largest_first(part)[:most] for part in series.values()]
    height = 0.9 + ROW * max(len(part) for part in parts)
    figure, axes = panel_grid(len(parts), 2, height, share_x=True, share_y=False)
    for axis, name, part in zip(axes, series, parts, strict=True):
        row_axis(axis, list(part["label"]), clean(name, 28), longest=42 if len(parts) == 1 else 24)
        positions = np.arange(len(part))
        if {"low", "high"} <= set(part):
            interval_dots(axis, part, positions, 0)
        else:
            axis.barh(positions, part["value"], height=0.62, color=PALETTE[0])
        zero_line(axis)
    return figure


def largest_first(part: pd.DataFrame) -> pd.DataFrame:
    """The rows by the magnitude of their values."""
    return part.iloc[np.argsort(-part["value"].abs(), kind="stable")]


def ranking_together(
    frame: pd.DataFrame, series: dict[str, pd.DataFrame], note: list[str]
) -> Figure:
    """One row per label, a dot per series, rows ordered by their largest magnitude."""
    largest = frame["value"].abs().groupby(frame["label"], sort=False).max()
    order = list(largest.sort_values(kind="stable").index[::-1])
    if len(order) > MOST_RANKED:
        note.append(
            f"The {MOST_RANKED} largest of {len(order)} are drawn; all are in the data file."
        )
    order = order[:MOST_RANKED]
    figure, (axis,) = panel_grid(1, 1, 1.2 + ROW * 1.1 * len(order))
    row_axis(axis, order, "", stripes=True)
    row_of = {label: row for row, label in enumerate(order)}
    for index, part in enumerate(series.values()):
        part = part[part["label"].isin(row_of)]
        offset = (index - (len(series) - 1) / 2) * 0.7 / len(series)
        positions = part["label"].map(row_of).to_numpy() + offset
        interval_dots(axis, part, positions, index)
    zero_line(axis)
    marks = [mark(index, line=False) for index in range(len(series))]
    add_legend(figure, list(series), [Line2D([], [], **style, markersize=6) for style in marks])
    return figure


def row_axis(
    axis: Axes, labels: list, title: str, longest: int = 42, stripes: bool = False
) -> None:
    """An axis with one labelled row per entry, the first on top.

    longest: letters of a label, longer ones are cut. stripes: where rows are full, to lead the eye.
    """
    axis.set_yticks(np.arange(len(labels)), [clean(label, longest) for label in labels])
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10], min_n_ticks=2))
    if stripes:
        for row in range(0, len(labels), 2):
            axis.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
    if title and title != "–":
        axis.set_title(title)


def interval_dots(axis: Axes, part: pd.DataFrame, positions: np.ndarray, index: int) -> None:
    """Dots with horizontal intervals where both ends are known."""
    style = mark(index, line=False)
    if {"low", "high"} <= set(part):
        low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
        known = np.isfinite(low) & np.isfinite(high)
        axis.hlines(positions[known], low[known], high[known], color=style["color"], linewidth=1.8)
    axis.plot(part["value"].to_numpy(float), positions, **style, markersize=6, zorder=3)


def zero_line(axis: Axes) -> None:
    """A line at zero where zero is in view."""
    low, high = axis.get_xlim()
    if low <= 0 <= high:
        axis.axvline(0, color="#444444", linewidth=0.9, zorder=1)


def draw_intervals(
    frame: pd.DataFrame,
    x_label: str,
    y_label: str,
    note: list[str],
    highlight: str | None = None,
    share_x: bool = True,
) -> Figure:
    """A row per label in the order given, a panel per series.

    highlight: a label with its own colour, mark and a line through its value.
    share_x: whether all panels have the same numeric axis.
    """
    series = keep_first(series_of(frame), MOST_PANELS, note)
    labels = list(dict.fromkeys(frame["label"]))
    if len(labels) > MOST_ROWS:
        note.append(
            f"The first {MOST_ROWS} of {len(labels)} rows are drawn; all are in the data file."
        )
    labels = labels[:MOST_ROWS]
    columns = 2 if len(series) in (2, 4) else 3
    height = 0.85 + ROW * len(labels)
    figure, axes = panel_grid(len(series), columns, height, share_x=share_x, share_y=True)
    for axis, (name, part) in zip(axes, series.items(), strict=True):
        row_axis(axis, labels, clean(name, 28), longest=42 if len(series) == 1 else 26)
        axis.tick_params(labelbottom=True)  # panels are tall, so each has its own numbers
        intervals_panel(axis, part, labels, highlight)
        zero_line(axis)
    outer_labels(figure, x_label, y_label)
    return figure


def intervals_panel(axis: Axes, part: pd.DataFrame, labels: list, highlight: str | None) -> None:
    """One series: dots with intervals on the rows of their labels."""
    row_of = {label: row for row, label in enumerate(labels)}
    part = part[part["label"].isin(row_of) & np.isfinite(part["value"])]
    positions = part["label"].map(row_of).to_numpy(float)
    highlighted = (part["label"] == highlight).to_numpy()
    for rows, index in ((~highlighted, 0), (highlighted, 1)):
        interval_dots(axis, part[rows], positions[rows], index)
    for value in part["value"][highlighted]:
        axis.axvline(value, color=PALETTE[1], linewidth=0.9, linestyle=":", zorder=1)
